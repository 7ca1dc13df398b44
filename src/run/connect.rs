//! Opens a job's sources and sinks, so that what is missing or wrong is said before anything runs, and older incarnations are fenced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freshet_connectors::circuit::Circuit;
use freshet_connectors::kafka::GroupOffsets;
use freshet_connectors::retry::Policy;
use freshet_connectors::{
    BatchSink, Past, Reader, SinkOptions, Source, SourceOptions, TableSink, open_batch_sink, open_group_offsets,
    open_rejects_sink, open_source, open_table_sink, open_table_sink_keeping,
};
use freshet_dataflows::epochs::pacing::Pace;
use freshet_dataflows::epochs::watermark::Lateness;
use freshet_dataflows::lower::{Lowered, lower};
use freshet_dataflows::operators::planned::Plan as Planned;
use freshet_dataflows::plan::{Input, Plan};
use freshet_model::{Epoch, Offset, PartitionId, Timestamp};
use freshet_protocol::Held;

use super::begin::Beginning;
use super::until::Until;
use super::{Error, Options, Shared};
use crate::job::{Job, LAST_RESORT, SinkSpec, SourceSpec};
use crate::planning::{self, Role};

/// A job with its connectors open, as all workers know it.
pub(super) struct Connected {
    pub(super) plan: Arc<Plan>,
    pub(super) lowered: Arc<Lowered>,
    pub(super) pace: Pace,
    pub(super) sources: Vec<Opened>,
    pub(super) tables: Vec<Table>,
    pub(super) appends: Vec<Append>,
}

/// A source, found and not yet read.
pub(super) struct Opened {
    pub(super) lateness: Lateness,
    source: Mutex<Box<dyn Source>>,
    partitions: Vec<PartitionId>,
    time_column: Option<usize>,
    /// Tells people's tools how far the source has been read, on process 0.
    group: Mutex<Option<GroupOffsets>>,
}

/// A table sink, as all workers know it.
pub(super) struct Table {
    pub(super) name: String,
    /// Index among the sinks that are shown; `None` for the sink that was made here.
    pub(super) stats: Option<usize>,
    pub(super) tables: Vec<Input>,
    pub(super) owner: usize,
    /// Whether this sink counts for all: each is told of all records.
    pub(super) counts: bool,
    /// By which its commits are repeated.
    pub(super) circuit: Arc<Circuit>,
}

/// A batch sink, as all workers know it.
pub(super) struct Append {
    pub(super) name: String,
    pub(super) stats: usize,
    pub(super) input: Input,
}

/// A table sink, and the newest epoch that it holds.
pub(super) type HeldTable = (Box<dyn TableSink>, Option<Epoch>);

/// A worker's part of a batch sink, and for each of its partitions the newest epoch of which the sink holds rows.
pub(super) type HeldBatches = (Box<dyn BatchSink>, BTreeMap<PartitionId, Epoch>);

/// One worker's part of a source.
pub(super) struct SourcePart {
    /// Reads this worker's partitions, if it has any.
    pub(super) reader: Option<Box<dyn Reader>>,
    /// The epochs that are to be repeated, with their ends in this worker's partitions.
    pub(super) planned: Planned,
    pub(super) time_column: Option<usize>,
    /// No epoch of the run is cut before this time.
    pub(super) since: Timestamp,
}

/// What one worker writes.
#[derive(Default)]
pub(super) struct WorkerParts {
    /// For each table sink, the sink, if this worker owns it.
    pub(super) tables: Vec<Option<HeldTable>>,
    /// For each batch sink, this worker's part.
    pub(super) appends: Vec<Option<HeldBatches>>,
}

/// What the connectors are opened for.
pub(super) struct Purpose<'a> {
    pub(super) job: &'a Job,
    pub(super) options: &'a Options,
    pub(super) shared: &'a Shared,
    /// The incarnation, which fences all earlier ones.
    pub(super) generation: u64,
    /// For each source what an earlier run has read.
    pub(super) identities: Option<Vec<Option<String>>>,
    /// What becomes of what the sinks hold.
    pub(super) past: Past,
}

/// Opens everything that this process reads and writes, fences earlier incarnations at the sinks, and finds out what they hold.
pub(super) fn connect(purpose: &Purpose<'_>, plan: Arc<Plan>) -> Result<(Connected, Vec<WorkerParts>), Error> {
    let Purpose { job, options, .. } = purpose;
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
    let is_staging = purpose.past == Past::Staged;
    let mut connecting =
        Connecting { connected, workers, options, shared: purpose.shared, policy: job.retry, job: &job.name, is_staging };

    for (index, source) in job.sources.iter().enumerate() {
        let identity = purpose.identities.as_ref().and_then(|identities| identities.get(index).cloned().flatten());
        connecting.add_source(source, identity)?;
    }
    for (index, (sink, role)) in job.sinks.iter().zip(&roles).enumerate() {
        let sink_options = purpose.sink_options(sink);
        match role {
            Role::Table(tables) => {
                let open = || match job.max_payload_bytes(sink) {
                    Some(max) => open_table_sink_keeping(&sink.url, sink_options.clone(), max),
                    None => open_table_sink(&sink.url, sink_options.clone()),
                };
                connecting.add_table(&sink.name, open, tables, Some(index))?;
            }
            Role::Rows(input) => connecting.add_append(&sink.url, &sink_options, *input, index)?,
        }
    }
    let has_tables = !connecting.connected.tables.is_empty();
    for (index, place) in job.places().enumerate() {
        let options = SinkOptions { settings: place.settings.clone(), ..purpose.rejects_options(place.name()) };
        let open = || open_rejects_sink(&place.url, options, job.rejects_options(place));
        connecting.add_table(place.name(), open, &[], Some(job.sinks.len() + index))?;
    }
    if !has_tables && (job.dead_letters.is_none() || job.late_events.is_none()) {
        let (name, url) = LAST_RESORT;
        connecting.add_table(name, || open_table_sink(url, purpose.rejects_options(name)), &[], None)?;
    }
    Ok((connecting.connected, connecting.workers))
}

/// Tells what the sinks of this process hold.
pub(super) fn held(connected: &Connected, workers: &[WorkerParts]) -> Vec<Held> {
    let of = |parts: &WorkerParts| {
        let tables = connected.tables.iter().zip(&parts.tables).filter_map(|(table, part)| {
            let (sink, epoch) = part.as_ref()?;
            Some(Held { sink: table.name.clone(), epoch: *epoch, strict: sink.keeps_epoch() })
        });
        let appends = connected.appends.iter().zip(&parts.appends).filter_map(|(append, part)| {
            let (_, held) = part.as_ref()?;
            Some(Held { sink: append.name.clone(), epoch: held.values().max().copied(), strict: false })
        });
        tables.chain(appends).collect::<Vec<_>>()
    };
    workers.iter().flat_map(of).collect()
}

impl Connected {
    /// Returns for each source what it reads.
    pub(super) fn identities(&self) -> Vec<Option<String>> {
        self.sources.iter().map(|opened| opened.source().identity()).collect()
    }

    /// Tells people's tools how far each source has been read.
    pub(super) fn tell(&self, ends: &[BTreeMap<PartitionId, Offset>]) {
        for (opened, ends) in self.sources.iter().zip(ends) {
            let ends: Vec<_> = ends.iter().map(|(&partition, &offset)| (partition, offset)).collect();
            if let Some(group) = &mut *opened.group.lock().unwrap_or_else(PoisonError::into_inner) {
                group.commit(&ends);
            }
        }
    }

    /// Leaves out partitions that hold nothing before these ends, and all that the ends do not name.
    pub(super) fn limit(&mut self, ends: &[BTreeMap<PartitionId, Offset>]) {
        for (opened, ends) in self.sources.iter_mut().zip(ends) {
            let source = opened.source.get_mut().unwrap_or_else(PoisonError::into_inner);
            opened.partitions.retain(|partition| ends.get(partition).is_some_and(|end| *end > source.earliest(*partition)));
        }
    }

    /// Counts the records before these ends, as far as offsets tell.
    pub(super) fn records_before(&self, ends: &[BTreeMap<PartitionId, Offset>]) -> u64 {
        let of = |(opened, ends): (&Opened, &BTreeMap<PartitionId, Offset>)| {
            let source = opened.source();
            let length = |partition| ends.get(partition).map_or(0, |end| end - source.earliest(*partition));
            opened.partitions.iter().map(length).sum::<Offset>()
        };
        self.sources.iter().zip(ends).map(of).sum::<Offset>().unsigned_abs()
    }

    /// Returns for each source its partitions.
    pub(super) fn partitions(&self) -> Vec<Vec<PartitionId>> {
        self.sources.iter().map(|opened| opened.partitions.clone()).collect()
    }

    /// Opens one worker's reader of a source, at the place where the run begins.
    pub(super) fn source_part(&self, index: usize, worker: usize, peers: usize, begin: &Beginning) -> Result<SourcePart, Error> {
        let opened = &self.sources[index];
        let own = opened.own(index, worker, peers);
        let start_of = |partition| {
            let beginning = || begin.is_new(index, partition).then(|| opened.source().earliest(partition));
            begin.start_of(index, partition).or_else(beginning)
        };
        let starts: Vec<_> = own.iter().map(|&partition| (partition, start_of(partition))).collect();
        let reader = if own.is_empty() { None } else { Some(opened.source().reader_from(&starts)?) };
        let until = |inner| -> Box<dyn Reader> {
            let Some(stretch) = &begin.stretch else { return inner };
            let ends = own.iter().filter_map(|partition| Some((*partition, *stretch.ends[index].get(partition)?))).collect();
            Box::new(Until { inner, ends, time_column: opened.time_column })
        };
        let reader = reader.map(until);
        let planned = begin.planned(index, &own).collect();
        Ok(SourcePart { reader, planned, time_column: opened.time_column, since: begin.since() })
    }

    /// Returns the partitions of append-only rows that a worker has.
    fn own(&self, input: Input, worker: usize, peers: usize) -> Vec<PartitionId> {
        self.plan.partitions(input, &|source| self.sources[source].own(source, worker, peers))
    }
}

impl Opened {
    fn source(&self) -> MutexGuard<'_, Box<dyn Source>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a worker's partitions: they go round the workers, and sources begin at different ones.
    fn own(&self, index: usize, worker: usize, peers: usize) -> Vec<PartitionId> {
        let partitions = self.partitions.iter().enumerate();
        partitions.filter(|(at, _)| (at + index) % peers == worker).map(|(_, &partition)| partition).collect()
    }
}

/// A job whose connectors are being opened.
struct Connecting<'a> {
    connected: Connected,
    workers: Vec<WorkerParts>,
    options: &'a Options,
    shared: &'a Shared,
    policy: Policy,
    /// The job's name.
    job: &'a str,
    /// Whether views are computed anew beside the job: nobody follows how far that has come.
    is_staging: bool,
}

impl Connecting<'_> {
    fn add_source(&mut self, spec: &SourceSpec, identity: Option<String>) -> Result<(), Error> {
        let options = SourceOptions { identity, ..source_options(spec, self.options.bounded) };
        let group =
            if self.options.process == 0 && !self.is_staging { open_group_offsets(&spec.url, &options, self.job)? } else { None };
        let mut source = open_source(&spec.url, options)?;
        let stats = &self.shared.stats.sources[self.connected.sources.len()];
        if let Some(gauge) = &stats.registry {
            source.guard(&self.shared.circuit(&stats.registry_name(), self.policy, gauge));
        }
        let lateness = Lateness { delay: micros(spec.delay), idle_timeout: micros(spec.idle_timeout) };
        let (partitions, time_column) = (source.partitions().to_vec(), spec.time_column);
        self.connected.sources.push(Opened {
            lateness,
            source: Mutex::new(source),
            partitions,
            time_column,
            group: Mutex::new(group),
        });
        Ok(())
    }

    fn add_table(
        &mut self,
        name: &str,
        open: impl FnOnce() -> Result<Box<dyn TableSink>, freshet_connectors::Error>,
        tables: &[Input],
        stats: Option<usize>,
    ) -> Result<(), Error> {
        let options = self.options;
        // Sinks are spread over the workers.
        let owner = self.connected.tables.len() % options.peers();
        let counts = self.connected.tables.is_empty();
        let gauge = stats.map(|index| Arc::clone(&self.shared.stats.sinks[index].circuit)).unwrap_or_default();
        let circuit = self.shared.circuit(&format!("sink '{name}'"), self.policy, &gauge);
        let table = Table { name: name.to_owned(), stats, tables: tables.to_vec(), owner, counts, circuit };
        let mut opened = None;
        if owner / options.workers == options.process {
            let schemas: Vec<_> = tables.iter().map(|&table| self.connected.plan.table(table)).collect();
            let mut sink = open()?;
            sink.guard(&table.circuit);
            let held = sink.prepare(&schemas)?;
            opened = Some((sink, held));
        }
        for (worker, parts) in self.workers.iter_mut().enumerate() {
            let is_owner = options.process * options.workers + worker == owner;
            parts.tables.push(if is_owner { opened.take() } else { None });
        }
        self.connected.tables.push(table);
        Ok(())
    }

    fn add_append(&mut self, url: &str, sink: &SinkOptions, input: Input, stats: usize) -> Result<(), Error> {
        let rows = self.connected.plan.table(input);
        let gauge = &self.shared.stats.sinks[stats].circuit;
        let circuit = self.shared.circuit(&format!("sink '{}'", sink.name), self.policy, gauge);
        for (worker, parts) in self.workers.iter_mut().enumerate() {
            let worker = self.options.process * self.options.workers + worker;
            let own = self.connected.own(input, worker, self.options.peers());
            let mut opened = open_batch_sink(url, sink.clone())?;
            opened.guard(&circuit);
            let held = opened.prepare(&rows, &own)?;
            parts.appends.push(Some((opened, held)));
        }
        self.connected.appends.push(Append { name: sink.name.clone(), stats, input });
        Ok(())
    }
}

impl Purpose<'_> {
    fn sink_options(&self, spec: &SinkSpec) -> SinkOptions {
        SinkOptions {
            avro: spec.avro.clone(),
            roll_bytes: spec.roll_bytes,
            roll_interval: spec.roll_interval,
            settings: spec.settings.clone(),
            ..self.rejects_options(&spec.name)
        }
    }

    fn rejects_options(&self, name: &str) -> SinkOptions {
        SinkOptions {
            job: self.job.name.clone(),
            name: name.to_owned(),
            generation: self.generation,
            past: self.past.clone(),
            avro: None,
            roll_bytes: u64::MAX,
            roll_interval: std::time::Duration::MAX,
            settings: BTreeMap::new(),
        }
    }
}

fn source_options(spec: &SourceSpec, bounded: bool) -> SourceOptions {
    SourceOptions {
        name: spec.name.clone(),
        columns: spec.columns.clone(),
        format: spec.format.clone(),
        time_column: spec.time_column,
        max_future_skew: spec.max_future_skew,
        max_record_bytes: spec.max_record_bytes,
        bounded,
        from_latest: spec.from_latest,
        identity: None,
        settings: spec.settings.clone(),
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
