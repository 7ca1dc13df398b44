//! What a running job is doing, as numbers: written by the pipeline, read by the live view, the metrics page and the summary.
//!
//! Every number is an atomic that its writer touches without waiting for a reader; readers may see one counter a moment
//! older than another. Exact accounts are the ledger's, which the sinks hold.

mod histogram;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use histogram::{BOUNDS, Histogram, Snapshot};

use freshet_connectors::breaker::State;
use freshet_connectors::circuit::Gauge;
use freshet_dataflows::plan::Plan;

use crate::job::Job;
use crate::redact;

/// So many of a view's newest rows are kept for show.
const MAX_NEWEST: usize = 3;

/// The numbers of one process of a job.
#[derive(Debug)]
pub struct Stats {
    /// When the job started here.
    pub started: Instant,
    /// One for each source, in the job's order.
    pub sources: Vec<SourceStats>,
    /// One for each stream that is made from others, in the plan's order.
    pub streams: Vec<StreamStats>,
    /// One for each table, in the job's order.
    pub tables: Vec<TableStats>,
    /// One for each view that people know, in the plan's order.
    pub views: Vec<ViewStats>,
    /// For each view of the plan the index of its numbers.
    numbers_of: Vec<usize>,
    /// One for each sink, in the job's order, and then the places of dead letters and late events.
    pub sinks: Vec<SinkStats>,
    /// The newest epoch that has been cut.
    pub epoch: AtomicU64,
    /// Whether every source and sink is open and the first epoch has been cut.
    pub ready: AtomicBool,
    /// Why the job has failed, if it has.
    pub failed: Mutex<Option<String>>,
}

/// The numbers of one source.
#[derive(Debug)]
pub struct SourceStats {
    /// The source's name.
    pub name: String,
    /// Records read, dead letters included.
    pub records: AtomicU64,
    /// Bytes of their payloads.
    pub bytes: AtomicU64,
    /// Records that were not accepted.
    pub dead_letters: AtomicU64,
    /// Records that are waiting to be read, over all partitions.
    pub lag: AtomicU64,
    /// The watermark in microseconds; `i64::MIN` before the first, `i64::MAX` after the last.
    pub watermark: AtomicI64,
    /// The greatest event time seen, in microseconds; `i64::MIN` before the first.
    pub max_event_time: AtomicI64,
    /// The circuit of the registry that knows its schemas, if it has one.
    pub registry: Option<Arc<Gauge>>,
}

/// The numbers of a stream that is made from others.
#[derive(Debug, Default)]
pub struct StreamStats {
    /// The stream's name.
    pub name: String,
    /// Records that repeat another.
    pub duplicates: AtomicU64,
    /// Records that came too late to be told from repeats.
    pub late: AtomicU64,
    /// Records for which a table has no row, and which are left out.
    pub unmatched: AtomicU64,
    /// Keys that are remembered.
    pub keys: AtomicU64,
}

/// The numbers of a table that streams are enriched from: those of process 0, which reads it.
#[derive(Debug, Default)]
pub struct TableStats {
    /// The table's name.
    pub name: String,
    /// Its newest version.
    pub version: AtomicU64,
    /// The rows of that.
    pub rows: AtomicU64,
    /// When this process read another table than before, in microseconds; 0 before the first time.
    pub changed: AtomicI64,
    /// When the table was last found to be as the newest version says, in microseconds; 0 before the first time.
    pub checked: AtomicI64,
    /// How often the table could not be read, or was not what it has to be.
    pub failures: AtomicU64,
    /// The circuit of where it lies.
    pub circuit: Arc<Gauge>,
}

impl TableStats {
    /// Names the table for people.
    #[must_use]
    pub fn thing(&self) -> String {
        format!("table '{}'", self.name)
    }
}

/// The numbers of one view.
#[derive(Debug, Default)]
pub struct ViewStats {
    /// The view's name.
    pub name: String,
    /// Records that count in at least one window, or pass into the view.
    pub counted: AtomicU64,
    /// Records that the view's conditions left out.
    pub filtered: AtomicU64,
    /// Records that were late for every window of theirs.
    pub late: AtomicU64,
    /// Rows written to sinks: upserts, or appended rows.
    pub upserts: AtomicU64,
    /// Rows deleted from sinks.
    pub deletes: AtomicU64,
    /// Keys held in memory.
    pub state_keys: AtomicU64,
    newest: Mutex<Vec<String>>,
}

/// The numbers of one sink.
#[derive(Debug)]
pub struct SinkStats {
    /// The sink's name.
    pub name: String,
    /// Where it is, without a password.
    pub url: String,
    /// The newest epoch that it holds.
    pub epoch: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Rows written and deleted.
    pub rows: AtomicU64,
    /// Its circuit: whether it is away, and how often commits, or the registration of its schema, had to be tried again.
    pub circuit: Arc<Gauge>,
    /// Rows that the sink could not hold.
    pub refused: AtomicU64,
    /// Seconds that a commit took.
    pub commit: Histogram,
    /// Seconds from an event's creation to the commit that shows it.
    pub freshness: Histogram,
}

impl Stats {
    /// Makes the numbers of a job, all zero. `views` has for each view of the plan the name under which people know it: those of one name share
    /// their numbers. Passwords are taken out of the sinks' URLs.
    #[must_use]
    pub fn new(sources: &[String], views: &[String], sinks: &[(String, String)]) -> Stats {
        let mut names: Vec<&String> = Vec::new();
        let mut number = |name| {
            names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        };
        let numbers_of = views.iter().map(&mut number).collect();
        Stats {
            started: Instant::now(),
            sources: sources.iter().map(|name| SourceStats::new(name)).collect(),
            streams: Vec::new(),
            tables: Vec::new(),
            views: names.into_iter().map(|name| ViewStats { name: name.clone(), ..ViewStats::default() }).collect(),
            numbers_of,
            sinks: sinks.iter().map(|(name, url)| SinkStats::new(name, url)).collect(),
            epoch: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// Adds the numbers of streams that are made from others.
    #[must_use]
    pub fn with_streams(mut self, names: impl Iterator<Item = String>) -> Stats {
        self.streams.extend(names.map(|name| StreamStats { name, ..StreamStats::default() }));
        self
    }

    /// Makes the numbers of a job, all zero.
    #[must_use]
    pub fn of(job: &Job, plan: &Plan) -> Stats {
        let sources: Vec<String> = job.sources.iter().map(|source| source.name.clone()).collect();
        let views: Vec<String> = plan.views.iter().map(|view| view.shown_name().to_owned()).collect();
        let sinks = job.sinks.iter().map(|sink| (sink.name.clone(), sink.url.clone()));
        let places = job.places().map(|place| (place.name().to_owned(), place.url.clone()));
        let streams = plan.sources[sources.len()..].iter().map(|stream| stream.name.clone());
        Stats::new(&sources, &views, &sinks.chain(places).collect::<Vec<_>>())
            .with_streams(streams)
            .with_tables(job.tables.iter().map(|table| table.name.clone()))
            .with_registries(job.sources.iter().map(|source| source.format.encoding.registry().is_some()))
    }

    /// Says of each source whether a registry knows its schemas.
    #[must_use]
    pub fn with_registries(mut self, have: impl Iterator<Item = bool>) -> Stats {
        for (source, has) in self.sources.iter_mut().zip(have) {
            source.registry = has.then(Arc::default);
        }
        self
    }

    /// Adds the numbers of tables.
    #[must_use]
    pub fn with_tables(mut self, names: impl Iterator<Item = String>) -> Stats {
        self.tables.extend(names.map(|name| TableStats { name, ..TableStats::default() }));
        self
    }

    /// Returns the numbers of the stream with this index among the plan's sources.
    #[must_use]
    pub fn stream(&self, index: usize) -> &StreamStats {
        &self.streams[index - self.sources.len()]
    }

    /// Returns the numbers of the view with this index in the plan.
    #[must_use]
    pub fn view(&self, index: usize) -> &ViewStats {
        &self.views[self.numbers_of[index]]
    }

    /// Notes why the job has failed; the first reason stays.
    pub fn fail(&self, reason: &str) {
        let mut failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.get_or_insert_with(|| redact::line(reason));
    }

    /// Returns why the job has failed, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Returns the records read from all sources.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.sources.iter().map(|source| source.records.load(Ordering::Relaxed)).sum()
    }

    /// Returns the records waiting in all sources.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.sources.iter().map(|source| source.lag.load(Ordering::Relaxed)).sum()
    }

    /// Returns the dead letters of all sources, and the rows that sinks refused.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        let sources = self.sources.iter().map(|source| source.dead_letters.load(Ordering::Relaxed));
        let sinks = self.sinks.iter().map(|sink| sink.refused.load(Ordering::Relaxed));
        sources.chain(sinks).sum()
    }

    /// Returns the systems that a job asks beside its sources and sinks, registries and tables, by their names for people.
    pub fn asked(&self) -> impl Iterator<Item = (String, &Arc<Gauge>)> {
        let registries = self.sources.iter().filter_map(|source| Some((source.registry_name(), source.registry.as_ref()?)));
        registries.chain(self.tables.iter().map(|table| (table.thing(), &table.circuit)))
    }

    /// Returns the systems that are away, with the states of their circuits.
    #[must_use]
    pub fn away(&self) -> Vec<(String, &'static str)> {
        let sinks = self.sinks.iter().map(|sink| (format!("sink '{}'", sink.name), &sink.circuit));
        let open = self.asked().chain(sinks).filter(|(_, circuit)| circuit.state() != State::Closed);
        open.map(|(thing, circuit)| (thing, circuit.state().name())).collect()
    }

    /// Returns the freshness of all sinks together.
    #[must_use]
    pub fn freshness(&self) -> Snapshot {
        self.sinks.iter().map(|sink| sink.freshness.snapshot()).fold(Snapshot::default(), |all, one| all.plus(&one))
    }
}

impl SourceStats {
    /// Names the source's registry for people.
    #[must_use]
    pub fn registry_name(&self) -> String {
        format!("registry of source '{}'", self.name)
    }

    fn new(name: &str) -> SourceStats {
        SourceStats {
            name: name.to_owned(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
            max_event_time: AtomicI64::new(i64::MIN),
            registry: None,
        }
    }
}

impl ViewStats {
    /// Keeps the last few of these rows, the newest last, for show.
    pub fn show(&self, rows: impl IntoIterator<Item = String>) {
        let mut newest = self.newest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        newest.extend(rows);
        let surplus = newest.len().saturating_sub(MAX_NEWEST);
        newest.drain(..surplus);
    }

    /// Returns the newest rows, the newest last.
    #[must_use]
    pub fn newest(&self) -> Vec<String> {
        self.newest.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl SinkStats {
    fn new(name: &str, url: &str) -> SinkStats {
        SinkStats {
            name: name.to_owned(),
            url: redact::url(url),
            epoch: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            circuit: Arc::default(),
            refused: AtomicU64::new(0),
            commit: Histogram::default(),
            freshness: Histogram::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sinks_url_shows_no_password() {
        let stats = Stats::new(&[], &[], &[("warehouse".into(), "postgres://app:hunter2@db/x".into())]);
        assert_eq!(stats.sinks[0].url, "postgres://app:***@db/x");
        stats.fail("cannot reach postgres://app:hunter2@db/x");
        stats.fail("something else");
        assert_eq!(stats.failure().as_deref(), Some("cannot reach postgres://app:***@db/x"));
    }

    #[test]
    fn only_the_newest_rows_are_kept() {
        let view = ViewStats::default();
        view.show((0..10).map(|i| i.to_string()));
        view.show(["10".to_owned()]);
        assert_eq!(view.newest(), ["8", "9", "10"]);
    }
}
