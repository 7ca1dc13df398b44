//! A job's numbers in the text format of Prometheus.
//!
//! Names follow the field's manner: a prefix, the unit last, `_total` for what only grows. A pure function of [`Stats`].

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use freshet_connectors::circuit::Gauge;

use crate::stats::{BOUNDS, SinkStats, Snapshot, SourceStats, Stats, StreamStats, TableStats, ViewStats};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A number of an entry of the job.
type Read<T> = fn(&T) -> f64;

/// Name, type, help and value of the numbers that each source has.
const SOURCES: [(&str, &str, &str, Read<SourceStats>); 7] = [
    ("records_total", "counter", "Records read, dead letters included.", |s| count(&s.records)),
    ("bytes_total", "counter", "Bytes of the payloads read.", |s| count(&s.bytes)),
    ("dead_letters_total", "counter", "Records that were not accepted.", |s| count(&s.dead_letters)),
    ("lag_records", "gauge", "Records that wait to be read.", |s| count(&s.lag)),
    ("watermark_seconds", "gauge", "The watermark, as Unix time; NaN before the first.", |s| time(&s.watermark)),
    ("max_event_time_seconds", "gauge", "The greatest event time seen, as Unix time; NaN before the first.", |s| {
        time(&s.max_event_time)
    }),
    ("watermark_lag_seconds", "gauge", "Distance of the watermark from the greatest event time.", |s| {
        time(&s.max_event_time) - time(&s.watermark)
    }),
];

/// The same of each stream that is made from others.
const STREAMS: [(&str, &str, &str, Read<StreamStats>); 4] = [
    ("duplicates_total", "counter", "Records that the stream left out because they repeat another.", |s| count(&s.duplicates)),
    ("stream_late_records_total", "counter", "Records that came too late to be told from repeats.", |s| count(&s.late)),
    ("unmatched_records_total", "counter", "Records that the stream left out because a table has no row for them.", |s| {
        count(&s.unmatched)
    }),
    ("remembered_keys", "gauge", "Keys whose repeats the stream would know.", |s| count(&s.keys)),
];

/// The same of each table.
const TABLES: [(&str, &str, &str, Read<TableStats>); 5] = [
    ("table_version", "gauge", "The newest version of the table.", |t| count(&t.version)),
    ("table_rows", "gauge", "The rows of the newest version.", |t| count(&t.rows)),
    (
        "table_changed_seconds",
        "gauge",
        "When this process made a version of the table last, as Unix time; 0 if it has made none.",
        |t| time(&t.changed),
    ),
    ("table_checked_seconds", "gauge", "When the table was last read and found to be the newest version, as Unix time.", |t| {
        time(&t.checked)
    }),
    ("table_failures_total", "counter", "Attempts to read the table that failed.", |t| count(&t.failures)),
];

/// The same of each view.
const VIEWS: [(&str, &str, &str, Read<ViewStats>); 6] = [
    ("counted_records_total", "counter", "Records that count in a window of the view.", |v| count(&v.counted)),
    ("filtered_records_total", "counter", "Records that the view's conditions left out.", |v| count(&v.filtered)),
    ("late_records_total", "counter", "Records that were late for every window of theirs.", |v| count(&v.late)),
    ("upserts_total", "counter", "Rows of the view written to sinks.", |v| count(&v.upserts)),
    ("deletes_total", "counter", "Rows of the view deleted from sinks.", |v| count(&v.deletes)),
    ("state_rows", "gauge", "Keys that the view holds in memory.", |v| count(&v.state_keys)),
];

/// The same of each sink.
const SINKS: [(&str, &str, &str, Read<SinkStats>); 4] = [
    ("sink_epoch", "gauge", "The newest epoch that the sink holds.", |s| count(&s.epoch)),
    ("sink_commits_total", "counter", "Commits.", |s| count(&s.commits)),
    ("sink_rows_total", "counter", "Rows written and deleted.", |s| count(&s.rows)),
    ("sink_refused_rows_total", "counter", "Rows that the sink could not hold.", |s| count(&s.refused)),
];

/// The same of each circuit; the names begin with what it belongs to.
const CIRCUITS: [(&str, &str, &str, Read<Gauge>); 3] = [
    ("retries_total", "counter", "Attempts that had to be made again.", |c| count(&c.retries)),
    ("circuit_state", "gauge", "Whether the system is tried: 0 closed, 1 half open, 2 open.", |c| count(&c.state)),
    ("circuit_opened_total", "counter", "How often the circuit has opened.", |c| count(&c.opened)),
];

/// Returns all numbers of the job `job`.
#[must_use]
pub fn text(job: &str, stats: &Stats) -> String {
    let mut out = String::new();
    let job = Label("job", job);
    let failed = stats.failure().is_some();
    for (name, kind, help, value) in [
        ("epoch", "gauge", "The newest epoch that has been cut.", count(&stats.epoch)),
        (
            "ready",
            "gauge",
            "Whether all sources and sinks are open and the first epoch has been cut.",
            flag(stats.ready.load(Ordering::Relaxed)),
        ),
        ("failed", "gauge", "Whether the job has failed.", flag(failed)),
        ("uptime_seconds", "gauge", "Seconds since the job started.", stats.started.elapsed().as_secs_f64()),
    ] {
        head(&mut out, name, kind, help);
        sample(&mut out, name, &[job], value);
    }
    family(&mut out, &SOURCES, &stats.sources, |s| [job, Label("source", &s.name)]);
    let registries = stats.sources.iter().filter_map(|source| Some((source.name.as_str(), source.registry.as_deref()?)));
    circuits(&mut out, job, "source", &registries.collect::<Vec<_>>());
    family(&mut out, &STREAMS, &stats.streams, |s| [job, Label("stream", &s.name)]);
    family(&mut out, &TABLES, &stats.tables, |t| [job, Label("table", &t.name)]);
    let tables = stats.tables.iter().map(|table| (table.name.as_str(), &*table.circuit));
    circuits(&mut out, job, "table", &tables.collect::<Vec<_>>());
    family(&mut out, &VIEWS, &stats.views, |v| [job, Label("view", &v.name)]);
    family(&mut out, &SINKS, &stats.sinks, |s| [job, Label("sink", &s.name)]);
    let sinks = stats.sinks.iter().map(|sink| (sink.name.as_str(), &*sink.circuit));
    circuits(&mut out, job, "sink", &sinks.collect::<Vec<_>>());
    for (name, help, read) in [
        ("sink_commit_seconds", "Time that a commit took.", (|s: &SinkStats| s.commit.snapshot()) as fn(&SinkStats) -> Snapshot),
        ("event_to_commit_seconds", "Time from an event's creation to the commit that shows it.", |s| s.freshness.snapshot()),
    ] {
        head(&mut out, name, "histogram", help);
        for sink in &stats.sinks {
            histogram(&mut out, name, &[job, Label("sink", &sink.name)], &read(sink));
        }
    }
    out
}

/// Name and value of a label.
#[derive(Clone, Copy)]
struct Label<'a>(&'a str, &'a str);

/// Writes a table of numbers for each of some entries.
fn family<'a, T>(
    out: &mut String,
    table: &[(&str, &str, &str, Read<T>)],
    entries: &'a [T],
    labels: impl Fn(&'a T) -> [Label<'a>; 2],
) {
    for (name, kind, help, read) in table {
        head(out, name, kind, help);
        for entry in entries {
            sample(out, name, &labels(entry), read(entry));
        }
    }
}

/// Writes the numbers of the circuits that things of one kind have, of each with its name.
fn circuits(out: &mut String, job: Label<'_>, kind: &str, named: &[(&str, &Gauge)]) {
    for (end, form, help, read) in &CIRCUITS {
        let name = format!("{kind}_{end}");
        head(out, &name, form, help);
        for (of, circuit) in named {
            sample(out, &name, &[job, Label(kind, of)], read(circuit));
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &[Label<'_>; 2], counts: &Snapshot) {
    let bucket = format!("{name}_bucket");
    for (bound, count) in BOUNDS.iter().zip(counts.cumulative()) {
        sample(out, &bucket, &[labels[0], labels[1], Label("le", &bound.to_string())], count as f64);
    }
    sample(out, &bucket, &[labels[0], labels[1], Label("le", "+Inf")], counts.count() as f64);
    sample(out, &format!("{name}_sum"), labels, counts.sum_seconds());
    sample(out, &format!("{name}_count"), labels, counts.count() as f64);
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP freshet_{name} {help}\n# TYPE freshet_{name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &[Label<'_>], value: f64) {
    let labels: Vec<String> = labels.iter().map(|Label(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
    let _ = writeln!(out, "freshet_{name}{{{}}} {value}", labels.join(","));
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn count(number: &AtomicU64) -> f64 {
    number.load(Ordering::Relaxed) as f64
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

/// Returns microseconds as seconds; the two ends of time are no number.
fn time(micros: &std::sync::atomic::AtomicI64) -> f64 {
    match micros.load(Ordering::Relaxed) {
        i64::MIN | i64::MAX => f64::NAN,
        micros => micros as f64 / 1e6,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stats() -> Stats {
        let sources = ["clicks".into(), "taps".into()];
        let stats = Stats::new(&sources, &["hits".into()], &[("ware\"house".into(), "sqlite://x.db".into())]);
        let stats = stats.with_registries([true, false].into_iter()).with_tables(["prices".to_owned()].into_iter());
        stats.sources[0].records.store(12, Ordering::Relaxed);
        stats.sources[0].watermark.store(1_500_000, Ordering::Relaxed);
        let registry = stats.sources[0].registry.as_ref().expect("it has one");
        registry.state.store(2, Ordering::Relaxed);
        registry.opened.store(3, Ordering::Relaxed);
        registry.retries.store(7, Ordering::Relaxed);
        stats.tables[0].circuit.state.store(2, Ordering::Relaxed);
        stats.sinks[0].circuit.retries.store(1, Ordering::Relaxed);
        stats.views[0].late.store(3, Ordering::Relaxed);
        stats.sinks[0].freshness.observe(Duration::from_millis(4));
        stats
    }

    #[test]
    fn numbers_stand_under_their_names() {
        let text = text("activity", &stats());
        for line in [
            "# TYPE freshet_records_total counter",
            "freshet_records_total{job=\"activity\",source=\"clicks\"} 12",
            "freshet_watermark_seconds{job=\"activity\",source=\"clicks\"} 1.5",
            "freshet_max_event_time_seconds{job=\"activity\",source=\"clicks\"} NaN",
            "# TYPE freshet_source_circuit_state gauge",
            "freshet_source_circuit_state{job=\"activity\",source=\"clicks\"} 2",
            "freshet_source_circuit_opened_total{job=\"activity\",source=\"clicks\"} 3",
            "freshet_source_retries_total{job=\"activity\",source=\"clicks\"} 7",
            "freshet_table_circuit_state{job=\"activity\",table=\"prices\"} 2",
            "freshet_sink_circuit_state{job=\"activity\",sink=\"ware\\\"house\"} 0",
            "freshet_sink_retries_total{job=\"activity\",sink=\"ware\\\"house\"} 1",
            "freshet_late_records_total{job=\"activity\",view=\"hits\"} 3",
            "freshet_event_to_commit_seconds_bucket{job=\"activity\",sink=\"ware\\\"house\",le=\"0.003\"} 0",
            "freshet_event_to_commit_seconds_bucket{job=\"activity\",sink=\"ware\\\"house\",le=\"0.005\"} 1",
            "freshet_event_to_commit_seconds_bucket{job=\"activity\",sink=\"ware\\\"house\",le=\"+Inf\"} 1",
            "freshet_event_to_commit_seconds_sum{job=\"activity\",sink=\"ware\\\"house\"} 0.004",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        // Nobody who looks for a source without a registry is told that all is well with it.
        assert!(!text.lines().any(|line| line.contains("circuit") && line.contains("taps")), "{text}");
    }

    #[test]
    fn every_sample_stands_under_the_head_of_its_family() {
        let text = text("activity", &stats());
        let mut family = String::new();
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                family = head.split(' ').next().unwrap_or_default().to_owned();
            } else if !line.starts_with('#') {
                let name = line.split('{').next().unwrap_or_default();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                assert!(name == family || base == family, "{line} under {family}");
            }
        }
    }
}
