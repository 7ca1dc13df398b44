//! A thread that reads one worker's partitions of one source, ahead of the worker and no further than a few batches.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use freshet_connectors::{Error, Reader};
use freshet_dataflows::operators::source::Feed;
use freshet_model::Batch;
use timely::scheduling::SyncActivator;

use super::Shared;

/// What is read at once, at most.
const MAX_RECORDS: usize = 16_384;

/// So many batches wait for the worker, at most.
const MAX_WAITING: usize = 4;

/// How long a reader waits for records before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(100);

/// A pause before reading again from what was away.
const RETRY: Duration = Duration::from_millis(200);

/// Starts a reader's thread, and returns the worker's end of it.
pub(super) fn feed(name: &str, reader: Option<Box<dyn Reader>>, activator: SyncActivator, shared: &Arc<Shared>) -> Feed {
    let stopping = Arc::clone(shared);
    let stop = Box::new(move || stopping.is_stopping());
    let Some(reader) = reader else { return Feed { next: Box::new(|| None), stop } };
    let (sender, receiver) = bounded(MAX_WAITING);
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name(format!("read {name}"));
    let spawned = thread.spawn({
        let (name, shared) = (name.to_owned(), Arc::clone(&shared));
        move || {
            if let Err(error) = read_all(&name, reader, &sender, &activator, &shared) {
                shared.fail(error);
            }
        }
    });
    if let Err(error) = spawned {
        shared.fail(Error::unavailable(format!("source '{name}'"), format!("no thread can be started: {error}")));
    }
    Feed { next: next_of(receiver), stop }
}

fn next_of(receiver: Receiver<Batch>) -> Box<dyn FnMut() -> Option<Batch>> {
    Box::new(move || receiver.try_recv().ok())
}

/// Reads until the worker is gone or the process stops.
fn read_all(
    name: &str,
    mut reader: Box<dyn Reader>,
    sender: &Sender<Batch>,
    activator: &SyncActivator,
    shared: &Shared,
) -> Result<(), Error> {
    let mut batches = Vec::new();
    while !shared.is_stopping() && !shared.has_failed() {
        match reader.read(MAX_RECORDS, WAIT, &mut batches) {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!("source '{name}': {error}; trying again");
                thread::sleep(RETRY);
            }
            Err(error) => return Err(error),
        }
        for batch in batches.drain(..) {
            if sender.send(batch).is_err() || activator.activate().is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
