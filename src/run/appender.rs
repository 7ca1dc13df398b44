//! A thread that writes one worker's append-only rows to a batch sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, unbounded};
use freshet_connectors::{BatchSink, Error};
use freshet_dataflows::operators::append::Append;
use freshet_dataflows::operators::drain::Outlet;
use freshet_dataflows::plan::Input;
use freshet_model::Epoch;
use timely::scheduling::SyncActivator;

use super::{Shared, connect};

/// Starts the thread, and returns the dataflow's end of it. The channel needs no bound of its own: the sequencer cuts no further
/// epoch while the sink has too many in hand.
pub(super) fn outlet(
    append: &connect::Append,
    sink: Box<dyn BatchSink>,
    activator: SyncActivator,
    shared: &Arc<Shared>,
) -> Outlet<Append> {
    let (sender, receiver) = unbounded();
    let finished = Arc::new(AtomicU64::new(0));
    let view = if let Input::View(view) = append.input { Some(view) } else { None };
    let mut appender =
        Appender { sink, stats: append.stats, view, finished: Arc::clone(&finished), activator, shared: Arc::clone(shared) };
    let failed = Arc::clone(shared);
    let run = move || {
        if let Err(error) = appender.run(&receiver) {
            appender.shared.fail(error);
        }
    };
    if let Err(error) = thread::Builder::new().name(format!("append {}", append.name)).spawn(run) {
        failed.fail(Error::unavailable(format!("sink '{}'", append.name), format!("no thread can be started: {error}")));
    }
    Outlet {
        // If the thread has failed, the process is about to end with its error.
        send: Box::new(move |task| drop(sender.send(task))),
        finished: Box::new(move || finished.load(Ordering::Acquire)),
    }
}

struct Appender {
    sink: Box<dyn BatchSink>,
    stats: usize,
    /// The view whose rows these are, if they are not a source's.
    view: Option<usize>,
    finished: Arc<AtomicU64>,
    activator: SyncActivator,
    shared: Arc<Shared>,
}

impl Appender {
    fn run(&mut self, receiver: &Receiver<Append>) -> Result<(), Error> {
        while let Ok(task) = receiver.recv() {
            match task {
                Append::Rows(epoch, batch) => {
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
                Append::Close => {
                    self.sink.close()?;
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
            self.shared.stats.views[view].upserts.fetch_add(rows, Ordering::Relaxed);
        }
    }
}
