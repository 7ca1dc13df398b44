//! Brings what a worker's readers read into the open epoch, and cuts it when the sequencer says so.
//!
//! # Frontiers
//! The capabilities stand at the open epoch. A tick at `E` moves them to `E + 1`, after what `E` holds has been reported; the last tick ends them,
//! so that nothing enters an epoch that will never be sealed.
//!
//! # Invariants
//! - A batch belongs to the epoch in which it came here, as a whole: the cut lies between batches.
//! - An epoch takes at most so many bytes and a batch more; then the reader's queue, and behind it the reader, waits. The first ones are small, so
//!   that something is seen soon; while epochs are full they grow, so that a key's many changes become one.
//! - A planned epoch, which an earlier run has cut, takes exactly what it took then; its tick waits until it has it ([`planned`](super::planned)).
//! - Whether a record lies too far in the future depends on the record and on the time of its epoch's tick, which is in the epoch log. So it is judged
//!   the same way when the epoch is read again, however late that is, and whatever the clock says by then.
//!
//! # Early rows
//! A record of epoch `E` is refused if its event time is greater than `processing_time(E) + max_future_skew`. While `E` is filled that time is not known, but it is not
//! before that of the epoch before. Hence a reader marks only what would be refused by the newest tick that it was told of; such rows are
//! [early](freshet_model::Early). A batch without early rows, which is nearly every one, leaves at once. A batch with early rows waits for the tick, and behind it
//! all that comes in the same epoch, so that the order stays. An epoch is cut after its records have arrived,
//! but for those that come while the tick is on its way to the worker: they are judged some milliseconds too strictly at most.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use freshet_model::{Batch, DeadLetter, Epoch, Offset, PartitionId, Progress, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use super::begin_at;
use super::planned::{Plan, Planned};
use crate::epochs::{Cut, Report, Tick};

/// What one worker takes of one source in the first epoch, and in one that follows a quiet one.
const FIRST_EPOCH_BYTES: usize = 4 << 20;

/// Where batches come from: plain functions, so that the operator does no I/O.
pub struct Feed {
    /// Returns the next batch that has been read, without waiting.
    pub next: Box<dyn FnMut() -> Option<Batch>>,
    /// Tells whether the process has been asked to stop.
    pub stop: Box<dyn Fn() -> bool>,
    /// Told when an epoch was cut: what is read from then on belongs to epochs that are cut at that time or later.
    pub cut_at: Box<dyn FnMut(Timestamp)>,
    /// The epochs that an earlier run has cut.
    pub planned: Plan,
    /// Index of the event-time column, if there is one.
    pub time_column: Option<usize>,
}

/// Where a source operator begins.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Index of the source.
    pub index: usize,
    /// The first epoch of the run.
    pub first: Epoch,
    /// What an epoch takes of the source on this worker.
    pub max_bytes: usize,
}

/// The streams of a source.
pub struct Source<'s> {
    /// The records.
    pub batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    /// What the sequencer is to know.
    pub reports: Stream<'s, Epoch, Vec<Report>>,
    /// The records that were refused.
    pub dead_letters: Stream<'s, Epoch, Vec<DeadLetter>>,
}

/// What the open epoch holds so far.
struct Open {
    source: usize,
    epoch: Epoch,
    cuts: BTreeMap<PartitionId, Cut>,
    bytes: usize,
    /// What the open epoch may take, and what any may.
    limit: usize,
    max_bytes: usize,
    announced: bool,
    announced_full: bool,
    /// The partitions that were behind as far as the sequencer knows, and those of them that are so no more.
    behind: BTreeSet<PartitionId>,
    caught_up: Vec<PartitionId>,
    plan: Planned,
    time_column: Option<usize>,
    /// When the epoch before was cut; what that accepts, this one does.
    last_cut: Timestamp,
    /// What waits for the tick: a batch with early rows, and what came after it.
    held: Vec<Batch>,
}

impl Open {
    fn new(place: Place, feed: &mut Feed) -> Open {
        let limit = FIRST_EPOCH_BYTES.min(place.max_bytes);
        let plan = Planned::new(std::mem::take(&mut feed.planned), feed.time_column);
        Open {
            source: place.index,
            epoch: place.first,
            cuts: BTreeMap::new(),
            bytes: 0,
            limit,
            max_bytes: place.max_bytes,
            announced: false,
            announced_full: false,
            behind: BTreeSet::new(),
            caught_up: Vec::new(),
            plan,
            time_column: feed.time_column,
            last_cut: Timestamp::MIN,
            held: Vec::new(),
        }
    }

    fn is_planned(&self) -> bool {
        self.plan.has(self.epoch)
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    /// Returns the next batch of the open epoch that can leave before the tick.
    fn next(&mut self, feed: &mut Feed) -> Option<Batch> {
        while let Some(mut batch) = self.take(feed) {
            self.advance(&batch);
            batch.accept_early(self.last_cut);
            if self.held.is_empty() && batch.early.is_empty() {
                self.account(&batch);
                return Some(batch);
            }
            self.held.push(batch);
        }
        None
    }

    /// Takes what the open epoch may hold.
    fn take(&mut self, feed: &mut Feed) -> Option<Batch> {
        if self.is_planned() {
            return self.plan.next(&mut feed.next);
        }
        if self.is_full() { None } else { self.plan.release().or_else(|| (feed.next)()) }
    }

    /// Returns what has waited for the time at which the open epoch is cut.
    fn judge(&mut self, time: Timestamp) -> Vec<Batch> {
        let mut held = std::mem::take(&mut self.held);
        for batch in &mut held {
            batch.judge_early(time, self.time_column);
            self.account(batch);
        }
        self.last_cut = time;
        held
    }

    /// Tells whether the open epoch may be cut.
    fn may_cut(&self) -> bool {
        !self.is_planned() || self.plan.is_complete()
    }

    /// Extends the open epoch's cut over a batch.
    fn advance(&mut self, batch: &Batch) {
        let empty = self.empty_cut(batch.partition, batch.range.start, batch.progress);
        let cut = self.cuts.entry(batch.partition).or_insert(empty);
        assert_eq!(cut.end, batch.range.start, "invariant: the batches of a partition leave no gap");
        cut.end = batch.range.end;
        cut.bytes += batch.bytes as u64;
        cut.progress = batch.progress;
        self.bytes += batch.bytes;
        if !matches!(batch.progress, Progress::Behind(_)) && self.behind.remove(&batch.partition) {
            self.caught_up.push(batch.partition);
        }
    }

    /// Counts the records of a batch of which none is early any more.
    fn account(&mut self, batch: &Batch) {
        let cut = self.cuts.get_mut(&batch.partition).expect("invariant: the epoch has advanced over the batch");
        cut.rows += batch.offsets.len() as u64;
        cut.dead_letters += batch.dead.len() as u64;
        cut.max_event_time = cut.max_event_time.max(batch.max_event_time);
    }

    /// Returns what the sequencer has not been told of the open epoch yet.
    fn maybe_announce(&mut self) -> Option<Report> {
        // The sequencer knows when a planned epoch is to be cut.
        if self.is_planned() {
            return None;
        }
        if self.is_full() && !self.announced_full {
            (self.announced, self.announced_full) = (true, true);
            return Some(Report::Full);
        }
        if !self.cuts.is_empty() && !self.announced {
            self.announced = true;
            return Some(Report::Pending);
        }
        self.caught_up.pop().map(|partition| Report::CaughtUp { source: self.source, partition })
    }

    /// Begins the next epoch, and returns what this one holds.
    fn cut(&mut self) -> impl Iterator<Item = Report> {
        if self.is_full() {
            self.limit = (self.limit * 2).min(self.max_bytes);
        } else if self.bytes < FIRST_EPOCH_BYTES {
            self.limit = FIRST_EPOCH_BYTES.min(self.max_bytes);
        }
        (self.bytes, self.announced, self.announced_full) = (0, false, false);
        let cuts = std::mem::take(&mut self.cuts);
        self.caught_up.clear();
        self.behind.extend(cuts.values().filter(|cut| matches!(cut.progress, Progress::Behind(_))).map(|cut| cut.partition));
        let was_planned = self.is_planned();
        self.epoch += 1;
        if was_planned {
            self.plan.advance();
            for (partition, offset, progress) in self.plan.stands() {
                self.cuts.insert(partition, self.empty_cut(partition, offset, progress));
            }
        }
        cuts.into_values().map(Report::Cut)
    }

    fn empty_cut(&self, partition: PartitionId, offset: Offset, progress: Progress) -> Cut {
        Cut {
            source: self.source,
            partition,
            start: offset,
            end: offset,
            rows: 0,
            dead_letters: 0,
            bytes: 0,
            max_event_time: None,
            progress,
        }
    }
}

/// Builds one worker's part of a source; `open` is told how to wake the operator, when there is something to take or the process is asked to stop.
pub fn source<'s>(
    scope: Scope<'s, Epoch>,
    name: &str,
    place: Place,
    ticks: Stream<'s, Epoch, Vec<Tick>>,
    open: impl FnOnce(SyncActivator) -> Feed,
) -> Source<'s> {
    let mut builder = OperatorBuilder::new(format!("Source {name}"), scope);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (batches_out, batches) = builder.new_output();
    let (reports_out, reports) = builder.new_output();
    let (dead_out, dead_letters) = builder.new_output();
    let mut batches_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Arc<Batch>>>>::from(batches_out);
    let mut reports_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Report>>>::from(reports_out);
    let mut dead_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<DeadLetter>>>::from(dead_out);
    let address = builder.operator_info().address;
    let mut feed = open(scope.worker().sync_activator_for(address.to_vec()));

    builder.build(move |capabilities| {
        let mut capabilities = begin_at::<3>(capabilities, place.first);
        let mut open = Open::new(place, &mut feed);
        let mut waiting: VecDeque<Tick> = VecDeque::new();
        let mut told_to_stop = false;

        move |frontiers| {
            let (mut batches_out, mut reports_out, mut dead_out) =
                (batches_out.activate(), reports_out.activate(), dead_out.activate());
            ticks.for_each(|_, ticks| waiting.extend(ticks.drain(..)));
            loop {
                let Some(held) = &mut capabilities else { return };
                // A live epoch is cut before it takes anything more, a planned one when it has everything.
                let takes = open.is_planned() || waiting.is_empty();
                let mut send = |mut batch: Batch| {
                    dead_out.session(&held[2]).give_iterator(batch.dead.drain(..));
                    if !batch.offsets.is_empty() {
                        batches_out.session(&held[0]).give(Arc::new(batch));
                    }
                };
                while takes && let Some(batch) = open.next(&mut feed) {
                    send(batch);
                }
                let Some(tick) = open.may_cut().then(|| waiting.pop_front()).flatten() else { break };
                open.judge(tick.processing_time).into_iter().for_each(send);
                (feed.cut_at)(tick.processing_time);
                reports_out.session(&held[1]).give_iterator(open.cut());
                held.iter_mut().for_each(|capability| capability.downgrade(&open.epoch));
                if tick.last {
                    capabilities = None;
                }
            }
            if frontiers[0].frontier().is_empty() && waiting.is_empty() {
                capabilities = None;
            }
            let Some([_, reports, _]) = &capabilities else { return };
            let mut session = reports_out.session(reports);
            while let Some(report) = open.maybe_announce() {
                session.give(report);
            }
            if !told_to_stop && (feed.stop)() {
                told_to_stop = true;
                session.give(Report::Stop);
            }
        }
    });
    Source { batches, reports, dead_letters }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
    use freshet_model::{Early, Reason};

    use super::*;

    const SKEW: i64 = 10;

    /// Rows with these event times from an offset on; those that may be more than ten ahead of `now` are early.
    fn batch(start: Offset, times: &[i64], now: i64) -> Batch {
        let letter = |offset| DeadLetter {
            source: "events".to_owned(),
            partition: 0,
            offset,
            reason: Reason::TimeOutOfRange,
            detail: String::new(),
            payload: Vec::new(),
        };
        let early = (start..).zip(times).filter(|(_, time)| **time > now + SKEW);
        let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
        let offsets: Vec<_> = (start..).take(times.len()).collect();
        Batch {
            partition: 0,
            range: start..start + offsets.len() as Offset,
            columns: RecordBatch::try_from_iter([("time", column)]).expect("one column"),
            offsets,
            max_event_time: times.iter().max().map(|time| Timestamp(*time)),
            bytes: 100,
            dead: Vec::new(),
            early: early.map(|(offset, time)| Early { since: Timestamp(time - SKEW), letter: letter(offset) }).collect(),
            progress: Progress::AtEnd,
        }
    }

    fn feed(batches: Vec<Batch>) -> Feed {
        let mut batches = batches.into_iter();
        let (cut_at, stop) = (Box::new(|_| {}), Box::new(|| false));
        Feed { next: Box::new(move || batches.next()), cut_at, stop, planned: Plan::new(), time_column: Some(0) }
    }

    /// Fills an epoch and cuts it: returns the offsets that left at once, those that left with the cut, and the cut.
    fn epoch(open: &mut Open, feed: &mut Feed, time: i64) -> (Vec<Offset>, Vec<Offset>, Cut) {
        let at_once = std::iter::from_fn(|| open.next(feed)).flat_map(|batch| batch.offsets).collect();
        let judged = open.judge(Timestamp(time)).into_iter().flat_map(|batch| batch.offsets).collect();
        let cut = open.cut().find_map(|report| if let Report::Cut(cut) = report { Some(cut) } else { None });
        (at_once, judged, cut.expect("something was read"))
    }

    #[test]
    fn a_batch_with_an_early_row_waits_for_the_cut_and_all_that_comes_after_it_too() {
        let batches = vec![batch(0, &[1, 2], 0), batch(2, &[3, 25], 0), batch(4, &[4], 0)];
        for (time, dead) in [(14, 1), (15, 0)] {
            let mut feed = feed(batches.clone());
            let mut open = Open::new(Place { index: 0, first: 0, max_bytes: 1 << 20 }, &mut feed);
            let (at_once, judged, cut) = epoch(&mut open, &mut feed, time);
            assert_eq!((at_once, judged.len() as u64), (vec![0, 1], 3 - dead), "cut at {time}");
            assert_eq!((cut.start, cut.end, cut.rows, cut.dead_letters, cut.bytes), (0, 5, 5 - dead, dead, 300));
            assert_eq!(cut.max_event_time, Some(Timestamp(if dead == 0 { 25 } else { 4 })), "dead letters move no watermark");
        }
    }

    #[test]
    fn what_the_epoch_before_would_have_accepted_does_not_wait() {
        // The reader had not been told of the first cut when it read the second batch.
        let mut feed = feed(vec![batch(0, &[1], 0), batch(1, &[25], 0)]);
        let mut open = Open::new(Place { index: 0, first: 0, max_bytes: 100 }, &mut feed);
        assert_eq!(epoch(&mut open, &mut feed, 15).0, [0], "the epoch is full");
        let (at_once, judged, _) = epoch(&mut open, &mut feed, 15);
        assert_eq!((at_once, judged), (vec![1], vec![]));
    }

    #[test]
    fn a_partition_that_was_behind_is_announced_once_when_its_last_known_record_has_come() {
        let behind = |start, progress| Batch { progress, ..batch(start, &[1], 0) };
        let batches = vec![
            behind(0, Progress::AtEnd),
            behind(1, Progress::Behind(2)),
            behind(2, Progress::Behind(1)),
            behind(3, Progress::Finished),
        ];
        let mut feed = feed(batches);
        let mut open = Open::new(Place { index: 0, first: 0, max_bytes: 1 << 20 }, &mut feed);
        let mut caught_up = Vec::new();
        for _ in 0..4 {
            open.next(&mut feed);
            let told = std::iter::from_fn(|| open.maybe_announce());
            caught_up.push(told.filter(|report| matches!(report, Report::CaughtUp { source: 0, partition: 0 })).count());
            open.cut().for_each(drop);
        }
        assert_eq!(caught_up, [0, 0, 0, 1]);
    }
}
