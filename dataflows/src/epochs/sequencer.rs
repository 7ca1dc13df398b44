//! The operator that cuts epochs and seals them, on worker 0 of the job.
//!
//! # Frontiers
//! - `ticks` holds the open epoch: its frontier is the epoch that sources fill.
//! - `reports` come back through a feedback edge, one epoch later than they were sent: once its frontier has passed `E + 1`, every source
//!   has told all it has to tell of `E`.
//! - `seals` holds the oldest epoch that is not sealed.
//! - `tables` and `appends` come from the two kinds of sinks through feedback edges: epochs below their frontier less one are finished
//!   everywhere.
//!
//! # Invariants
//! - Epochs are sealed in order, each once, and `record` has returned before a seal leaves the operator.
//! - After the last epoch nothing is cut: a bounded run ends with one empty epoch, in which the watermark has closed all windows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freshet_model::{Epoch, PartitionId, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

use super::pacing::{Decision, Pace, Situation};
use super::watermark::{Lateness, Watermark};
use super::{Cut, EpochRecord, Report, Seal, Tick};

/// How often the operator looks at the clock while it waits for nothing in particular.
const IDLE_LOOK: Duration = Duration::from_millis(100);

/// What the sequencer needs from outside.
pub struct Options {
    /// The limits of epochs.
    pub pace: Pace,
    /// For each source, its lateness and its partitions.
    pub sources: Vec<(Lateness, Vec<PartitionId>)>,
    /// Tells the time.
    pub clock: Box<dyn Fn() -> Timestamp>,
    /// Takes the record of each epoch, before anybody else hears of it.
    pub record: Box<dyn FnMut(&EpochRecord)>,
}

/// What is decided, without timely.
struct Sequence {
    pace: Pace,
    watermarks: Vec<Watermark>,
    /// The epoch that sources fill.
    open: Epoch,
    last_cut: Timestamp,
    pending: bool,
    full: bool,
    stopping: bool,
    /// Epochs cut and not yet sealed: when they were cut, and what has been reported of them.
    unsealed: BTreeMap<Epoch, (Timestamp, Vec<Cut>)>,
    /// What the open epoch has been told already, by sources that were cut before the sequencer heard of it.
    last_epoch: Option<Epoch>,
}

impl Sequence {
    fn new(pace: Pace, sources: &[(Lateness, Vec<PartitionId>)], now: Timestamp) -> Sequence {
        let watermarks = sources.iter().map(|(lateness, partitions)| Watermark::new(*lateness, partitions, now)).collect();
        Sequence {
            pace,
            watermarks,
            open: 0,
            last_cut: now,
            pending: false,
            full: false,
            stopping: false,
            unsealed: BTreeMap::new(),
            last_epoch: None,
        }
    }

    /// Takes in a report that a source sent in `epoch`.
    fn advance_report(&mut self, epoch: Epoch, report: Report) {
        match report {
            Report::Pending => self.pending |= epoch == self.open,
            Report::Full => (self.pending, self.full) = (self.pending || epoch == self.open, self.full || epoch == self.open),
            Report::Stop => self.stopping = true,
            Report::Cut(cut) => {
                let (_, cuts) = self.unsealed.get_mut(&epoch).expect("invariant: sources report cuts of epochs that were cut");
                cuts.push(cut);
            }
        }
    }

    /// Cuts the open epoch, if it is time: `tables` and `appends` are the first epochs that some sink of the kind has not finished.
    fn maybe_cut(&mut self, now: Timestamp, tables: Epoch, appends: Epoch) -> Result<Tick, Decision> {
        let situation = Situation {
            now,
            last_cut: self.last_cut,
            pending: self.pending,
            full: self.full,
            backlog: self.watermarks.iter().map(Watermark::backlog).sum(),
            tables_in_flight: self.open - tables.min(self.open),
            appends_in_flight: self.open - appends.min(self.open),
        };
        match self.pace.decide(&situation) {
            // The last epochs of a run are cut at once, however young they are.
            Decision::Cut | Decision::Wait(_) if self.last_epoch == Some(self.open) => Ok(self.cut(now)),
            Decision::Cut => Ok(self.cut(now)),
            decision => Err(decision),
        }
    }

    fn cut(&mut self, now: Timestamp) -> Tick {
        let processing_time = now.max(self.last_cut);
        let last = self.last_epoch == Some(self.open);
        self.unsealed.insert(self.open, (processing_time, Vec::new()));
        self.open += 1;
        self.last_cut = processing_time;
        (self.pending, self.full) = (false, false);
        Tick { processing_time, last }
    }

    /// Seals the oldest epoch, if all reports below `reported` have come.
    fn maybe_seal(&mut self, reported: Epoch) -> Option<EpochRecord> {
        let (&epoch, _) = self.unsealed.first_key_value()?;
        if epoch >= reported {
            return None;
        }
        let (processing_time, mut cuts) = self.unsealed.remove(&epoch)?;
        cuts.sort_by_key(|cut| (cut.source, cut.partition));
        for cut in &cuts {
            self.watermarks[cut.source].observe(cut, processing_time);
        }
        let watermarks = self.watermarks.iter_mut().map(|watermark| watermark.advance(processing_time)).collect();
        let newest = cuts.iter().filter_map(|cut| cut.max_event_time).max();
        self.plan_the_end();
        Some(EpochRecord { epoch, cuts, seal: Seal { watermarks, processing_time, newest } })
    }

    /// Fixes the last epoch: the open one, in which a bounded run's watermark closes everything, or which takes what a stopped run has read.
    fn plan_the_end(&mut self) {
        let finished = self.watermarks.iter().all(Watermark::is_finished);
        if self.last_epoch.is_none() && (finished || self.stopping) {
            self.last_epoch = Some(self.open);
        }
    }

    /// Tells whether the last epoch has been cut.
    fn is_over(&self) -> bool {
        self.last_epoch.is_some_and(|last| last < self.open)
    }
}

/// The two streams of a sequencer, at the worker that runs it; the other workers' are empty.
pub struct Sequencer<'s> {
    /// "Cut the epoch now."
    pub ticks: Stream<'s, Epoch, Vec<Tick>>,
    /// "The epoch is complete."
    pub seals: Stream<'s, Epoch, Vec<Seal>>,
}

/// Builds the sequencer; `reports`, `tables` and `appends` come through feedback edges of one epoch. `options` is given on worker 0 alone.
pub fn sequencer<'s>(
    scope: Scope<'s, Epoch>,
    reports: Stream<'s, Epoch, Vec<Report>>,
    tables: Stream<'s, Epoch, Vec<()>>,
    appends: Stream<'s, Epoch, Vec<()>>,
    options: Option<Options>,
) -> Sequencer<'s> {
    let mut builder = OperatorBuilder::new("Sequencer".to_owned(), scope);
    let mut reports = builder.new_input(reports, Exchange::new(|_: &Report| 0));
    let _tables = builder.new_input(tables, Pipeline);
    let _appends = builder.new_input(appends, Pipeline);
    // Nothing leaves at the time of an input: sources wait for the end of ticks, and ticks must not wait for that of their reports.
    let (ticks_out, ticks) = builder.new_output_connection([]);
    let (seals_out, seals) = builder.new_output_connection([]);
    let mut ticks_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Tick>>>::from(ticks_out);
    let mut seals_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Seal>>>::from(seals_out);
    let activator = scope.activator_for(builder.operator_info().address);

    builder.build(move |mut capabilities| {
        let mut running = options.map(|options| {
            let seals = capabilities.pop().expect("invariant: timely gives a capability for each output");
            let ticks = capabilities.pop().expect("invariant: timely gives a capability for each output");
            let sequence = Sequence::new(options.pace, &options.sources, (options.clock)());
            Running { sequence, ticks: Some(ticks), seals: Some(seals), options, armed: None }
        });
        capabilities.clear();

        move |frontiers| {
            let Some(running) = &mut running else {
                reports.for_each(|_, reports| reports.clear());
                return;
            };
            // A report that was sent in E arrives in E + 1.
            reports.for_each(|capability, reports| {
                reports.drain(..).for_each(|report| running.sequence.advance_report(*capability.time() - 1, report));
            });
            let (mut ticks_out, mut seals_out) = (ticks_out.activate(), seals_out.activate());
            running.seal_all(frontier(&frontiers[0]).saturating_sub(1), |seals, seal| seals_out.session(seals).give(seal));
            let [tables, appends] = [1, 2].map(|input| frontier(&frontiers[input]).saturating_sub(1));
            let look = running.cut_all(tables, appends, |ticks, tick| ticks_out.session(ticks).give(tick));
            if let Some(delay) = look.and_then(|delay| running.arm(delay)) {
                activator.activate_after(delay);
            }
        }
    });
    Sequencer { ticks, seals }
}

/// The sequence and the capabilities that go with it.
struct Running {
    sequence: Sequence,
    ticks: Option<Capability<Epoch>>,
    seals: Option<Capability<Epoch>>,
    options: Options,
    /// When the earliest timer goes off that has been set.
    armed: Option<Instant>,
}

impl Running {
    /// Returns the delay of a new timer, unless one that is set goes off in time: an operator that set one at each call would
    /// soon do nothing but answer them.
    fn arm(&mut self, delay: Duration) -> Option<Duration> {
        // Timers go by the monotonic clock. By the job's own, which may be set back a little, one that has gone off could look as if it were still to come.
        let now = Instant::now();
        let wanted = now + delay;
        if self.armed.is_some_and(|armed| armed > now && armed <= wanted) {
            return None;
        }
        self.armed = Some(wanted);
        Some(delay)
    }

    fn seal_all(&mut self, reported: Epoch, mut send: impl FnMut(&Capability<Epoch>, Seal)) {
        let Some(seals) = &mut self.seals else { return };
        while let Some(record) = self.sequence.maybe_seal(reported) {
            (self.options.record)(&record);
            send(seals, record.seal);
            seals.downgrade(&(record.epoch + 1));
        }
        if self.sequence.is_over() && self.sequence.unsealed.is_empty() {
            self.seals = None;
        }
    }

    /// Cuts what is to be cut, and returns when to look again.
    fn cut_all(&mut self, tables: Epoch, appends: Epoch, mut send: impl FnMut(&Capability<Epoch>, Tick)) -> Option<Duration> {
        let ticks = self.ticks.as_mut()?;
        let look = loop {
            if self.sequence.is_over() {
                self.ticks = None;
                return None;
            }
            match self.sequence.maybe_cut((self.options.clock)(), tables, appends) {
                Ok(tick) => {
                    send(ticks, tick);
                    ticks.downgrade(&self.sequence.open);
                }
                Err(Decision::Wait(delay)) => break delay.min(IDLE_LOOK),
                Err(_) => break IDLE_LOOK,
            }
        };
        Some(look)
    }
}

/// Returns the least time that may still come, or the end of time.
fn frontier(frontier: &MutableAntichain<Epoch>) -> Epoch {
    frontier.frontier().first().copied().unwrap_or(Epoch::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freshet_model::Progress;

    const LATENESS: Lateness = Lateness { delay: 10, idle_timeout: 100 };

    fn sequence() -> Sequence {
        Sequence::new(Pace::default(), &[(LATENESS, vec![0])], Timestamp(0))
    }

    fn report(start: i64, end: i64, time: i64, progress: Progress) -> Report {
        let max_event_time = Some(Timestamp(time));
        Report::Cut(Cut { source: 0, partition: 0, start, end, rows: 1, dead_letters: 0, bytes: 9, max_event_time, progress })
    }

    #[test]
    fn an_epoch_is_sealed_when_all_reports_are_in_and_its_watermark_is_for_the_next() {
        let mut sequence = sequence();
        sequence.advance_report(0, Report::Pending);
        sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("pending and old enough");
        sequence.advance_report(0, report(0, 1, 500, Progress::AtEnd));
        assert!(sequence.maybe_seal(0).is_none(), "reports of epoch 0 may still come");
        let record = sequence.maybe_seal(1).expect("complete");
        assert_eq!((record.epoch, record.seal.watermarks[0], record.cuts.len()), (0, Timestamp(490), 1));
        assert!(!sequence.is_over());
    }

    #[test]
    fn a_bounded_run_ends_with_an_epoch_in_which_all_windows_are_closed() {
        let mut sequence = sequence();
        sequence.advance_report(0, Report::Pending);
        sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("pending and old enough");
        sequence.advance_report(0, report(0, 1, 500, Progress::Finished));
        assert_eq!(sequence.maybe_seal(1).expect("complete").seal.watermarks[0], Timestamp::MAX);
        assert!(!sequence.is_over());
        let tick = sequence.maybe_cut(Timestamp(5_001), 0, 0).expect("the last epoch is cut at once");
        assert!(tick.last && sequence.is_over());
        assert_eq!(sequence.maybe_seal(2).expect("complete").epoch, 1);
    }

    #[test]
    fn a_stopped_run_takes_what_was_read_and_closes_nothing() {
        let mut sequence = sequence();
        sequence.advance_report(0, Report::Pending);
        sequence.advance_report(0, Report::Stop);
        sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("pending and old enough");
        sequence.advance_report(0, report(0, 1, 500, Progress::Behind(3)));
        assert_eq!(sequence.maybe_seal(1).expect("complete").seal.watermarks[0], Timestamp(490));
        sequence.maybe_cut(Timestamp(5_001), 0, 0).expect("the last epoch is cut at once");
        assert!(sequence.is_over());
    }

    #[test]
    fn processing_time_does_not_go_back_with_the_clock() {
        let mut sequence = sequence();
        sequence.pending = true;
        let first = sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("old enough");
        sequence.pending = true;
        let second = sequence.maybe_cut(Timestamp(100), 0, 0).expect("a clock set back does not stop it");
        assert_eq!(second.processing_time, first.processing_time);
    }
}
