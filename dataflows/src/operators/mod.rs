//! The operators, one a file: loops that move batches, rows and capabilities around pure state.
//!
//! ```text
//! source ─ batches ─┬─ partial ─ partials ─(by key)─ fold ─ deltas ─┬─(to the sink's worker)─ drain ─▶ table sink
//!                   │                                  ▲            ├─ regroup, rank ─ partials ─ fold …   (views over views)
//!                   │                                  │            └─ remap, unite ─ deltas …
//!                   │                                  └── contributions of distinct counts, from other folds
//!                   ├─ join ─ deltas …
//!                   ├─ map ─ rows ─┬─ append ─▶ batch sink
//!                   │              └─(to the sink's worker)─ drain ─▶ table sink
//!                   └─ dedupe, enrich, union ─ batches of streams made from others, as from a source
//! ```

mod agenda;
pub mod append;
mod course;
pub mod dedupe;
pub mod drain;
pub mod enrich;
pub mod fold;
pub mod join;
pub mod keep;
mod known;
mod list;
pub mod map;
mod part;
pub mod partial;
pub mod planned;
pub mod preaggregate;
pub mod rank;
pub mod regroup;
pub(crate) mod result;
pub mod rows;
pub mod source;
pub mod stamp;
mod states;
mod sweep;
pub mod union;
pub mod unite;

use freshet_model::Epoch;
use timely::dataflow::operators::Capability;

/// Moves the capabilities that timely gives an operator, one for each of its outputs, to the first epoch of the run.
fn begin_at<const N: usize>(given: Vec<Capability<Epoch>>, first: Epoch) -> Option<[Capability<Epoch>; N]> {
    let mut capabilities: [Capability<Epoch>; N] =
        given.try_into().unwrap_or_else(|_| panic!("invariant: timely gives a capability for each output"));
    capabilities.iter_mut().for_each(|capability| capability.downgrade(&first));
    Some(capabilities)
}
