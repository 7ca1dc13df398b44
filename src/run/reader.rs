//! A thread that reads one worker's partitions of one source, ahead of the worker and no further than a few batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
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
        let send = |batch| sender.send(batch).is_ok() && activator.activate().is_ok();
        if let Err(error) = read_all(&own, (reader, ahead), &now, &send) {
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

/// Reads until the worker needs nothing more, or nothing more will come. A process that has been asked to stop reads on until its last epoch has been cut: epochs of an
/// earlier run may have to be repeated first. `now` returns when the newest epoch was cut, as long as the worker needs something; `send` tells whether
/// there is somebody to take what it is given.
fn read_all(
    name: &str,
    (mut reader, mut ahead): (Box<dyn Reader>, Ahead),
    now: &dyn Fn() -> Option<Timestamp>,
    send: &dyn Fn(Batch) -> bool,
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
            if !send(batch) {
                return Ok(());
            }
        }
        for (partition, held) in ahead.changes() {
            reader.hold(partition, held)?;
        }
        if reader.is_finished() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use freshet_model::{Offset, PartitionId, Progress};

    use super::*;

    const MEGABYTE: usize = 1 << 20;

    /// Partition 0 brings ten small records a read, partition 1 a megabyte in one.
    #[derive(Default)]
    struct Uneven {
        positions: [Offset; 2],
        held: BTreeSet<PartitionId>,
    }

    impl Reader for Uneven {
        fn set_now(&mut self, _: Timestamp) {}

        fn hold(&mut self, partition: PartitionId, held: bool) -> Result<(), freshet_connectors::Error> {
            assert!(if held { self.held.insert(partition) } else { self.held.remove(&partition) }, "told once");
            Ok(())
        }

        fn read(&mut self, _: usize, _: Duration, out: &mut Vec<Batch>) -> Result<(), freshet_connectors::Error> {
            for (partition, records, bytes) in [(0, 10, 1000), (1, 1, MEGABYTE)] {
                if self.held.contains(&partition) {
                    continue;
                }
                let position = &mut self.positions[usize::from(partition == 1)];
                out.push(Batch {
                    partition,
                    range: *position..*position + records,
                    columns: RecordBatch::new_empty(Schema::empty().into()),
                    offsets: Vec::new(),
                    max_event_time: None,
                    bytes,
                    dead: Vec::new(),
                    early: Vec::new(),
                    progress: Progress::Behind(1),
                });
                *position += records;
            }
            Ok(())
        }

        fn is_finished(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_is_read_ahead_of_a_planned_epoch_is_bounded_and_all_goes_on_after_it() {
        let planned = [(0, [(0, 2000), (1, 1)].into())].into();
        let (slow, fast, most_ahead) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let send = |batch: Batch| {
            if batch.partition == 0 {
                slow.set(batch.range.end);
            } else {
                fast.set(batch.range.end);
            }
            if slow.get() < 2000 {
                most_ahead.set(fast.get());
            }
            true
        };
        let now = || (fast.get() < 300).then_some(Timestamp(0));
        read_all("uneven", (Box::new(Uneven::default()), Ahead::new(planned)), &now, &send).expect("nothing fails");
        assert!((30..=40).contains(&most_ahead.get()), "{} megabytes were read ahead", most_ahead.get());
        assert!(slow.get() >= 2000, "the epoch was filled first");
    }
}
