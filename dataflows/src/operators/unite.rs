//! Puts the rows of several views into one: `UNION ALL`. Nothing is kept.

use freshet_model::Epoch;
use timely::dataflow::operators::core::Concatenate;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::{Scope, Stream};

use crate::changes::Delta;

/// Gives the rows of the views of `parts`, each by its index and its changes, to view number `view`, which no sink holds: its rows have no key.
pub fn unite<'s>(
    scope: Scope<'s, Epoch>,
    view: usize,
    parts: Vec<(usize, Stream<'s, Epoch, Vec<Delta>>)>,
) -> Stream<'s, Epoch, Vec<Delta>> {
    let own = |(part, deltas): (usize, Stream<'s, Epoch, Vec<Delta>>)| {
        deltas.flat_map(move |delta| (delta.view == part).then(|| Delta { view, key: Vec::new(), ..delta }))
    };
    scope.concatenate(parts.into_iter().map(own).collect::<Vec<_>>())
}
