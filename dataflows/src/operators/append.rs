//! Hands append-only rows to a batch sink's thread as they come, and tells it when an epoch is complete.
//!
//! # Frontiers
//! Each worker has a thread of its own for the rows of its partitions. The capability stands at the oldest epoch that the thread has not taken in, so
//! that a slow sink slows the sources; a second one stands at the oldest epoch that is not durable in the sink.

use std::collections::BTreeMap;
use std::sync::Arc;

use freshet_model::{Batch, Epoch};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use super::begin_at;
use crate::epochs::Seal;
use crate::outlet::Outlet;

/// What a batch sink is to do.
#[derive(Debug, Clone)]
pub enum Append {
    /// Take these rows of an epoch.
    Rows(Epoch, Arc<Batch>),
    /// The epoch is complete and sealed.
    Seal(Epoch),
    /// Make durable what is sealed: a checkpoint of the epoch is being taken.
    Flush(Epoch),
    /// There will be no more.
    Close,
}

/// The way to a batch sink's thread.
pub struct AppendOutlet {
    /// Takes tasks; `finished` is the first epoch that the sink has not taken in.
    pub tasks: Outlet<Append>,
    /// Returns the first epoch that is not durable in the sink.
    pub durable: Box<dyn Fn() -> Epoch>,
}

/// The streams of a batch sink's part, which hold nothing but frontiers.
pub struct Appended<'s> {
    /// What the sink has taken in.
    pub done: Stream<'s, Epoch, Vec<()>>,
    /// What is durable in it.
    pub kept: Stream<'s, Epoch, Vec<()>>,
}

/// Builds one worker's part of a batch sink, from the epoch `first`; `open` is given the means to wake the operator when the sink has taken
/// something in.
pub fn append<'s>(
    scope: Scope<'s, Epoch>,
    (name, first): (&str, Epoch),
    rows: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
    open: impl FnOnce(SyncActivator) -> AppendOutlet,
) -> Appended<'s> {
    let mut builder = OperatorBuilder::new(format!("Append {name}"), scope);
    let mut rows = builder.new_input(rows, Pipeline);
    let mut seals = builder.new_input(seals, Pipeline);
    let (_done_out, done) = builder.new_output::<Vec<()>>();
    let (_kept_out, kept) = builder.new_output::<Vec<()>>();
    let mut outlet = open(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));

    builder.build(move |capabilities| {
        let mut capabilities = begin_at::<2>(capabilities, first);
        // For each sealed epoch whether it is one that a checkpoint is taken of.
        let mut sealed = BTreeMap::new();
        let (mut next, mut checkpoint) = (first, None);
        let mut closing = false;
        move |frontiers| {
            let Some([done, kept]) = &mut capabilities else { return };
            rows.for_each(|time, rows| rows.drain(..).for_each(|batch| (outlet.tasks.send)(Append::Rows(*time.time(), batch))));
            seals.for_each(|time, seals| sealed.extend(seals.drain(..).map(|seal| (*time.time(), seal.checkpoint))));
            let open = frontiers[0].frontier().first().copied().unwrap_or(Epoch::MAX);
            while next < open
                && let Some(checkpoint_next) = sealed.remove(&next)
            {
                (outlet.tasks.send)(Append::Seal(next));
                if checkpoint == Some(next) {
                    (outlet.tasks.send)(Append::Flush(next));
                }
                next += 1;
                checkpoint = checkpoint_next.then_some(next);
            }
            let ended = frontiers.iter().all(|frontier| frontier.frontier().is_empty());
            if ended && !closing {
                closing = true;
                (outlet.tasks.send)(Append::Close);
            }
            let (finished, durable) = ((outlet.tasks.finished)(), (outlet.durable)());
            if finished > *done.time() {
                done.downgrade(&finished);
            }
            if durable > *kept.time() {
                kept.downgrade(&durable);
            }
            // After the close the sink has finished with everything.
            if closing && finished == Epoch::MAX {
                capabilities = None;
            }
        }
    });
    Appended { done, kept }
}
