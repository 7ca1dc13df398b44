//! Hands each closed and sealed epoch of a table sink's views to the thread that commits it.
//!
//! # Frontiers
//! All rows of an epoch come to one worker, the sink's owner. It holds its capability at the oldest epoch that the sink has not
//! committed, so that the frontier of `done` says what is durable.
//!
//! # Invariants
//! - Epochs are handed over in order, each once, complete, after they have been sealed.

use std::collections::BTreeMap;

use freshet_model::Epoch;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use crate::changes::{Appended, Delta, Side};
use crate::epochs::Seal;
use crate::outlet::Outlet;

/// One epoch of a table sink.
#[derive(Debug, Clone)]
pub struct SinkEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// What was decided of it.
    pub seal: Seal,
    /// Rows of the sink's views that change.
    pub deltas: Vec<Delta>,
    /// Rows of those that are appended, in no order.
    pub appended: Vec<Appended>,
    /// Records that did not count, and the numbers of those that did, for all views of the job.
    pub sides: Vec<Side>,
}

/// What a table sink gathers.
pub struct Inputs<'s> {
    /// Rows of the sink's views that change.
    pub deltas: Stream<'s, Epoch, Vec<Delta>>,
    /// Rows of those that are appended.
    pub appended: Stream<'s, Epoch, Vec<Appended>>,
    /// What did not count, and how many records did, of all views of the job.
    pub sides: Stream<'s, Epoch, Vec<Side>>,
}

/// Builds the drain of a table sink owned by worker `owner`, from the epoch `first`; `open` is called on that worker alone, with the means to wake the operator when the
/// sink has finished something.
pub fn drain<'s>(
    scope: Scope<'s, Epoch>,
    name: &str,
    (owner, first): (usize, Epoch),
    inputs: Inputs<'s>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
    open: impl FnOnce(SyncActivator) -> Outlet<SinkEpoch>,
) -> Stream<'s, Epoch, Vec<()>> {
    let mut builder = OperatorBuilder::new(format!("Drain {name}"), scope);
    let mut deltas = builder.new_input(inputs.deltas, Exchange::new(move |_: &Delta| owner as u64));
    let mut appended = builder.new_input(inputs.appended, Exchange::new(move |_: &Appended| owner as u64));
    let mut sides = builder.new_input(inputs.sides, Exchange::new(move |_: &Side| owner as u64));
    let mut seals = builder.new_input(seals, Pipeline);
    let (_done_out, done) = builder.new_output::<Vec<()>>();
    let address = builder.operator_info().address.to_vec();
    let outlet = (scope.index() == owner).then(|| open(scope.worker().sync_activator_for(address)));

    builder.build(move |mut capabilities| {
        let mut running = outlet.zip(capabilities.pop()).map(|(outlet, capability)| Running::new(outlet, capability, first));
        move |frontiers| {
            let Some(sink) = &mut running else {
                seals.for_each(|_, seals| seals.clear());
                return;
            };
            deltas.for_each(|time, deltas| sink.waiting.entry(*time.time()).or_default().deltas.append(deltas));
            appended.for_each(|time, rows| sink.waiting.entry(*time.time()).or_default().appended.append(rows));
            sides.for_each(|time, sides| sink.waiting.entry(*time.time()).or_default().sides.append(sides));
            seals.for_each(|time, seals| sink.sealed.extend(seals.drain(..).map(|seal| (*time.time(), seal))));
            let least = frontiers[..3].iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            let ended = frontiers.iter().all(|frontier| frontier.frontier().is_empty());
            if sink.advance(least.unwrap_or(Epoch::MAX), ended) {
                running = None;
            }
        }
    });
    done
}

/// The owner's part.
struct Running {
    outlet: Outlet<SinkEpoch>,
    capability: Capability<Epoch>,
    waiting: BTreeMap<Epoch, Waiting>,
    sealed: BTreeMap<Epoch, Seal>,
    /// The next epoch to hand over.
    next: Epoch,
}

/// What has come of an epoch.
#[derive(Default)]
struct Waiting {
    deltas: Vec<Delta>,
    appended: Vec<Appended>,
    sides: Vec<Side>,
}

impl Running {
    fn new(outlet: Outlet<SinkEpoch>, mut capability: Capability<Epoch>, first: Epoch) -> Running {
        capability.downgrade(&first);
        Running { outlet, capability, waiting: BTreeMap::new(), sealed: BTreeMap::new(), next: first }
    }

    /// Hands over what is complete below `open`, and tells whether the sink has finished with everything.
    fn advance(&mut self, open: Epoch, ended: bool) -> bool {
        while self.next < open
            && let Some(seal) = self.sealed.remove(&self.next)
        {
            let Waiting { deltas, appended, sides } = self.waiting.remove(&self.next).unwrap_or_default();
            (self.outlet.send)(SinkEpoch { epoch: self.next, seal, deltas, appended, sides });
            self.next += 1;
        }
        let finished = (self.outlet.finished)();
        if finished > *self.capability.time() {
            self.capability.downgrade(&finished);
        }
        ended && finished >= self.next
    }
}
