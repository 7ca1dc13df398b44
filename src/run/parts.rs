//! The parts of a job that its state depends on, in words: a later run must find the same, but for views that have come or gone.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use freshet_dataflows::plan::LatePolicy;
use freshet_dataflows::sql;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::job::Job;

/// A part of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Part {
    Source(String),
    View(String),
    Sink(String),
    /// What a sink holds: a view, or a source.
    Held {
        sink: String,
        what: String,
    },
    /// A place of dead letters or late events, by its table in the job file.
    Letters(String),
    /// A table that streams are enriched from.
    Table(String),
}

/// The parts, each with what its state depends on.
pub(super) type Parts = BTreeMap<Part, String>;

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Source(name) => write!(f, "source '{name}'"),
            Part::View(name) => write!(f, "view '{name}'"),
            Part::Sink(name) => write!(f, "sink '{name}'"),
            Part::Held { sink, what } => write!(f, "'{what}' in sink '{sink}'"),
            Part::Letters(table) => write!(f, "[{table}]"),
            Part::Table(name) => write!(f, "table '{name}'"),
        }
    }
}

/// Describes each part of a job. Where sources and sinks are is not among it: brokers and databases may move.
pub(super) fn parts(job: &Job) -> Parts {
    let mut parts = Parts::new();
    for (index, source) in job.sources.iter().enumerate() {
        let columns: Vec<String> =
            source.columns.iter().map(|column| format!("{} {}", column.name, column.column_type)).collect();
        let mut words = format!("({})", columns.join(", "));
        if let Some(time) = source.time_column.and_then(|index| source.columns.get(index)) {
            let _ =
                write!(words, " with watermark of {} less {:?}, idle after {:?}", time.name, source.delay, source.idle_timeout);
            let _ = write!(words, ", at most {:?} in the future", source.max_future_skew);
        }
        let _ = write!(words, "{}", source.format);
        let _ = write!(words, ", records of at most {} bytes, number {}", source.max_record_bytes, index + 1);
        parts.insert(Part::Source(source.name.clone()), words);
    }
    for (index, table) in job.tables.iter().enumerate() {
        let columns: Vec<String> = table.columns.iter().map(|column| format!("{} {}", column.name, column.column_type)).collect();
        let key: Vec<&str> = table.key.iter().map(|&column| table.columns[column].name.as_str()).collect();
        // How it is written may change: what it said is in the state.
        let words = format!("({}) by key [{}], number {}", columns.join(", "), key.join(", "), index + 1);
        parts.insert(Part::Table(table.name.clone()), words);
    }
    for view in &job.views {
        // Without the keys, and with the contents of models.
        let sql = sql::identity(&view.sql, &job.functions);
        let sql: Vec<&str> = sql.split_whitespace().collect();
        let mut words = format!("\"{}\" by key [{}], emitting {:?}", sql.join(" "), view.key.join(", "), view.emit);
        if view.late != LatePolicy::Keep {
            let _ = write!(words, ", late events {:?}", view.late);
        }
        parts.insert(Part::View(view.name.clone()), words);
    }
    for sink in &job.sinks {
        let scheme = sink.url.split_once("://").map_or("", |(scheme, _)| scheme);
        parts.insert(Part::Sink(sink.name.clone()), scheme.to_owned());
        let held = |what: &String| (Part::Held { sink: sink.name.clone(), what: what.clone() }, String::new());
        parts.extend(sink.reads.iter().map(held));
    }
    for place in job.dead_letters.iter().chain(&job.late_events) {
        let scheme = place.url.split_once("://").map_or("", |(scheme, _)| scheme);
        parts.insert(Part::Letters(place.name().to_owned()), scheme.to_owned());
    }
    parts
}

/// Returns a hash of a job's name and parts, by which the processes of a cluster know that they run the same job.
pub(super) fn hash(job: &Job) -> u64 {
    let text: String = parts(job).into_iter().map(|(part, words)| format!("{part} {words}\n")).collect();
    XxHash3_64::oneshot(format!("{}\n{text}", job.name).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const JOB: &str = r#"
[source.clicks]
url = "file://clicks.ndjson"
columns = { ip = "text" }

[view.people]
sql = "SELECT keyed_hash(ip, '${IP_KEY}') AS who, count(*) AS n FROM clicks GROUP BY who"

[sink.out]
url = "console://"
views = ["people"]
"#;

    #[test]
    fn a_key_is_not_written_down_and_yet_tells_jobs_apart() {
        let job = |key: &'static str| {
            let job = Job::parse(Path::new("people.toml"), JOB, &|name| (name == "IP_KEY").then(|| key.to_owned()));
            job.unwrap_or_else(|error| panic!("{error}"))
        };
        let (one, other) = (parts(&job("tellnobody")), parts(&job("tellnobodyelse")));
        assert!(!format!("{one:?} {:?}", job("tellnobody")).contains("tellnobody"), "{one:?}");
        let view = Part::View("people".to_owned());
        assert_ne!(one[&view], other[&view]);
    }
}
