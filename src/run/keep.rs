//! The threads that make durable what a later run begins with: the epoch log, the states of folds, and the manifests of checkpoints.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use freshet_dataflows::epochs::{Checkpoint, EpochRecord};
use freshet_dataflows::outlet::Outlet;
use freshet_dataflows::plan::Plan;
use freshet_dataflows::saved::{Conversion, Saved, saved};
use freshet_dataflows::saving::{Restore, Save, SaveOutlet, Stores};
use freshet_model::Epoch;
use freshet_recovery::{self as recovery, Files, Part, State};
use timely::scheduling::SyncActivator;

use super::begin::{Beginning, Known, encode, payload, versions_after};
use super::connect::Connected;
use super::{Error, Shared, point};

/// So many epochs are logged with one sync, at most.
const MAX_GROUP: usize = 1024;
/// So many blocks of states may wait for the disk, on each worker.
const MAX_WAITING: usize = 8;
/// So many checkpoints are kept: the newest, and one to fall back on.
const KEPT: usize = 2;

/// Names a fold in checkpoints.
pub(super) fn fold_name(fold: usize) -> String {
    format!("fold-{fold:03}")
}

/// Opens the epoch log of a job that keeps no state: every epoch counts as logged.
pub(super) fn no_log() -> Outlet<EpochRecord> {
    Outlet { send: Box::new(drop), finished: Box::new(|| Epoch::MAX) }
}

/// Starts the thread of the epoch log.
pub(super) fn log(state: Arc<State>, activator: SyncActivator, shared: &Arc<Shared>) -> Outlet<EpochRecord> {
    let (sender, receiver) = unbounded::<EpochRecord>();
    let durable = Arc::new(AtomicU64::new(0));
    let (logged, failed) = (Arc::clone(&durable), Arc::clone(shared));
    shared.spawn("epoch log", move || {
        while let Ok(first) = receiver.recv() {
            let group: Vec<_> = std::iter::once(first).chain(receiver.try_iter().take(MAX_GROUP)).collect();
            let announce = |()| {
                logged.store(group.last().map_or(0, |record| record.epoch + 1), Ordering::Release);
                let _ = activator.activate();
            };
            let announced = append(&state, &group).map(announce);
            if let Err(error) = announced.and_then(|()| Ok(point("announce::after")?)) {
                return failed.fail(error);
            }
        }
    });
    Outlet {
        send: Box::new(move |record| drop(sender.send(record))),
        finished: Box::new(move || durable.load(Ordering::Acquire)),
    }
}

fn append(state: &State, group: &[EpochRecord]) -> Result<(), Error> {
    let entries = group.iter().map(|record| Ok((record.epoch, encode(record)?))).collect::<Result<Vec<_>, Error>>()?;
    state.append(&entries)?;
    Ok(point("announce::before")?)
}

/// Starts the thread that publishes checkpoints whose parts are durable.
pub(super) fn publisher(
    state: Arc<State>,
    known: Known,
    connected: &Arc<Connected>,
    shared: &Arc<Shared>,
) -> Box<dyn FnMut(Checkpoint) + Send> {
    let connected = Arc::clone(connected);
    let (sender, receiver) = unbounded::<Checkpoint>();
    let failed = Arc::clone(shared);
    let folds: Vec<String> = (0..connected.lowered.states()).map(fold_name).collect();
    shared.spawn("checkpoints", move || {
        for checkpoint in receiver {
            connected.tell(&checkpoint.ends);
            if let Err(error) = publish(&state, &folds, &known, checkpoint).and_then(|()| collect(&state, &connected.plan)) {
                return failed.fail(error);
            }
        }
    });
    Box::new(move |checkpoint| drop(sender.send(checkpoint)))
}

fn publish(state: &State, folds: &[String], known: &Known, checkpoint: Checkpoint) -> Result<(), Error> {
    let epoch = checkpoint.epoch;
    state.publish(epoch, folds, &payload(known, checkpoint)?)?;
    tracing::debug!(epoch, "checkpoint");
    Ok(())
}

/// Deletes what no restart will need.
fn collect(state: &State, plan: &Plan) -> Result<(), Error> {
    match state.collect(KEPT).map_err(Error::from).and_then(|()| collect_versions(state, plan)) {
        // What is left over is collected the next time.
        Err(Error::State(error)) if error.is_transient() => tracing::warn!("old state is not collected: {error}"),
        outcome => outcome?,
    }
    Ok(())
}

/// Deletes the versions of tables that no epoch names which may be read again: those after the oldest checkpoint that is kept.
fn collect_versions(state: &State, plan: &Plan) -> Result<(), Error> {
    let checkpoints = state.checkpoints()?;
    let Some(&oldest) = checkpoints.get(KEPT - 1).filter(|_| !plan.tables.is_empty()) else { return Ok(()) };
    let names = plan.tables.iter().map(|table| table.name.clone());
    let floors: Vec<_> = names.zip(versions_after(state, oldest)?).collect();
    Ok(state.collect_versions(&floors)?)
}

/// The stores of a job that keeps no state.
pub(super) fn no_stores() -> Stores {
    let outlet = || SaveOutlet { send: Box::new(drop), has_room: Box::new(|| true), finished: Box::new(|| Epoch::MAX) };
    Stores { restore: Box::new(|_, _| Box::new(std::iter::empty())), save: Box::new(move |_, _| Box::new(move |_| outlet())) }
}

/// Opens what one worker restores, and starts the thread that saves its states.
pub(super) fn stores(
    files: &Files,
    generation: u64,
    beginning: &Beginning,
    connected: &Connected,
    shared: &Arc<Shared>,
) -> Stores {
    let id = beginning
        .checkpoint
        .as_ref()
        .map(|checkpoint| recovery::Checkpoint { epoch: checkpoint.epoch, generation: beginning.taken_by });
    let (from, failed) = (files.clone(), Arc::clone(shared));
    let conversions = conversions(beginning, connected);
    let restore = move |fold: usize, hashes: RangeInclusive<u64>| -> Restore {
        let known = conversions.get(fold).expect("invariant: whatever has a state is named by `saved`").clone();
        let (Some(id), Some((place, conversion))) = (id, known) else { return Box::new(std::iter::empty()) };
        let failed = Arc::clone(&failed);
        match from.parts(id, &fold_name(place), hashes) {
            Ok(entries) => {
                let entries = entries.map_while(move |entry| entry.map_err(|error| failed.fail(error)).ok());
                Box::new(entries.filter_map(move |(key, value)| Some((key, conversion.convert(value)?))))
            }
            Err(error) => {
                failed.fail(error);
                Box::new(std::iter::empty())
            }
        }
    };
    let (sender, receiver) = bounded(MAX_WAITING);
    let saver = Saver { files: files.clone(), generation, parts: BTreeMap::new() };
    let failed = Arc::clone(shared);
    shared.spawn("save states", move || {
        if let Err(error) = saver.run(&receiver) {
            failed.fail(error);
        }
    });
    let save = move |fold: usize, hashes: RangeInclusive<u64>| -> Box<dyn FnOnce(SyncActivator) -> SaveOutlet> {
        let sender = sender.clone();
        Box::new(move |activator| outlet(fold, hashes, sender, activator))
    };
    Stores { restore: Box::new(restore), save: Box::new(save) }
}

/// Finds for each fold the one that the checkpoint's job saved under the same name, and how its states are read; `None` if it is new.
fn conversions(beginning: &Beginning, connected: &Connected) -> Vec<Option<(usize, Conversion)>> {
    let shapes = |index: usize| {
        let fold = connected.lowered.folds.get(index);
        fold.into_iter().flat_map(|fold| fold.components.iter().map(|component| &component.shape))
    };
    let of = |(index, to): (usize, Saved)| {
        let place = to.place_in(&beginning.saved)?;
        Some((place, Conversion::new(&beginning.saved[place], &to, shapes(index))))
    };
    saved(&connected.plan, &connected.lowered).into_iter().enumerate().map(of).collect()
}

/// What a worker has saved of one fold.
struct Task {
    fold: usize,
    hashes: RangeInclusive<u64>,
    save: Save,
    finished: Arc<AtomicU64>,
    activator: Arc<SyncActivator>,
}

fn outlet(fold: usize, hashes: RangeInclusive<u64>, sender: Sender<Task>, activator: SyncActivator) -> SaveOutlet {
    let (finished, activator) = (Arc::new(AtomicU64::new(0)), Arc::new(activator));
    let (done, room) = (Arc::clone(&finished), sender.clone());
    let send = Box::new(move |save| {
        let (hashes, finished, activator) = (hashes.clone(), Arc::clone(&finished), Arc::clone(&activator));
        // If the thread has failed, the process is about to end with its error.
        drop(sender.send(Task { fold, hashes, save, finished, activator }));
    });
    // States come with their end, or with the next ones of the same fold after another look: there is room for both.
    let has_room = Box::new(move || room.len() + 2 <= MAX_WAITING);
    SaveOutlet { send, has_room, finished: Box::new(move || done.load(Ordering::Acquire)) }
}

/// Writes the parts of one worker.
struct Saver {
    files: Files,
    generation: u64,
    parts: BTreeMap<(usize, Epoch), Part>,
}

impl Saver {
    fn run(mut self, receiver: &Receiver<Task>) -> Result<(), Error> {
        for task in receiver {
            self.save(&task)?;
            let _ = task.activator.activate();
        }
        Ok(())
    }

    fn save(&mut self, task: &Task) -> Result<(), Error> {
        match &task.save {
            Save::States(epoch, states) => {
                let part = self.part(task, *epoch)?;
                for (key, value) in states.iter() {
                    part.push(key, value)?;
                }
            }
            Save::End(epoch) => {
                self.part(task, *epoch)?;
                if let Some(part) = self.parts.remove(&(task.fold, *epoch)) {
                    part.finish()?;
                }
                task.finished.store(epoch + 1, Ordering::Release);
            }
        }
        Ok(())
    }

    fn part(&mut self, task: &Task, epoch: Epoch) -> Result<&mut Part, Error> {
        let id = recovery::Checkpoint { epoch, generation: self.generation };
        Ok(match self.parts.entry((task.fold, epoch)) {
            std::collections::btree_map::Entry::Occupied(part) => part.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(self.files.part(id, &fold_name(task.fold), task.hashes.clone())?)
            }
        })
    }
}
