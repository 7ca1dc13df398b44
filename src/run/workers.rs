//! Starts timely's workers, each with its part of the dataflow, and waits for them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freshet_cluster::{Ended, Handle, Running};
use freshet_dataflows::build::{AppendSink, Open, TableOutlet, Wiring, build};
use freshet_dataflows::epochs::sequencer::{Begin, Options as Sequencing};
use freshet_dataflows::operators::source::Feed;
use freshet_dataflows::plan::Input;
use freshet_dataflows::saving::Stores;
use freshet_model::{Epoch, Timestamp};
use freshet_recovery::{Files, State};
use timely::scheduling::SyncActivator;
use timely::worker::Worker;
use timely::{CommunicationConfig, Config, WorkerConfig};

use super::begin::{Beginning, Known};
use super::connect::{Connected, HeldBatches, HeldTable, WorkerParts};
use super::tables::Tables;
use super::{Error, Options, Shared, appender, committer, keep, numbers, point, reader};

/// How long a worker sleeps when it has nothing to do, before it looks whether the job goes on.
const LOOK: Duration = Duration::from_millis(50);

/// What all workers of a process know.
pub(super) struct Work {
    pub(super) connected: Arc<Connected>,
    pub(super) tables: Arc<Tables>,
    pub(super) begin: Beginning,
    /// Where states are kept, if the job keeps any, and the number of this incarnation.
    pub(super) files: Option<(Files, u64)>,
    /// What the leader's sequencer writes, on process 0 of a job that keeps its state.
    pub(super) state: Option<(Arc<State>, Known)>,
    pub(super) checkpoint_interval: Duration,
    pub(super) options: Options,
    pub(super) shared: Arc<Shared>,
}

/// A run that was asked to stop has so long to commit what is left: less than supervisors wait before they kill.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// Runs the dataflow to its end, alone or as a part of a cluster.
pub(super) fn run(work: Work, parts: Vec<WorkerParts>, cluster: Option<Running>) -> Result<(), Error> {
    let parts: Mutex<Vec<_>> = Mutex::new(parts.into_iter().map(Some).collect());
    let (shared, workers) = (Arc::clone(&work.shared), work.options.workers);
    let tables = Arc::clone(&work.tables);
    let handle = cluster.as_ref().map(Running::handle);
    let each = move |worker: &mut Worker| {
        let own = parts.lock().unwrap_or_else(PoisonError::into_inner)[worker.index() % workers].take();
        let own = own.expect("invariant: each worker starts once");
        one(worker, &work, own, handle.as_ref());
    };
    let ended = match cluster {
        Some(running) => freshet_cluster::run(running, each).map(drop).map_err(Error::from),
        None => alone(workers, each),
    };
    if ended.is_err() {
        shared.fail(Error::Worker("the dataflow ended".to_owned()));
    }
    tables.close();
    let failure = shared.take_failure();
    // Whoever did not take what was left may not let go of its thread either; the process is about to end.
    if !matches!(failure, Some(Error::Drain(_))) {
        shared.join();
    }
    match (failure.or_else(|| shared.take_failure()), ended) {
        (None, ended) => ended,
        (Some(Error::Worker(_)), Err(ended)) => Err(ended),
        (Some(error), _) => Err(error),
    }
}

fn alone(workers: usize, each: impl Fn(&mut Worker) + Send + Sync + 'static) -> Result<(), Error> {
    let communication = if workers == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(workers) };
    let guards = timely::execute(Config { communication, worker: WorkerConfig::default() }, move |worker| each(worker));
    let results = guards.map_err(Error::Worker)?.join();
    results.into_iter().find_map(Result::err).map_or(Ok(()), |panic| Err(Error::Worker(panic)))
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Error {
        match ended {
            Ended::PeerLost(lost) => Error::PeerLost(lost.to_string()),
            other => Error::Worker(other.to_string()),
        }
    }
}

/// One worker's life.
fn one(worker: &mut Worker, work: &Work, own: WorkerParts, cluster: Option<&Handle>) {
    let sources: Arc<Mutex<Vec<SyncActivator>>> = Arc::default();
    let shared = &work.shared;
    let wiring = wiring(work, own, (worker.index(), worker.peers()), &sources);
    worker.dataflow::<Epoch, _, _>(|scope| build(scope, &work.connected.lowered, wiring));
    let mut told_to_stop: Option<Instant> = None;
    while worker.has_dataflows() {
        let is_over = cluster.is_some_and(Handle::is_over);
        if shared.has_failed() || is_over {
            if let Some(cluster) = cluster.filter(|_| !is_over) {
                cluster.abandon("a part of this process failed");
            }
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
            return;
        }
        if told_to_stop.is_some_and(|told| told.elapsed() > DRAIN_LIMIT) {
            shared.fail(Error::Drain(DRAIN_LIMIT));
        }
        if shared.is_stopping() && told_to_stop.is_none() {
            told_to_stop = Some(Instant::now());
            if let Err(error) = point("drain::begun") {
                shared.fail(error);
            }
            let sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
            for source in sources.iter() {
                let _ = source.activate();
            }
        }
        worker.step_or_park(Some(LOOK));
    }
}

/// Gives the dataflow its ways to the outside: all of them plain functions.
fn wiring(work: &Work, own: WorkerParts, place: (usize, usize), sources: &Arc<Mutex<Vec<SyncActivator>>>) -> Wiring {
    let Work { connected, begin, shared, .. } = work;
    let counting = Arc::clone(shared);
    Wiring {
        plan: Arc::clone(&connected.plan),
        versions: {
            let tables = Arc::clone(&work.tables);
            Arc::new(move |table, activator| tables.open(table, activator))
        },
        sequencer: (place.0 == 0).then(|| sequencing(work)),
        first: begin.first(connected.sources.len()),
        sources: (0..connected.sources.len()).map(|index| source(work, index, place, sources)).collect(),
        tables: own.tables.into_iter().enumerate().map(|(index, sink)| table(connected, index, sink, shared)).collect(),
        appends: own.appends.into_iter().enumerate().map(|(index, sink)| append(connected, index, sink, shared)).collect(),
        stores: stores(work),
        keys: Arc::new(move |of, change| {
            let keys = match of {
                Input::View(view) => &counting.stats.view(view).state_keys,
                Input::Source(stream) => &counting.stats.stream(stream).keys,
            };
            keys.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }),
    }
}

fn stores(work: &Work) -> Stores {
    match &work.files {
        Some((files, generation)) => keep::stores(files, *generation, &work.begin, &work.connected, &work.shared),
        None => keep::no_stores(),
    }
}

fn sequencing(work: &Work) -> Sequencing {
    let Work { connected, begin, shared, .. } = work;
    let (recording, diverged) = (Arc::clone(shared), Arc::clone(shared));
    let state = work.state.clone();
    let mut publish = state.clone().map(|(state, known)| keep::publisher(state, known, connected, shared));
    Sequencing {
        pace: connected.pace,
        sources: connected.sources.iter().map(|source| source.lateness).collect(),
        clock: Box::new(Timestamp::now),
        versions: {
            let tables = Arc::clone(&work.tables);
            Box::new(move || tables.newest())
        },
        begin: Begin {
            checkpoint: begin.checkpoint.clone(),
            repeat: begin.repeat.clone(),
            ceilings: begin.stretch.as_ref().map(|stretch| stretch.ceilings.clone()),
        },
        checkpoint_interval: state.is_some().then_some(work.checkpoint_interval),
        log: Box::new(move |activator| {
            let mut log = state.map_or_else(keep::no_log, |(state, _)| keep::log(state, activator, &recording));
            let mut lag = BTreeMap::new();
            let mut send = log.send;
            log.send = Box::new(move |record| {
                numbers::epoch(&record, &mut lag, &recording);
                send(record);
            });
            log
        }),
        checkpointed: Box::new(move |checkpoint| {
            if let Some(publish) = &mut publish {
                publish(checkpoint);
            }
        }),
        diverged: Box::new(move |divergence| diverged.fail(Error::Diverged(divergence.0))),
    }
}

fn source(work: &Work, index: usize, (worker, peers): (usize, usize), sources: &Arc<Mutex<Vec<SyncActivator>>>) -> Open<Feed> {
    let name = work.connected.plan.sources[index].name.clone();
    let part = work.connected.source_part(index, worker, peers, &work.begin);
    let (shared, sources) = (Arc::clone(&work.shared), Arc::clone(sources));
    Box::new(move |activator: SyncActivator| {
        sources.lock().unwrap_or_else(PoisonError::into_inner).push(activator.clone());
        match part {
            Ok(part) => reader::feed(&name, part, activator, &shared),
            Err(error) => {
                shared.fail(error);
                Feed {
                    next: Box::new(|| None),
                    cut_at: Box::new(|_| {}),
                    stop: Box::new(|| false),
                    planned: std::iter::empty().collect(),
                    time_column: None,
                }
            }
        }
    })
}

fn table(connected: &Arc<Connected>, index: usize, sink: Option<HeldTable>, shared: &Arc<Shared>) -> TableOutlet {
    let table = &connected.tables[index];
    let (name, tables, owner) = (table.name.clone(), table.tables.clone(), table.owner);
    let (connected, shared) = (Arc::clone(connected), Arc::clone(shared));
    let open = Box::new(move |activator| {
        let sink = sink.expect("invariant: the owner of a sink was given it");
        committer::outlet(&connected.tables[index], sink, &connected.plan, activator, &shared)
    });
    TableOutlet { name, tables, owner, open }
}

fn append(connected: &Arc<Connected>, index: usize, sink: Option<HeldBatches>, shared: &Arc<Shared>) -> AppendSink {
    let (connected, shared) = (Arc::clone(connected), Arc::clone(shared));
    let (name, input) = (connected.appends[index].name.clone(), connected.appends[index].input);
    let open = Box::new(move |activator| {
        let sink = sink.expect("invariant: each worker was given its part of a sink");
        appender::outlet(&connected.appends[index], sink, activator, &shared)
    });
    AppendSink { name, input, open }
}
