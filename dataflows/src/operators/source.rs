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
//! - A planned epoch, which an earlier run has cut, takes exactly what it took then; its tick waits until it has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use freshet_model::{Batch, DeadLetter, Epoch, Offset, PartitionId, Progress};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use super::begin_at;
use crate::epochs::{Cut, Report, Tick};

/// What one worker takes of one source in the first epoch, and in one that follows a quiet one.
const FIRST_EPOCH_BYTES: usize = 4 << 20;

/// Where batches come from: plain functions, so that the operator does no I/O.
pub struct Feed {
    /// Returns the next batch that has been read, without waiting.
    pub next: Box<dyn FnMut() -> Option<Batch>>,
    /// Tells whether the process has been asked to stop.
    pub stop: Box<dyn Fn() -> bool>,
    /// The epochs that an earlier run has cut: for each partition read here, where the epoch ends in it.
    pub planned: VecDeque<(Epoch, BTreeMap<PartitionId, Offset>)>,
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
    plan: Planned,
}

/// The epochs that are to be read again.
struct Planned {
    epochs: VecDeque<(Epoch, BTreeMap<PartitionId, Offset>)>,
    time_column: Option<usize>,
    /// What was read beyond the planned end of the epoch in which it came.
    ahead: BTreeMap<PartitionId, VecDeque<Batch>>,
    /// Where each partition stands, and what its reader said of it last.
    stands: BTreeMap<PartitionId, (Offset, Progress)>,
}

impl Planned {
    /// Returns the part of a batch that belongs to the open epoch, and keeps the rest for later.
    fn take(&mut self, mut batch: Batch) -> Option<Batch> {
        let partition = batch.partition;
        let end = self.epochs.front().and_then(|(_, ends)| ends.get(&partition).copied()).unwrap_or(batch.range.start);
        if batch.range.end > end {
            let rest = batch.split_off(end, self.time_column);
            self.ahead.entry(partition).or_default().push_front(rest);
        }
        let began = !self.stands.contains_key(&partition);
        self.stands.insert(partition, (batch.range.end, batch.progress));
        (began || batch.range.end > batch.range.start).then_some(batch)
    }

    /// Tells whether a partition is to be read further in the open epoch.
    fn wants(&self, partition: PartitionId) -> bool {
        let end = self.epochs.front().and_then(|(_, ends)| ends.get(&partition));
        let stands = self.stands.get(&partition).map(|(offset, _)| offset);
        end.is_some_and(|end| stands.is_none_or(|stands| stands < end))
    }

    /// Tells whether the open epoch has all that it took when it was cut.
    fn is_complete(&self) -> bool {
        self.epochs.front().is_none_or(|(_, ends)| ends.keys().all(|partition| !self.wants(*partition)))
    }

    /// Returns a batch that was read ahead, if the open epoch wants it.
    fn next(&mut self) -> Option<Batch> {
        let wanted: Vec<_> = self.ahead.keys().copied().filter(|&partition| self.wants(partition)).collect();
        wanted.into_iter().find_map(|partition| self.ahead.get_mut(&partition).and_then(VecDeque::pop_front))
    }

    /// Returns all that was read ahead, once nothing is planned any more.
    fn release(&mut self) -> Option<Batch> {
        let mut entry = self.ahead.first_entry()?;
        let batch = entry.get_mut().pop_front();
        if entry.get().is_empty() {
            entry.remove();
        }
        batch.or_else(|| self.release())
    }
}

impl Open {
    fn new(place: Place, feed: &mut Feed) -> Open {
        let limit = FIRST_EPOCH_BYTES.min(place.max_bytes);
        let plan = Planned {
            epochs: std::mem::take(&mut feed.planned),
            time_column: feed.time_column,
            ahead: BTreeMap::new(),
            stands: BTreeMap::new(),
        };
        Open {
            source: place.index,
            epoch: place.first,
            cuts: BTreeMap::new(),
            bytes: 0,
            limit,
            max_bytes: place.max_bytes,
            announced: false,
            announced_full: false,
            plan,
        }
    }

    fn is_planned(&self) -> bool {
        self.plan.epochs.front().is_some_and(|(epoch, _)| *epoch == self.epoch)
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    /// Returns the next batch of the open epoch.
    fn next(&mut self, feed: &mut Feed) -> Option<Batch> {
        if !self.is_planned() {
            return if self.is_full() { None } else { self.plan.release().or_else(|| (feed.next)()) };
        }
        while !self.plan.is_complete() {
            if let Some(batch) = self.plan.next() {
                return self.plan.take(batch).or_else(|| self.next(feed));
            }
            let batch = (feed.next)()?;
            match self.plan.ahead.get_mut(&batch.partition) {
                Some(ahead) if !ahead.is_empty() => ahead.push_back(batch),
                _ => {
                    if let Some(batch) = self.plan.take(batch) {
                        return Some(batch);
                    }
                }
            }
        }
        None
    }

    /// Tells whether the open epoch may be cut.
    fn may_cut(&self) -> bool {
        !self.is_planned() || self.plan.is_complete()
    }

    fn advance(&mut self, batch: &Batch) {
        let empty = self.empty_cut(batch.partition, batch.range.start, batch.progress);
        let cut = self.cuts.entry(batch.partition).or_insert(empty);
        assert_eq!(cut.end, batch.range.start, "invariant: the batches of a partition leave no gap");
        cut.end = batch.range.end;
        cut.rows += batch.offsets.len() as u64;
        cut.dead_letters += batch.dead.len() as u64;
        cut.bytes += batch.bytes as u64;
        cut.max_event_time = cut.max_event_time.max(batch.max_event_time);
        cut.progress = batch.progress;
        self.bytes += batch.bytes;
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
        None
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
        let was_planned = self.is_planned();
        self.epoch += 1;
        if was_planned {
            self.plan.epochs.pop_front();
            if self.plan.epochs.is_empty() {
                self.tell_where_partitions_stand();
            }
        }
        cuts.into_values().map(Report::Cut)
    }

    /// What readers said of partitions in planned epochs has not reached the sequencer, which goes by the log there.
    fn tell_where_partitions_stand(&mut self) {
        for (partition, (offset, progress)) in std::mem::take(&mut self.plan.stands) {
            let ahead = self.plan.ahead.get(&partition).into_iter().flatten().map(|batch| batch.offsets.len()).sum::<usize>();
            let progress = if ahead == 0 { progress } else { Progress::Behind(ahead as u64) };
            self.cuts.insert(partition, self.empty_cut(partition, offset, progress));
        }
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
                while takes && let Some(mut batch) = open.next(&mut feed) {
                    open.advance(&batch);
                    dead_out.session(&held[2]).give_iterator(batch.dead.drain(..));
                    if !batch.offsets.is_empty() {
                        batches_out.session(&held[0]).give(Arc::new(batch));
                    }
                }
                let Some(tick) = open.may_cut().then(|| waiting.pop_front()).flatten() else { break };
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
