//! Starts timely's workers, each with its part of the dataflow, and waits for them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freshet_dataflows::build::{AppendOutlet, TableOutlet, Wiring, build};
use freshet_dataflows::operators::append::Append;
use freshet_dataflows::operators::drain::Outlet;
use freshet_dataflows::operators::source::Feed;
use freshet_model::{Epoch, Timestamp};
use timely::scheduling::SyncActivator;
use timely::worker::Worker;
use timely::{CommunicationConfig, Config, WorkerConfig};

use super::connect::{Connected, WorkerParts};
use super::{Error, Options, Shared, appender, committer, numbers, reader};

/// How long a worker sleeps when it has nothing to do, before it looks whether the job goes on.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the dataflow to its end.
pub(super) fn run(connected: Connected, parts: Vec<WorkerParts>, options: &Options, shared: &Arc<Shared>) -> Result<(), Error> {
    let config = Config { communication: communication(options), worker: WorkerConfig::default() };
    let parts: Mutex<Vec<_>> = Mutex::new(parts.into_iter().map(Some).collect());
    let (connected, in_workers, workers) = (Arc::new(connected), Arc::clone(shared), options.workers);
    let guards = timely::execute(config, move |worker| {
        let own = parts.lock().unwrap_or_else(PoisonError::into_inner)[worker.index() % workers].take();
        let own = own.expect("invariant: each worker starts once");
        work(worker, &connected, own, &in_workers);
    });
    let guards = guards.map_err(Error::Cluster)?;
    let results = guards.join();
    if let Some(error) = shared.take_failure() {
        return Err(error.into());
    }
    match results.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some(_) if !options.hosts.is_empty() => Err(Error::PeerLost),
        Some(panic) => Err(Error::Worker(panic)),
    }
}

fn communication(options: &Options) -> CommunicationConfig {
    match (options.hosts.is_empty(), options.workers) {
        (true, 1) => CommunicationConfig::Thread,
        (true, workers) => CommunicationConfig::Process(workers),
        (false, threads) => CommunicationConfig::Cluster {
            threads,
            process: options.process,
            addresses: options.hosts.clone(),
            report: false,
            zerocopy: false,
        },
    }
}

/// One worker's life.
fn work(worker: &mut Worker, connected: &Arc<Connected>, own: WorkerParts, shared: &Arc<Shared>) {
    let sources: Arc<Mutex<Vec<SyncActivator>>> = Arc::default();
    let wiring = wiring(connected, own, shared, &sources);
    worker.dataflow::<Epoch, _, _>(|scope| build(scope, &connected.lowered, wiring));
    let mut told_to_stop = false;
    while worker.has_dataflows() {
        if shared.has_failed() {
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
            return;
        }
        if shared.is_stopping() && !told_to_stop {
            told_to_stop = true;
            let sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
            for source in sources.iter() {
                let _ = source.activate();
            }
        }
        worker.step_or_park(Some(LOOK));
    }
}

/// Gives the dataflow its ways to the outside: all of them plain functions.
fn wiring(
    connected: &Arc<Connected>,
    own: WorkerParts,
    shared: &Arc<Shared>,
    sources: &Arc<Mutex<Vec<SyncActivator>>>,
) -> Wiring {
    let names = connected.plan.sources.iter().map(|source| source.name.clone());
    let readers = names.zip(own.readers).map(|(name, reader)| {
        let (shared, sources) = (Arc::clone(shared), Arc::clone(sources));
        Box::new(move |activator: SyncActivator| {
            sources.lock().unwrap_or_else(PoisonError::into_inner).push(activator.clone());
            reader::feed(&name, reader, activator, &shared)
        }) as Box<dyn FnOnce(SyncActivator) -> Feed>
    });
    let known = connected.sources.iter().map(|(lateness, partitions)| (*lateness, partitions.clone()));
    let (recording, counting) = (Arc::clone(shared), Arc::clone(shared));
    let mut lag = BTreeMap::new();
    Wiring {
        plan: Arc::clone(&connected.plan),
        pace: connected.pace,
        sources: known.zip(readers).map(|((lateness, partitions), open)| (lateness, partitions, open)).collect(),
        tables: own.tables.into_iter().enumerate().map(|(index, sink)| table(connected, index, sink, shared)).collect(),
        appends: own.appends.into_iter().enumerate().map(|(index, sink)| append(connected, index, sink, shared)).collect(),
        clock: Box::new(Timestamp::now),
        record: Box::new(move |record| numbers::epoch(record, &mut lag, &recording)),
        keys: Arc::new(move |view, change| {
            counting.stats.views[view].state_keys.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }),
    }
}

fn table(
    connected: &Arc<Connected>,
    index: usize,
    sink: Option<Box<dyn freshet_connectors::TableSink>>,
    shared: &Arc<Shared>,
) -> TableOutlet {
    let table = &connected.tables[index];
    let (name, views, owner) = (table.name.clone(), table.views.clone(), table.owner);
    let (connected, shared) = (Arc::clone(connected), Arc::clone(shared));
    let open = Box::new(move |activator| {
        let sink = sink.expect("invariant: the owner of a sink was given it");
        committer::outlet(&connected.tables[index], sink, &connected.plan, activator, &shared)
    });
    TableOutlet { name, views, owner, open }
}

fn append(
    connected: &Arc<Connected>,
    index: usize,
    sink: Option<Box<dyn freshet_connectors::BatchSink>>,
    shared: &Arc<Shared>,
) -> AppendOutlet {
    let (connected, shared) = (Arc::clone(connected), Arc::clone(shared));
    let (name, input) = (connected.appends[index].name.clone(), connected.appends[index].input);
    let open = Box::new(move |activator| -> Outlet<Append> {
        let sink = sink.expect("invariant: each worker was given its part of a sink");
        appender::outlet(&connected.appends[index], sink, activator, &shared)
    });
    AppendOutlet { name, input, open }
}
