//! A thread that reads one worker's partitions of one source, ahead of the worker and no further than a few batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use freshet_connectors::{Error, Reader};
use freshet_dataflows::operators::source::Feed;
use freshet_model::{Batch, Timestamp};
use timely::scheduling::SyncActivator;

use super::Shared;
use super::ahead::Ahead;
use super::connect::SourcePart;

/// What is read at once, at most.
const MAX_RECORDS: usize = 16_384;

/// So many batches wait for the worker, at most.
const MAX_WAITING: usize = 4;

/// How long a reader waits for records before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(100);

/// A pause before reading again from what was away.
const RETRY: Duration = Duration::from_millis(200);

/// Starts a reader's thread, and returns the worker's end of it.
pub(super) fn feed(name: &str, part: SourcePart, activator: SyncActivator, shared: &Arc<Shared>) -> Feed {
    let stopping = Arc::clone(shared);
    let stop = Box::new(move || stopping.is_stopping());
    let SourcePart { reader, planned, time_column, since } = part;
    let last_cut = Arc::new(AtomicI64::new(since.0));
    let now = Arc::clone(&last_cut);
    let cut_at = Box::new(move |time: Timestamp| last_cut.store(time.0, Ordering::Release));
    let Some(reader) = reader else { return Feed { next: Box::new(|| None), cut_at, stop, planned, time_column } };
    let (sender, receiver) = bounded(MAX_WAITING);
    let (own, thread, ahead) = (name.to_owned(), Arc::clone(shared), Ahead::new(planned.clone()));
    let wanted = Arc::new(());
    let still_wanted = Arc::downgrade(&wanted);
    shared.spawn(&format!("read {name}"), move || {
        let now = || (still_wanted.strong_count() > 0 && !thread.has_failed()).then(|| Timestamp(now.load(Ordering::Acquire)));
        if let Err(error) = read_all(&own, (reader, ahead), &sender, &activator, &now) {
            thread.fail(error);
        }
    });
    Feed { next: next_of(receiver, wanted), cut_at, stop, planned, time_column }
}

/// `wanted` lives as long as the worker's end.
fn next_of(receiver: Receiver<Batch>, wanted: Arc<()>) -> Box<dyn FnMut() -> Option<Batch>> {
    Box::new(move || {
        let _ = &wanted;
        receiver.try_recv().ok()
    })
}

/// Reads until the worker needs nothing more. A process that has been asked to stop reads on until its last epoch has been cut: epochs of an
/// earlier run may have to be repeated first. `now` returns when the newest epoch was cut, as long as the worker needs something.
fn read_all(
    name: &str,
    (mut reader, mut ahead): (Box<dyn Reader>, Ahead),
    sender: &Sender<Batch>,
    activator: &SyncActivator,
    now: &dyn Fn() -> Option<Timestamp>,
) -> Result<(), Error> {
    let mut batches = Vec::new();
    while let Some(now) = now() {
        reader.set_now(now);
        match reader.read(MAX_RECORDS, WAIT, &mut batches) {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!("source '{name}': {error}; trying again");
                thread::sleep(RETRY);
            }
            Err(error) => return Err(error),
        }
        for batch in batches.drain(..) {
            ahead.take(&batch);
            if sender.send(batch).is_err() || activator.activate().is_err() {
                return Ok(());
            }
        }
        for (partition, held) in ahead.changes() {
            reader.hold(partition, held)?;
        }
    }
    Ok(())
}
