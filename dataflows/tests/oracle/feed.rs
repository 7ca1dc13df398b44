//! What the job reads: the events of each partition, in batches of random sizes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use freshet_dataflows::epochs::Cut;
use freshet_dataflows::operators::source::Feed;
use freshet_model::{Batch, DeadLetter, Early, Progress, Reason, Timestamp};
use timely::scheduling::SyncActivator;

use crate::harness::{Event, Run, Shared, record};

/// Opens a worker's part of a source: what the log names is read again, and then the rest.
pub(crate) fn feed(shared: &Arc<Shared>, source: usize, worker: usize) -> Box<dyn FnOnce(SyncActivator) -> Feed> {
    let run = shared.run;
    let events = &shared.streams[source];
    let own: Vec<usize> = (0..events.len()).filter(|partition| partition % run.workers == worker).collect();
    let is_cut = |cut: &&Cut| cut.source == source && cut.end > cut.start;
    let cuts = |entry| record(entry).into_iter().flat_map(|record| &record.cuts).filter(is_cut);
    let start = |&partition: &usize| {
        let id = i32::try_from(partition).expect("small");
        let known = shared.checkpoint.as_ref().and_then(|(checkpoint, _)| checkpoint.ends[source].get(&id).copied());
        let logged = || shared.repeat.iter().flat_map(cuts).find(|cut| cut.partition == id).map(|cut| cut.start);
        (partition, usize::try_from(known.or_else(logged).unwrap_or(0)).expect("not negative"))
    };
    let seed = run.seed.wrapping_add(source as u64 * 77);
    let mut queue = batches(events, &own.iter().map(start).collect::<Vec<_>>(), Run { seed, ..run });
    let planned = shared.repeat.iter().filter_map(record).map(|record| {
        let is_own = |cut: &&Cut| is_cut(cut) && own.contains(&usize::try_from(cut.partition).expect("not negative"));
        (record.epoch, record.cuts.iter().filter(is_own).map(|cut| (cut.partition, cut.end)).collect())
    });
    let planned = planned.collect();
    let last_cut = Arc::new(AtomicI64::new(i64::MIN));
    let told_of = Arc::clone(&last_cut);
    let cut_at = Box::new(move |time: Timestamp| last_cut.store(time.0, Ordering::Relaxed));
    Box::new(move |activator: SyncActivator| {
        let left = Arc::new(AtomicU64::new(queue.len() as u64));
        let told = Arc::clone(&left);
        let next = Box::new(move || {
            let next = queue.pop_front();
            left.store(queue.len() as u64, Ordering::Relaxed);
            // A pause ends this call; the next one comes by itself.
            if next.is_some() || !run.bounded {
                let _ = activator.activate();
            }
            next.flatten().map(|batch| marked(batch, Timestamp(told_of.load(Ordering::Relaxed)), run.skew))
        });
        let stop = Box::new(move || !run.bounded && told.load(Ordering::Relaxed) == 0);
        Feed { next, cut_at, stop, planned, time_column: Some(0) }
    })
}

/// Cuts the events of some partitions, each from an offset on, into batches of random sizes, the partitions' batches mixed, with pauses
/// (`None`) between them.
fn batches(events: &[Vec<Event>], own: &[(usize, usize)], run: Run) -> VecDeque<Option<Batch>> {
    let Run { seed, most, bounded, .. } = run;
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut done = vec![0; events.len()];
    own.iter().for_each(|&(partition, start)| done[partition] = start);
    let mut queue = VecDeque::new();
    let mut open: Vec<usize> = own.iter().map(|(partition, _)| *partition).collect();
    while !open.is_empty() {
        let at = usize::try_from(random(open.len() as u64)).expect("small");
        let partition = open[at];
        let left = events[partition].len() - done[partition];
        let count = usize::try_from(1 + random(most)).expect("small").min(left);
        let (start, end) = (done[partition], done[partition] + count);
        done[partition] = end;
        let is_last = end == events[partition].len();
        let progress = if is_last && bounded { Progress::Finished } else { Progress::Behind(1) };
        queue.push_back(Some(batch(partition, start, &events[partition][start..end], progress)));
        if most == 1 || random(3) == 0 {
            queue.push_back(None);
        }
        if is_last {
            open.remove(at);
        }
    }
    queue
}

/// Returns what the column `id` holds for an event.
pub(crate) fn id(partition: usize, offset: usize) -> i64 {
    i64::try_from(partition * 10_000 + offset).expect("small")
}

fn batch(partition: usize, start: usize, events: &[Event], progress: Progress) -> Batch {
    let text = |of: fn(&Event) -> String| Arc::new(StringArray::from_iter_values(events.iter().map(of))) as Arc<dyn Array>;
    let columns: Vec<(&str, Arc<dyn Array>)> = vec![
        ("time", Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.time)))),
        ("page", text(|event| format!("/{}", event.page))),
        ("user_id", text(|event| format!("u{}", event.user))),
        ("kind", text(|event| if event.kind == 0 { "view".to_owned() } else { "click".to_owned() })),
        ("amount", Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.amount)))),
        ("id", Arc::new(Int64Array::from_iter_values((start..start + events.len()).map(|offset| id(partition, offset))))),
    ];
    let start = i64::try_from(start).expect("small");
    let end = start + i64::try_from(events.len()).expect("small");
    Batch {
        partition: i32::try_from(partition).expect("small"),
        range: start..end,
        columns: RecordBatch::try_from_iter(columns).expect("columns of one length"),
        offsets: (start..end).collect(),
        max_event_time: events.iter().map(|event| Timestamp(event.time)).max(),
        bytes: events.len() * 100,
        dead: Vec::new(),
        early: Vec::new(),
        progress,
    }
}

/// Marks the events that an epoch cut at this time would not accept, as a reader does.
fn marked(mut batch: Batch, now: Timestamp, skew: i64) -> Batch {
    let times = batch.columns.column(0).as_primitive::<TimestampMicrosecondType>().values().iter().copied();
    let early = batch.offsets.iter().zip(times).filter(|(_, time)| Timestamp(*time) > now.plus_micros(skew));
    let letter = |offset| DeadLetter {
        source: "events".to_owned(),
        partition: batch.partition,
        offset,
        reason: Reason::TimeOutOfRange,
        detail: String::new(),
        payload: Vec::new(),
    };
    batch.early =
        early.map(|(&offset, time)| Early { since: Timestamp(time).plus_micros(-skew), letter: letter(offset) }).collect();
    batch
}
