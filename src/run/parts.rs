//! The parts of a job that its state depends on, in words: a later run must find the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use freshet_dataflows::sql;
use twox_hash::XxHash3_64;

use crate::job::Job;

/// Describes each part of a job. Where sources and sinks are is not among it: brokers and databases may move.
pub(super) fn parts(job: &Job) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    for source in &job.sources {
        let columns: Vec<String> =
            source.columns.iter().map(|column| format!("{} {}", column.name, column.column_type)).collect();
        let mut words = format!("({})", columns.join(", "));
        if let Some(time) = source.time_column.and_then(|index| source.columns.get(index)) {
            let _ =
                write!(words, " with watermark of {} less {:?}, idle after {:?}", time.name, source.delay, source.idle_timeout);
            let _ = write!(words, ", at most {:?} in the future", source.max_future_skew);
        }
        let _ = write!(words, ", records of at most {} bytes", source.max_record_bytes);
        parts.insert(format!("source '{}'", source.name), words);
    }
    for view in &job.views {
        // Without the keys, and with the contents of models.
        let sql = sql::identity(&view.sql, &job.functions);
        let sql: Vec<&str> = sql.split_whitespace().collect();
        let words = format!("\"{}\" by key [{}], emitting {:?}", sql.join(" "), view.key.join(", "), view.emit);
        parts.insert(format!("view '{}'", view.name), words);
    }
    for sink in &job.sinks {
        let scheme = sink.url.split_once("://").map_or("", |(scheme, _)| scheme);
        parts.insert(format!("sink '{}'", sink.name), format!("{scheme} with {}", sink.reads.join(", ")));
    }
    for place in job.dead_letters.iter().chain(&job.late_events) {
        let scheme = place.url.split_once("://").map_or("", |(scheme, _)| scheme);
        parts.insert(format!("[{}]", place.name()), scheme.to_owned());
    }
    parts
}

/// Returns a hash of a job's name and parts, by which the processes of a cluster know that they run the same job.
pub(super) fn hash(job: &Job) -> u64 {
    let text: String = parts(job).into_iter().map(|(part, words)| format!("{part} {words}\n")).collect();
    XxHash3_64::oneshot(format!("{}\n{text}", job.name).as_bytes())
}
