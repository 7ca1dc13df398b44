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

use std::collections::BTreeMap;
use std::sync::Arc;

use freshet_model::{Batch, DeadLetter, Epoch, PartitionId};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use crate::epochs::{Cut, Report, Tick};

/// What one worker takes of one source in the first epoch, and in one that follows a quiet one.
const FIRST_EPOCH_BYTES: usize = 4 << 20;

/// Where batches come from: plain functions, so that the operator does no I/O.
pub struct Feed {
    /// Returns the next batch that has been read, without waiting.
    pub next: Box<dyn FnMut() -> Option<Batch>>,
    /// Tells whether the process has been asked to stop.
    pub stop: Box<dyn Fn() -> bool>,
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
    cuts: BTreeMap<PartitionId, Cut>,
    bytes: usize,
    /// What the open epoch may take, and what any may.
    limit: usize,
    max_bytes: usize,
    announced: bool,
    announced_full: bool,
}

impl Open {
    fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    fn advance(&mut self, batch: &Batch) {
        let cut = self.cuts.entry(batch.partition).or_insert_with(|| Cut {
            source: self.source,
            partition: batch.partition,
            start: batch.range.start,
            end: batch.range.start,
            rows: 0,
            dead_letters: 0,
            bytes: 0,
            max_event_time: None,
            progress: batch.progress,
        });
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
        std::mem::take(&mut self.cuts).into_values().map(Report::Cut)
    }
}

/// Builds one worker's part of source number `index`; `open` is told how to wake the operator, when there is something to take or the
/// process is asked to stop. An epoch takes at most `max_bytes`.
pub fn source<'s>(
    scope: Scope<'s, Epoch>,
    name: &str,
    index: usize,
    max_bytes: usize,
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
        let mut capabilities: Option<[Capability<Epoch>; 3]> =
            Some(capabilities.try_into().unwrap_or_else(|_| panic!("invariant: timely gives a capability for each output")));
        let limit = FIRST_EPOCH_BYTES.min(max_bytes);
        let mut open =
            Open { source: index, cuts: BTreeMap::new(), bytes: 0, limit, max_bytes, announced: false, announced_full: false };
        let mut told_to_stop = false;

        move |frontiers| {
            let (mut batches_out, mut reports_out, mut dead_out) =
                (batches_out.activate(), reports_out.activate(), dead_out.activate());
            ticks.for_each(|time, ticks| {
                let Some(held) = &mut capabilities else { return };
                reports_out.session(&held[1]).give_iterator(open.cut());
                held.iter_mut().for_each(|capability| capability.downgrade(&(time.time() + 1)));
                if ticks.iter().any(|tick| tick.last) {
                    capabilities = None;
                }
            });
            if frontiers[0].frontier().is_empty() {
                capabilities = None;
            }
            let Some([batches, reports, dead_letters]) = &capabilities else { return };

            while !open.is_full()
                && let Some(mut batch) = (feed.next)()
            {
                open.advance(&batch);
                dead_out.session(dead_letters).give_iterator(batch.dead.drain(..));
                if !batch.offsets.is_empty() {
                    batches_out.session(batches).give(Arc::new(batch));
                }
            }
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
