//! The two threads of a table sink: one gathers the epochs that wait, the other commits them, all that have been gathered in one commit.
//!
//! While a commit is under way the next one is gathered, so that the database need not wait for what can be done without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use freshet_connectors::circuit::Circuit;
use freshet_connectors::{Error, TableSink};
use freshet_dataflows::coalesce::Coalescer;
use freshet_dataflows::operators::drain::SinkEpoch;
use freshet_dataflows::outlet::Outlet;
use freshet_dataflows::plan::Plan;
use freshet_model::{Commit, Epoch, Timestamp};
use timely::scheduling::SyncActivator;

use super::numbers::{self, SinkNumbers};
use super::{Shared, connect};

/// Starts a sink's threads, and returns the dataflow's end of them. The channel needs no bound of its own: the sequencer cuts no
/// further epoch while the sink has too many in hand.
pub(super) fn outlet(
    table: &connect::Table,
    (sink, held): (Box<dyn TableSink>, Option<Epoch>),
    plan: &Plan,
    activator: SyncActivator,
    shared: &Arc<Shared>,
) -> Outlet<SinkEpoch> {
    let (sender, epochs) = unbounded();
    let (ready_sender, ready) = bounded(1);
    let (commit_sender, commits) = bounded(1);
    // What the sink holds has been committed by an earlier run.
    let finished = Arc::new(AtomicU64::new(held.map_or(0, |held| held + 1)));
    let coalescer = Coalescer::new(plan, &table.tables);
    let gatherer = Gatherer { coalescer, newest: Vec::new(), counts: table.counts, shared: Arc::clone(shared) };
    let mut committer = Committer {
        circuit: Arc::clone(&table.circuit),
        sink,
        numbers: SinkNumbers::new(table, Arc::clone(shared)),
        finished: Arc::clone(&finished),
        activator,
        shared: Arc::clone(shared),
    };
    shared.spawn(&format!("gather {}", table.name), move || gatherer.run(&epochs, &ready, &commit_sender));
    shared.spawn(&format!("commit {}", table.name), move || committer.run(&commits, &ready_sender));
    Outlet {
        // If a thread has failed, the process is about to end with its error.
        send: Box::new(move |epoch: SinkEpoch| {
            if freshet_protocol::applies(held, epoch.epoch) {
                drop(sender.send(epoch));
            }
        }),
        finished: Box::new(move || finished.load(Ordering::Acquire)),
    }
}

/// A commit, and the newest event's time of each of its epochs.
type Gathered = (Commit, Vec<Timestamp>);

struct Gatherer {
    coalescer: Coalescer,
    newest: Vec<Timestamp>,
    /// Whether this sink counts for all: each is told of all records.
    counts: bool,
    shared: Arc<Shared>,
}

impl Gatherer {
    /// Gathers epochs until there are no more, and hands over what there is whenever `ready` says that somebody waits for it.
    fn run(mut self, epochs: &Receiver<SinkEpoch>, ready: &Receiver<()>, commits: &Sender<Gathered>) {
        let mut is_ready = false;
        let mut is_over = false;
        while !is_over {
            select! {
                recv(epochs) -> epoch => match epoch {
                    Ok(epoch) => self.take(epoch),
                    // What is left is handed over yet.
                    Err(_) => (is_over, is_ready) = (true, is_ready || ready.recv().is_ok()),
                },
                recv(ready) -> told => match told {
                    Ok(()) => is_ready = true,
                    Err(_) => return,
                },
            }
            epochs.try_iter().for_each(|epoch| self.take(epoch));
            if is_ready && let Some(commit) = self.coalescer.commit() {
                is_ready = false;
                // If nobody takes it, the process is about to end with an error.
                drop(commits.send((commit, std::mem::take(&mut self.newest))));
            }
        }
    }

    fn take(&mut self, epoch: SinkEpoch) {
        self.newest.extend(epoch.seal.newest);
        if self.counts {
            numbers::count(&epoch.sides, &self.shared);
        }
        self.coalescer.take(epoch);
    }
}

struct Committer {
    circuit: Arc<Circuit>,
    sink: Box<dyn TableSink>,
    numbers: SinkNumbers,
    finished: Arc<AtomicU64>,
    activator: SyncActivator,
    shared: Arc<Shared>,
}

impl Committer {
    fn run(&mut self, commits: &Receiver<Gathered>, ready: &Sender<()>) {
        while ready.send(()).is_ok()
            && let Ok((commit, newest)) = commits.recv()
        {
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
