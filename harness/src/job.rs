//! Job files for the tests: the pipelines as users run them, on topics and in folders of the test's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::freshet::Freshet;
use crate::kafka::Kafka;
use crate::postgres::Database;

/// A job in a folder of its own, in which Freshet is run.
pub struct Job {
    folder: Arc<TempDir>,
    file: String,
    text: String,
}

impl Job {
    /// Takes one of the committed jobs, such as `user_activity.toml`.
    pub fn committed(file: &str) -> Job {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../jobs").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        Job { file: file.to_owned(), ..Job::written(&text) }
    }

    /// Takes the text of a job file.
    pub fn written(text: &str) -> Job {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        Job { folder, file: "job.toml".to_owned(), text: text.to_owned() }
    }

    /// Takes the user-activity job on another topic; the enriched events go to `<topic>_enriched`.
    pub fn user_activity(topic: &str) -> Job {
        let job = Job::committed("user_activity.toml");
        job.replace("/user_activity\"", &format!("/{topic}\"")).replace("/enriched_activity", &format!("/{topic}_enriched"))
    }

    /// Takes the user-activity job on events from the generator, with these parameters.
    pub fn generated(parameters: &str) -> Job {
        Job::committed("user_activity.toml").replace("/user_activity\"", &format!("/user_activity?{parameters}\""))
    }

    /// Lists the topics that it reads, or the generator makes.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let after = self.text.split("${KAFKA_URL:-generator://local}/").skip(1);
        after.filter_map(|text| text.split('"').next()).map(str::to_owned).collect()
    }

    /// Replaces a text, which has to be there: a test shall not go on with a job that it did not mean.
    pub fn replace(mut self, old: &str, new: &str) -> Job {
        assert!(self.text.contains(old), "the job has no {old:?}:\n{}", self.text);
        self.text = self.text.replace(old, new);
        self
    }

    /// Adds lines at the end.
    pub fn append(mut self, lines: &str) -> Job {
        self.text.push('\n');
        self.text.push_str(lines);
        self
    }

    /// Cuts the input into many small epochs, so that a short topic has late events too.
    pub fn short_epochs(self) -> Job {
        assert!(!self.text.contains("[epochs]"), "the job has epochs of its own:\n{}", self.text);
        self.append("[epochs]\nmin = \"1ms\"\ncatch_up = \"10ms\"\n")
    }

    /// Returns the folder in which it runs, and below which a relative path of the job lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the job file and begins the command line `freshet run <job>`.
    pub fn run(&self) -> Freshet {
        self.command("run")
    }

    /// Writes the job file and begins a command line of these words and the job.
    pub fn command(&self, words: &str) -> Freshet {
        let path: PathBuf = self.folder().join(&self.file);
        std::fs::write(&path, &self.text).expect("the folder can be written");
        Freshet::within(&self.folder).args(words).arg(&path)
    }

    /// As [`run`](Self::run), from Kafka to PostgreSQL.
    pub fn run_on(&self, kafka: &Kafka, database: &Database) -> Freshet {
        self.run().env("KAFKA_URL", &kafka.url()).env("DATABASE_URL", &database.url)
    }
}
