//! Which job a command means.

use std::path::Path;

use freshet_dataflows::sql::Functions;

use crate::cli::JobOptions;
use crate::job::{Error, Job};

/// The job that is meant when none is named.
const DEFAULT_FILE: &str = "jobs/user_activity.toml";
/// The same, for a program that is started elsewhere.
const DEFAULT_TEXT: &str = include_str!("../../jobs/user_activity.toml");

/// Loads the job that was named, or the default one; its views may call these functions.
pub(super) fn job(options: &JobOptions, functions: &Functions) -> Result<Job, Error> {
    let mut job = match &options.job {
        Some(path) => Job::load(path)?,
        None if Path::new(DEFAULT_FILE).exists() => Job::load(Path::new(DEFAULT_FILE))?,
        None => Job::parse(Path::new(DEFAULT_FILE), DEFAULT_TEXT, &|name| std::env::var(name).ok())?,
    };
    job.functions = functions.clone().reading(|path| std::fs::read(path));
    Ok(job)
}
