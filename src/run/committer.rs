//! A thread that commits the epochs of one table sink: all that wait, in one commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, unbounded};
use freshet_connectors::circuit::Circuit;
use freshet_connectors::{Error, TableSink};
use freshet_dataflows::coalesce::Coalescer;
use freshet_dataflows::operators::drain::SinkEpoch;
use freshet_dataflows::outlet::Outlet;
use freshet_dataflows::plan::Plan;
use freshet_model::{Commit, Epoch, Timestamp};
use timely::scheduling::SyncActivator;

use super::numbers::SinkNumbers;
use super::{Shared, connect};

/// Starts a sink's thread, and returns the dataflow's end of it. The channel needs no bound of its own: the sequencer cuts no
/// further epoch while the sink has too many in hand.
pub(super) fn outlet(
    table: &connect::Table,
    (sink, held): (Box<dyn TableSink>, Option<Epoch>),
    plan: &Plan,
    activator: SyncActivator,
    shared: &Arc<Shared>,
) -> Outlet<SinkEpoch> {
    let (sender, receiver) = unbounded();
    // What the sink holds has been committed by an earlier run.
    let finished = Arc::new(AtomicU64::new(held.map_or(0, |held| held + 1)));
    let mut committer = Committer {
        circuit: Arc::clone(&table.circuit),
        sink,
        coalescer: Coalescer::new(plan, &table.tables),
        numbers: SinkNumbers::new(table, Arc::clone(shared)),
        finished: Arc::clone(&finished),
        activator,
        shared: Arc::clone(shared),
    };
    shared.spawn(&format!("commit {}", table.name), move || committer.run(&receiver));
    Outlet {
        // If the thread has failed, the process is about to end with its error.
        send: Box::new(move |epoch: SinkEpoch| {
            if freshet_protocol::applies(held, epoch.epoch) {
                drop(sender.send(epoch));
            }
        }),
        finished: Box::new(move || finished.load(Ordering::Acquire)),
    }
}

struct Committer {
    circuit: Arc<Circuit>,
    sink: Box<dyn TableSink>,
    coalescer: Coalescer,
    numbers: SinkNumbers,
    finished: Arc<AtomicU64>,
    activator: SyncActivator,
    shared: Arc<Shared>,
}

impl Committer {
    fn run(&mut self, receiver: &Receiver<SinkEpoch>) {
        while let Ok(first) = receiver.recv() {
            let mut newest = Vec::new();
            for epoch in std::iter::once(first).chain(receiver.try_iter()) {
                newest.extend(epoch.seal.newest);
                self.numbers.count(&epoch.sides);
                self.coalescer.take(epoch);
            }
            let Some(commit) = self.coalescer.commit() else { continue };
            if let Err(error) = self.commit(&commit, &newest) {
                self.shared.fail(error);
                return;
            }
            self.finished.store(commit.epoch + 1, Ordering::Release);
            // The worker is gone only when it needs to know nothing more.
            let _ = self.activator.activate();
        }
    }

    /// Commits, again and again while the sink is away. `newest` has the newest event's time of each epoch.
    fn commit(&mut self, commit: &Commit, newest: &[Timestamp]) -> Result<(), Error> {
        loop {
            let started = Instant::now();
            match self.sink.commit(commit) {
                Ok(refused) => {
                    self.circuit.succeeded();
                    self.numbers.committed(commit, &refused, started.elapsed(), newest);
                    return Ok(());
                }
                Err(error) => {
                    let words = error.to_string();
                    self.circuit.failed(started, error)?;
                    if !self.circuit.wait() {
                        return Err(Error::unavailable("given up, since the job ends", words));
                    }
                }
            }
        }
    }
}
