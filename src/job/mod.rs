//! The job file: which sources, views and sinks make up a job.
//!
//! ```toml
//! [source.user_activity]
//! url = "${KAFKA_URL:-generator://local}/user_activity"
//! columns = { event_time = "timestamp", user_id = "varchar(50)", page_url = "text" }
//! watermark = { column = "event_time", delay = "2m" }
//!
//! [view.page_view_counts]
//! sql = "SELECT …"
//!
//! [sink.warehouse]
//! url = "${DATABASE_URL:-sqlite://data/freshet.db}"
//! views = ["page_view_counts"]
//! ```
//!
//! A file is read in two steps: *as written* (`written`, which serde fills and which keeps every text's place in the file), then
//! *ready to use*, the types of this page (`resolve`, which replaces variables and checks everything that needs no SQL).
//! Whoever holds a [`Job`] need not check it again. URLs and settings may hold passwords: `Debug` hides them, and
//! [`redact`] is for everything else.

mod columns;
mod error;
mod forms;
mod rejects;
mod resolve;
mod schema;
mod tables;
mod units;
mod values;
mod variables;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use freshet_connectors::RegistryOptions;
use freshet_connectors::format::Format;
use freshet_connectors::retry::Policy;
use freshet_dataflows::plan::{Emit, LatePolicy};
use freshet_dataflows::sql::Functions;
use freshet_model::Column;

pub use error::Error;
pub(crate) use error::{Origin, suggestion};
pub(crate) use rejects::LAST_RESORT;
pub use rejects::RejectsSpec;
pub use schema::json_schema;
pub use tables::{TablePlace, TableSpec};
pub use units::{duration, size, write_duration};
pub(crate) use values::Context;
pub use variables::Lookup;

use crate::redact;

/// A job, ready to use.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job's name, under which sinks remember its progress.
    pub name: String,
    /// The file that defines it, as named by the user.
    pub path: PathBuf,
    /// Where records come from, in the order of the file.
    pub sources: Vec<SourceSpec>,
    /// What streams are enriched from, in the order of the file.
    pub tables: Vec<TableSpec>,
    /// What is computed, in the order of the file.
    pub views: Vec<ViewSpec>,
    /// Where views are held, in the order of the file.
    pub sinks: Vec<SinkSpec>,
    /// Where dead letters go, if the job says so.
    pub dead_letters: Option<RejectsSpec>,
    /// Where late events go, if the job says so.
    pub late_events: Option<RejectsSpec>,
    /// How attempts are repeated when a system outside is away.
    pub retry: Policy,
    /// How input is cut.
    pub epochs: EpochSpec,
    /// How often the state is kept for the next start.
    pub checkpoint_interval: Duration,
    /// What the views may call.
    pub functions: Functions,
    pub(crate) origin: Origin,
}

/// A stream of records.
#[derive(Clone)]
pub struct SourceSpec {
    /// The source's name in SQL.
    pub name: String,
    /// Where it is; may hold a password.
    pub url: String,
    /// The declared columns, in order.
    pub columns: Vec<Column>,
    /// How records are written, and where in them the columns are; may hold a password.
    pub format: Format,
    /// Index of the event-time column.
    pub time_column: Option<usize>,
    /// An event may come this much later than a newer one and still count.
    pub delay: Duration,
    /// A partition that has brought nothing for so long is idle.
    pub idle_timeout: Duration,
    /// An event that lies further ahead of the time at which its epoch is cut is a dead letter.
    pub max_future_skew: Duration,
    /// A larger record is a dead letter.
    pub max_record_bytes: usize,
    /// Whether a new job begins at the end instead of the beginning.
    pub from_latest: bool,
    /// The client library's settings; may hold passwords.
    pub settings: BTreeMap<String, String>,
}

/// A query that is kept up to date.
#[derive(Clone)]
pub struct ViewSpec {
    /// The view's name, which is also its table's.
    pub name: String,
    /// The query; may hold a key.
    pub sql: String,
    /// The columns that identify a row; empty leaves it to the planner.
    pub key: Vec<String>,
    /// When rows reach the sinks.
    pub emit: Emit,
    /// What becomes of late events.
    pub late: LatePolicy,
    pub(crate) place: Range<usize>,
    pub(crate) sql_place: Range<usize>,
}

/// A place that holds views.
#[derive(Clone)]
pub struct SinkSpec {
    /// The sink's name in the job.
    pub name: String,
    /// Where it is; may hold a password.
    pub url: String,
    /// Rows are written in Avro, their schemas in this registry; in JSON otherwise. May hold a password.
    pub avro: Option<RegistryOptions>,
    /// Names of the views that it holds; the name of a source stands for its records as they are.
    pub reads: Vec<String>,
    /// A file of a lake is closed at this size.
    pub roll_bytes: u64,
    /// A file of a lake is closed after so long.
    pub roll_interval: Duration,
    /// The client library's settings; may hold passwords.
    pub settings: BTreeMap<String, String>,
    pub(crate) place: Range<usize>,
}

/// How input is cut into epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochSpec {
    /// The shortest epoch while the job keeps up.
    pub min: Duration,
    /// The length of an epoch while the job catches up.
    pub catch_up: Duration,
    /// So many epochs may be under way at once.
    pub max_in_flight: usize,
}

impl Default for EpochSpec {
    fn default() -> EpochSpec {
        EpochSpec { min: Duration::from_millis(5), catch_up: Duration::from_secs(1), max_in_flight: 2 }
    }
}

impl Job {
    /// Reads a job file, with variables from the process's environment.
    ///
    /// # Errors
    /// The file cannot be read, or does not define a job.
    pub fn load(path: &Path) -> Result<Job, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::of_file(path, format!("cannot read the job file: {error}"), "name a job file, such as jobs/user_activity.toml")
        })?;
        Job::parse(path, &text, &|name| std::env::var(name).ok())
    }

    /// Reads a job from `text`, with variables from `lookup`; `path` is for messages and the job's name.
    ///
    /// # Errors
    /// The text does not define a job.
    pub fn parse(path: &Path, text: &str, lookup: Lookup<'_>) -> Result<Job, Error> {
        let origin = Origin { path: path.to_owned(), text: Arc::from(text) };
        let written = toml::from_str(text).map_err(|error| origin.toml_error(&error))?;
        resolve::job(written, origin, lookup)
    }
}

impl fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceSpec")
            .field("name", &self.name)
            .field("url", &redact::url(&self.url))
            .field("columns", &self.columns)
            .field("time_column", &self.time_column)
            .field("delay", &self.delay)
            .field("settings", &self.settings.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ViewSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewSpec")
            .field("name", &self.name)
            .field("key", &self.key)
            .field("emit", &self.emit)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkSpec")
            .field("name", &self.name)
            .field("url", &redact::url(&self.url))
            .field("reads", &self.reads)
            .field("settings", &self.settings.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
