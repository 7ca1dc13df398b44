//! Opens a job's sources and sinks, so that what is missing or wrong is said before anything runs.

use std::sync::Arc;

use freshet_connectors::{
    BatchSink, Reader, SinkOptions, Source, SourceOptions, TableSink, open_batch_sink, open_source, open_table_sink,
};
use freshet_dataflows::epochs::pacing::Pace;
use freshet_dataflows::epochs::watermark::Lateness;
use freshet_dataflows::lower::{Lowered, lower};
use freshet_dataflows::plan::{Input, Plan};
use freshet_model::{PartitionId, TableSchema, Timestamp};

use super::{Error, Options};
use crate::job::{Job, SinkSpec, SourceSpec};
use crate::planning::{self, Role};

/// A sink for dead letters and late events is made here if the job has none that could hold them.
const REJECTS: (&str, &str) = ("rejects", "file://data/rejects");

/// A job with its connectors open.
pub(super) struct Connected {
    pub(super) plan: Arc<Plan>,
    pub(super) lowered: Arc<Lowered>,
    pub(super) pace: Pace,
    /// For each source its lateness and its partitions.
    pub(super) sources: Vec<(Lateness, Vec<PartitionId>)>,
    pub(super) tables: Vec<Table>,
    pub(super) appends: Vec<Append>,
}

/// A table sink, as all workers know it.
pub(super) struct Table {
    pub(super) name: String,
    /// Index among the job's sinks; `None` for the sink that was made here.
    pub(super) stats: Option<usize>,
    pub(super) views: Vec<usize>,
    pub(super) owner: usize,
}

/// A batch sink, as all workers know it.
pub(super) struct Append {
    pub(super) name: String,
    pub(super) stats: usize,
    pub(super) input: Input,
}

/// What one worker reads and writes.
#[derive(Default)]
pub(super) struct WorkerParts {
    /// For each source, the reader of this worker's partitions, if it has any.
    pub(super) readers: Vec<Option<Box<dyn Reader>>>,
    /// For each table sink, the sink, if this worker owns it.
    pub(super) tables: Vec<Option<Box<dyn TableSink>>>,
    /// For each batch sink, this worker's part.
    pub(super) appends: Vec<Option<Box<dyn BatchSink>>>,
}

/// Opens everything that this process reads and writes; returns what all of its workers know, and the parts of each.
pub(super) fn connect(job: &Job, plan: Arc<Plan>, options: &Options) -> Result<(Connected, Vec<WorkerParts>), Error> {
    let roles = planning::roles(job, &plan)?;
    let pace = Pace {
        min: job.epochs.min,
        catch_up: job.epochs.catch_up,
        max_in_flight: job.epochs.max_in_flight as u64,
        ..Pace::default()
    };
    let workers = (0..options.workers).map(|_| WorkerParts::default()).collect();
    let lowered = Arc::new(lower(&plan));
    let connected = Connected { plan, lowered, pace, sources: Vec::new(), tables: Vec::new(), appends: Vec::new() };
    let mut connecting = Connecting { connected, workers, options };
    let generation = u64::try_from(Timestamp::now().0).unwrap_or_default();

    for source in &job.sources {
        connecting.add_source(source)?;
    }
    for (index, (sink, role)) in job.sinks.iter().zip(&roles).enumerate() {
        let sink_options = sink_options(job, sink, generation);
        match role {
            Role::Table(views) => connecting.add_table(&sink.url, sink_options, views, Some(index))?,
            Role::Rows(input) => connecting.add_append(&sink.url, &sink_options, *input, index)?,
        }
    }
    if connecting.connected.tables.is_empty() {
        let (name, url) = REJECTS;
        let sink = SinkOptions { name: name.to_owned(), ..rejects_options(job, generation) };
        connecting.add_table(url, sink, &[], None)?;
    }
    Ok((connecting.connected, connecting.workers))
}

/// A job whose connectors are being opened.
struct Connecting<'a> {
    connected: Connected,
    workers: Vec<WorkerParts>,
    options: &'a Options,
}

impl Connecting<'_> {
    fn add_source(&mut self, spec: &SourceSpec) -> Result<(), Error> {
        let options = self.options;
        let source = open_source(&spec.url, source_options(spec, options.bounded))?;
        let lateness = Lateness { delay: micros(spec.delay), idle_timeout: micros(spec.idle_timeout) };
        let index = self.connected.sources.len();
        for (worker, parts) in self.workers.iter_mut().enumerate() {
            let worker = options.process * options.workers + worker;
            parts.readers.push(reader(&*source, index, worker, options.peers())?);
        }
        self.connected.sources.push((lateness, source.partitions().to_vec()));
        Ok(())
    }

    fn add_table(&mut self, url: &str, sink: SinkOptions, views: &[usize], stats: Option<usize>) -> Result<(), Error> {
        let options = self.options;
        // Sinks are spread over the workers.
        let owner = self.connected.tables.len() % options.peers();
        let table = Table { name: sink.name.clone(), stats, views: views.to_vec(), owner };
        let mut opened = None;
        if owner / options.workers == options.process {
            let schemas: Vec<TableSchema> = views.iter().map(|&view| self.connected.plan.views[view].table.clone()).collect();
            let mut open = open_table_sink(url, sink)?;
            open.prepare(&schemas)?;
            opened = Some(open);
        }
        for (worker, parts) in self.workers.iter_mut().enumerate() {
            let is_owner = options.process * options.workers + worker == owner;
            parts.tables.push(if is_owner { opened.take() } else { None });
        }
        self.connected.tables.push(table);
        Ok(())
    }

    fn add_append(&mut self, url: &str, sink: &SinkOptions, input: Input, stats: usize) -> Result<(), Error> {
        let rows = self.rows_of(input);
        for parts in &mut self.workers {
            let mut opened = open_batch_sink(url, sink.clone())?;
            opened.prepare(&rows, &[])?;
            parts.appends.push(Some(opened));
        }
        self.connected.appends.push(Append { name: sink.name.clone(), stats, input });
        Ok(())
    }

    /// Returns the schema of append-only rows.
    fn rows_of(&self, input: Input) -> TableSchema {
        match input {
            Input::View(view) => self.connected.plan.views[view].table.clone(),
            Input::Source(source) => {
                let source = &self.connected.plan.sources[source];
                let (name, columns) = (source.name.clone(), source.columns.clone());
                TableSchema { name, columns, key: Vec::new(), time_column: source.time_column }
            }
        }
    }
}

/// Opens a worker's reader: partitions go round the workers, and sources begin at different ones.
fn reader(source: &dyn Source, index: usize, worker: usize, peers: usize) -> Result<Option<Box<dyn Reader>>, Error> {
    let partitions = source.partitions().iter().enumerate();
    let own: Vec<PartitionId> =
        partitions.filter(|(at, _)| (at + index) % peers == worker).map(|(_, &partition)| partition).collect();
    if own.is_empty() {
        return Ok(None);
    }
    Ok(Some(source.reader(&own)?))
}

fn source_options(spec: &SourceSpec, bounded: bool) -> SourceOptions {
    SourceOptions {
        name: spec.name.clone(),
        columns: spec.columns.clone(),
        time_column: spec.time_column,
        max_future_skew: spec.max_future_skew,
        max_record_bytes: spec.max_record_bytes,
        bounded,
        from_latest: spec.from_latest,
        identity: None,
        settings: spec.settings.clone(),
    }
}

fn sink_options(job: &Job, spec: &SinkSpec, generation: u64) -> SinkOptions {
    SinkOptions {
        job: job.name.clone(),
        name: spec.name.clone(),
        generation,
        reset: false,
        roll_bytes: spec.roll_bytes,
        roll_interval: spec.roll_interval,
        settings: spec.settings.clone(),
    }
}

fn rejects_options(job: &Job, generation: u64) -> SinkOptions {
    SinkOptions {
        job: job.name.clone(),
        name: String::new(),
        generation,
        reset: false,
        roll_bytes: u64::MAX,
        roll_interval: std::time::Duration::MAX,
        settings: std::collections::BTreeMap::new(),
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
