//! Finds the store that a URL names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;

use super::Shared;
use super::files::Disk;
use super::memory;
use super::objects::Objects;
use crate::Error;

const FORMS: &str = "write file:///absolute/path, file://relative/path, s3://bucket/prefix, or memory://name for a test";

/// Opens the store at a URL. Nothing is created yet.
pub(crate) fn open(url: &str) -> Result<Shared, Error> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(Error::setup(format!("state {url}"), "is no URL", FORMS));
    };
    match scheme {
        "file" if !rest.is_empty() => Ok(Arc::new(Disk::new(path(rest)))),
        "memory" => Ok(Arc::new(Objects::new(memory::named(rest), "", url)?)),
        "s3" => s3(url, rest),
        _ => Err(Error::setup(format!("state {url}"), "is no place that state can lie", FORMS)),
    }
}

/// Everything after `file://` is the path: a relative one has no host before it, whatever it looks like.
fn path(rest: &str) -> PathBuf {
    Path::new(rest).components().collect()
}

fn s3(url: &str, rest: &str) -> Result<Shared, Error> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // A leader that cannot write for longer than this had better start anew than wait.
    let retry = RetryConfig { max_retries: 5, retry_timeout: Duration::from_secs(20), ..RetryConfig::default() };
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry).build().map_err(|error| {
        Error::setup(format!("state {url}"), error.to_string(), "set AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    })?;
    Ok(Arc::new(Objects::new(Arc::new(store), prefix, url)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_url_is_absolute_or_relative() {
        assert_eq!(path("/var/lib/freshet"), PathBuf::from("/var/lib/freshet"));
        assert_eq!(path("data/state/clicks/"), PathBuf::from("data/state/clicks"));
    }

    #[test]
    fn other_urls_are_refused_with_the_forms() {
        for url in ["data/state", "ftp://x/y", "file://"] {
            let error = open(url).map(|_| ()).expect_err(url).to_string();
            assert!(error.contains(url) && error.contains("file:///absolute/path"), "{error}");
        }
    }
}
