//! Hands append-only rows to a batch sink's thread as they come, and tells it when an epoch is complete.
//!
//! # Frontiers
//! Each worker has a thread of its own for the rows of its partitions. The capability stands at the oldest epoch that the thread has not taken in, so
//! that a slow sink slows the sources.

use std::sync::Arc;

use freshet_model::{Batch, Epoch};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use super::drain::Outlet;
use crate::epochs::Seal;

/// What a batch sink is to do.
#[derive(Debug, Clone)]
pub enum Append {
    /// Take these rows of an epoch.
    Rows(Epoch, Arc<Batch>),
    /// The epoch is complete and sealed.
    Seal(Epoch),
    /// There will be no more.
    Close,
}

/// Builds one worker's part of a batch sink; `open` is given the means to wake the operator when the sink has taken something in.
pub fn append<'s>(
    scope: Scope<'s, Epoch>,
    name: &str,
    rows: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
    open: impl FnOnce(SyncActivator) -> Outlet<Append>,
) -> Stream<'s, Epoch, Vec<()>> {
    let mut builder = OperatorBuilder::new(format!("Append {name}"), scope);
    let mut rows = builder.new_input(rows, Pipeline);
    let mut seals = builder.new_input(seals, Pipeline);
    let (_done_out, done) = builder.new_output::<Vec<()>>();
    let mut outlet = open(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));

    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        let mut sealed = std::collections::BTreeSet::new();
        let mut next = 0;
        let mut closing = false;
        move |frontiers| {
            let Some(held) = &mut capability else { return };
            rows.for_each(|time, rows| rows.drain(..).for_each(|batch| (outlet.send)(Append::Rows(*time.time(), batch))));
            seals.for_each(|time, _| {
                sealed.insert(*time.time());
            });
            let open = frontiers[0].frontier().first().copied().unwrap_or(Epoch::MAX);
            while next < open && sealed.remove(&next) {
                (outlet.send)(Append::Seal(next));
                next += 1;
            }
            let ended = frontiers.iter().all(|frontier| frontier.frontier().is_empty());
            if ended && !closing {
                closing = true;
                (outlet.send)(Append::Close);
            }
            let finished = (outlet.finished)();
            if finished > *held.time() {
                held.downgrade(&finished);
            }
            // After the close the sink has finished with everything.
            if closing && finished == Epoch::MAX {
                capability = None;
            }
        }
    });
    done
}
