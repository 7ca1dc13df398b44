//! A thread that writes one worker's append-only rows to a batch sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, unbounded};
use freshet_connectors::{BatchSink, Error};
use freshet_dataflows::operators::append::{Append, AppendOutlet};
use freshet_dataflows::outlet::Outlet;
use freshet_dataflows::plan::Input;
use freshet_model::{Epoch, PartitionId};
use timely::scheduling::SyncActivator;

use super::{Shared, connect, point};

/// Starts the thread, and returns the dataflow's end of it. The channel needs no bound of its own: the sequencer cuts no further
/// epoch while the sink has too many in hand.
pub(super) fn outlet(
    append: &connect::Append,
    (sink, held): connect::HeldBatches,
    activator: SyncActivator,
    shared: &Arc<Shared>,
) -> AppendOutlet {
    let (sender, receiver) = unbounded();
    let (finished, durable) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let view = if let Input::View(view) = append.input { Some(view) } else { None };
    let mut appender = Appender {
        sink,
        held,
        stats: append.stats,
        view,
        finished: Arc::clone(&finished),
        durable: Arc::clone(&durable),
        activator,
        shared: Arc::clone(shared),
    };
    shared.spawn(&format!("append {}", append.name), move || {
        if let Err(error) = appender.run(&receiver) {
            appender.shared.fail(error);
        }
    });
    AppendOutlet {
        tasks: Outlet {
            // If the thread has failed, the process is about to end with its error.
            send: Box::new(move |task| drop(sender.send(task))),
            finished: Box::new(move || finished.load(Ordering::Acquire)),
        },
        durable: Box::new(move || durable.load(Ordering::Acquire)),
    }
}

struct Appender {
    sink: Box<dyn BatchSink>,
    /// For each partition the newest epoch of which the sink holds rows.
    held: BTreeMap<PartitionId, Epoch>,
    stats: usize,
    /// The view whose rows these are, if they are not a source's.
    view: Option<usize>,
    finished: Arc<AtomicU64>,
    durable: Arc<AtomicU64>,
    activator: SyncActivator,
    shared: Arc<Shared>,
}

impl Appender {
    fn run(&mut self, receiver: &Receiver<Append>) -> Result<(), Error> {
        while let Ok(task) = receiver.recv() {
            match task {
                Append::Rows(epoch, batch) => {
                    if !freshet_protocol::applies(self.held.get(&batch.partition).copied(), epoch) {
                        continue;
                    }
                    self.sink.write(epoch, batch.partition, &batch.columns)?;
                    self.count(batch.columns.num_rows() as u64);
                }
                Append::Seal(epoch) => {
                    let started = Instant::now();
                    self.sink.seal(epoch)?;
                    let sink = &self.shared.stats.sinks[self.stats];
                    sink.commits.fetch_add(1, Ordering::Relaxed);
                    sink.commit.observe(started.elapsed());
                    sink.epoch.store(epoch, Ordering::Relaxed);
                    self.finish(epoch + 1);
                }
                Append::Flush(epoch) => {
                    self.sink.flush(epoch)?;
                    self.durable.store(epoch + 1, Ordering::Release);
                    let _ = self.activator.activate();
                }
                Append::Close => {
                    point("drain::before_close")?;
                    self.sink.close()?;
                    point("drain::closed")?;
                    self.durable.store(Epoch::MAX, Ordering::Release);
                    self.finish(Epoch::MAX);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn finish(&self, epoch: Epoch) {
        self.finished.store(epoch, Ordering::Release);
        // The worker is gone only when it needs to know nothing more.
        let _ = self.activator.activate();
    }

    fn count(&self, rows: u64) {
        self.shared.stats.sinks[self.stats].rows.fetch_add(rows, Ordering::Relaxed);
        if let Some(view) = self.view {
            self.shared.stats.view(view).upserts.fetch_add(rows, Ordering::Relaxed);
        }
    }
}
