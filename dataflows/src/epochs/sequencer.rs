//! The operator that cuts epochs and seals them, on worker 0 of the job.
//!
//! # Frontiers
//! - `ticks` holds the open epoch: its frontier is the epoch that sources fill.
//! - `reports` come back through a feedback edge, one epoch later than they were sent: once its frontier has passed `E + 1`, every source
//!   has told all it has to tell of `E`.
//! - `seals` holds the oldest epoch that is not sealed, and at the end the last one until its checkpoint has been taken.
//! - `tables` and `appends` come from the two kinds of sinks through feedback edges: epochs below their frontier less one are finished
//!   everywhere. `kept` comes from all that a checkpoint needs in the same way: what lies below is durable in every sink, and if a checkpoint
//!   was asked for, every state is.
//!
//! # Invariants
//! - Epochs are sealed in order, each once, and a record is durable before its seal leaves the operator.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use freshet_model::{Epoch, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::SyncActivator;

use super::pacing::{Decision, Pace};
pub use super::sequence::{Begin, Divergence};
use super::sequence::{Sealed, Sequence};
use super::watermark::Lateness;
use super::{Checkpoint, EpochRecord, Report, Seal, Tick, Version};
use crate::outlet::Outlet;

/// How often the operator looks at the clock while it waits for nothing in particular.
const IDLE_LOOK: Duration = Duration::from_millis(100);

/// What the sequencer needs from outside, on worker 0 alone.
pub struct Options {
    /// The limits of epochs.
    pub pace: Pace,
    /// The lateness of each source.
    pub sources: Vec<Lateness>,
    /// Tells the time.
    pub clock: Box<dyn Fn() -> Timestamp>,
    /// Where the run begins.
    pub begin: Begin,
    /// Returns the newest version of each table whose rows are durable.
    pub versions: Box<dyn Fn() -> Vec<Version>>,
    /// The epoch log, given the means to wake the operator when a record has become durable.
    pub log: Box<dyn FnOnce(SyncActivator) -> Outlet<EpochRecord>>,
    /// How often a checkpoint is taken, if at all.
    pub checkpoint_interval: Option<Duration>,
    /// Told of a checkpoint when all its parts are durable.
    pub checkpointed: Box<dyn FnMut(Checkpoint)>,
    /// Told that the log and the sources contradict each other; the run must end.
    pub diverged: Box<dyn FnMut(Divergence)>,
}

/// The feedback edges that end at the sequencer, of one epoch each.
pub struct Feedbacks<'s> {
    /// What sources tell.
    pub reports: Stream<'s, Epoch, Vec<Report>>,
    /// What table sinks have committed.
    pub tables: Stream<'s, Epoch, Vec<()>>,
    /// What batch sinks have taken in.
    pub appends: Stream<'s, Epoch, Vec<()>>,
    /// What is durable, as far as checkpoints go.
    pub kept: Stream<'s, Epoch, Vec<()>>,
}

/// The two streams of a sequencer, at the worker that runs it; the other workers' are empty.
pub struct Sequencer<'s> {
    /// "Cut the epoch now."
    pub ticks: Stream<'s, Epoch, Vec<Tick>>,
    /// "The epoch is complete."
    pub seals: Stream<'s, Epoch, Vec<Seal>>,
}

/// Builds the sequencer; `options` is given on worker 0 alone.
pub fn sequencer<'s>(scope: Scope<'s, Epoch>, feedbacks: Feedbacks<'s>, options: Option<Options>) -> Sequencer<'s> {
    let mut builder = OperatorBuilder::new("Sequencer".to_owned(), scope);
    let mut reports = builder.new_input(feedbacks.reports, Exchange::new(|_: &Report| 0));
    let _tables = builder.new_input(feedbacks.tables, Pipeline);
    let _appends = builder.new_input(feedbacks.appends, Pipeline);
    let _kept = builder.new_input(feedbacks.kept, Pipeline);
    // Nothing leaves at the time of an input: sources wait for the end of ticks, and ticks must not wait for that of their reports.
    let (ticks_out, ticks) = builder.new_output_connection([]);
    let (seals_out, seals) = builder.new_output_connection([]);
    let mut ticks_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Tick>>>::from(ticks_out);
    let mut seals_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Seal>>>::from(seals_out);
    let address = builder.operator_info().address.to_vec();
    let activator = scope.activator_for(address.clone().into());
    let sync_activator = scope.worker().sync_activator_for(address);

    builder.build(move |mut capabilities| {
        let mut running = options.map(|options| {
            let seals = capabilities.pop().expect("invariant: timely gives a capability for each output");
            let ticks = capabilities.pop().expect("invariant: timely gives a capability for each output");
            Running::new(options, ticks, seals, sync_activator)
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
            let [reported, tables, appends, kept] =
                [0, 1, 2, 3].map(|input: usize| frontier(&frontiers[input]).saturating_sub(1));
            running.seal_all(reported, kept, |seals, seal| seals_out.session(seals).give(seal));
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
    log: Outlet<EpochRecord>,
    /// Seals that wait until their records are durable.
    waiting: VecDeque<(Epoch, Seal)>,
    /// The first epoch that is not in the log from the start.
    logged: Epoch,
    clock: Box<dyn Fn() -> Timestamp>,
    versions: Box<dyn Fn() -> Vec<Version>>,
    checkpointed: Box<dyn FnMut(Checkpoint)>,
    diverged: Box<dyn FnMut(Divergence)>,
    /// When the earliest timer goes off that has been set.
    armed: Option<Instant>,
}

impl Running {
    fn new(options: Options, mut ticks: Capability<Epoch>, mut seals: Capability<Epoch>, activator: SyncActivator) -> Running {
        let now = (options.clock)();
        let sequence = Sequence::new(options.pace, &options.sources, options.checkpoint_interval, options.begin, now);
        ticks.downgrade(&sequence.open);
        seals.downgrade(&sequence.open);
        Running {
            logged: sequence.open,
            sequence,
            ticks: Some(ticks),
            seals: Some(seals),
            log: (options.log)(activator),
            waiting: VecDeque::new(),
            clock: options.clock,
            versions: options.versions,
            checkpointed: options.checkpointed,
            diverged: options.diverged,
            armed: None,
        }
    }

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

    fn seal_all(&mut self, reported: Epoch, kept: Epoch, mut send: impl FnMut(&Capability<Epoch>, Seal)) {
        let Some(seals) = &mut self.seals else { return };
        let versions = (self.versions)();
        loop {
            match self.sequence.maybe_seal(reported, &versions) {
                Ok(None) => break,
                Ok(Some(Sealed::New(record))) => {
                    self.waiting.push_back((record.epoch, record.seal.clone()));
                    (self.log.send)(record);
                }
                Ok(Some(Sealed::Repeated(record))) => {
                    self.logged = record.epoch + 1;
                    self.waiting.push_back((record.epoch, record.seal));
                }
                Err(divergence) => return (self.diverged)(divergence),
            }
        }
        let durable = (self.log.finished)().max(self.logged);
        while let Some((epoch, seal)) = self.waiting.pop_front_if(|(epoch, _)| *epoch < durable) {
            send(seals, seal);
            seals.downgrade(&(epoch + 1));
        }
        if let Some(checkpoint) = self.sequence.maybe_checkpoint(kept) {
            (self.checkpointed)(checkpoint);
        }
        if self.sequence.is_done() && self.waiting.is_empty() {
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
            match self.sequence.maybe_cut((self.clock)(), tables, appends) {
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
