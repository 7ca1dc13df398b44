//! Which job a command means.

use std::path::{Path, PathBuf};

use freshet_dataflows::sql::Functions;

use crate::cli::JobOptions;
use crate::job::{Error, Job};

/// The jobs that the program carries, by name, for when it is started elsewhere; the first is meant when none is named.
const BUILT_IN: [(&str, &str); 6] = [
    ("user_activity", include_str!("../../jobs/user_activity.toml")),
    ("clickstream", include_str!("../../jobs/clickstream.toml")),
    ("ecommerce", include_str!("../../jobs/ecommerce.toml")),
    ("events", include_str!("../../jobs/events.toml")),
    ("payments", include_str!("../../jobs/payments.toml")),
    ("sensors", include_str!("../../jobs/sensors.toml")),
];

/// Loads the job that was named, or the default one; its views may call these functions.
///
/// A file goes before a name, and a file of the folder `jobs` before what is built in: people change those. A path that is not there is never
/// taken for a built-in job.
pub(super) fn job(options: &JobOptions, functions: &Functions) -> Result<Job, Error> {
    let named = options.job.as_deref().unwrap_or(Path::new(BUILT_IN[0].0));
    let mut job = match built_in(named) {
        Some((path, text)) if !named.is_file() && !path.is_file() => Job::parse(&path, text, &|name| std::env::var(name).ok())?,
        Some((path, _)) if !named.is_file() => Job::load(&path)?,
        _ => Job::load(named)?,
    };
    job.functions = functions.clone().reading(|path| std::fs::read(path));
    Ok(job)
}

/// Finds a built-in job by its name, with the file that it stands for.
fn built_in(named: &Path) -> Option<(PathBuf, &'static str)> {
    let (name, text) = BUILT_IN.iter().find(|(name, _)| named == Path::new(name))?;
    Some((Path::new("jobs").join(format!("{name}.toml")), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_job_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
        let files = std::fs::read_dir(folder).expect("the folder of jobs");
        let mut names: Vec<String> =
            files.filter_map(|file| Some(file.ok()?.path().file_stem()?.to_string_lossy().into_owned())).collect();
        names.sort();
        let mut known = BUILT_IN.map(|(name, _)| name.to_owned());
        known.sort();
        assert_eq!(names, known);
    }

    #[test]
    fn a_built_in_job_has_a_name_and_a_path_is_none() {
        assert_eq!(built_in(Path::new("ecommerce")).map(|(path, _)| path), Some(PathBuf::from("jobs/ecommerce.toml")));
        for path in ["jobs/ecommerce.toml", "ecommerce.toml", "shop"] {
            assert!(built_in(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn built_in_jobs_are_sound() {
        for (name, text) in BUILT_IN {
            let job = Job::parse(Path::new(name), text, &|_| None).unwrap_or_else(|error| panic!("{name}: {error}"));
            crate::planning::plan(&job)
                .and_then(|plan| crate::planning::roles(&job, &plan))
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
