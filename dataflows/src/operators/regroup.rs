//! Feeds the rows of one view to another: with a weight of 1 where they are there now, of -1 where they are gone.
//!
//! # Frontiers
//! Rows of an epoch are taken when all of them have come, so that one that is replaced by itself is never seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use freshet_model::{DeadLetter, Epoch, Reason};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Map as _;

use super::partial::{Partials, Sum};
use super::rows::project;
use crate::changes::{Delta, Side};
use crate::keys::RowCodec;
use crate::plan::{Map, View};

/// Collects the rows of view number `view` by epoch, and hands each complete epoch to `logic`.
pub(super) fn each_epoch<'s, O: 'static>(
    name: &str,
    view: usize,
    deltas: Stream<'s, Epoch, Vec<Delta>>,
    mut logic: impl FnMut(Vec<Delta>) -> Vec<O> + 'static,
) -> Stream<'s, Epoch, Vec<O>> {
    let mut builder = OperatorBuilder::new(name.to_owned(), deltas.scope());
    let mut input = builder.new_input(deltas, Pipeline);
    let (out, stream) = builder.new_output();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<Vec<O>>>::from(out);
    builder.build(move |_| {
        let mut waiting: BTreeMap<Epoch, (Capability<Epoch>, Vec<Delta>)> = BTreeMap::new();
        move |frontiers| {
            input.for_each(|capability, deltas| {
                if deltas.iter().any(|delta| delta.view == view) {
                    let (_, held) = waiting.entry(*capability.time()).or_insert_with(|| (capability.retain(0), Vec::new()));
                    held.extend(deltas.drain(..).filter(|delta| delta.view == view));
                }
            });
            let open = frontiers[0].frontier().first().copied().unwrap_or(Epoch::MAX);
            let mut out = out.activate();
            while let Some(entry) = waiting.first_entry()
                && *entry.key() < open
            {
                let (capability, deltas) = entry.remove();
                out.session(&capability).give_container(&mut logic(deltas));
            }
        }
    });
    stream
}

/// Nets what an epoch says of each row, and unpacks what is left with its weights.
pub(super) fn net(codec: &RowCodec, mut deltas: Vec<Delta>) -> (RecordBatch, Vec<i64>) {
    deltas.sort_unstable_by(|one, other| one.row.cmp(&other.row));
    deltas.dedup_by(|next, kept| {
        let is_same = next.row == kept.row;
        kept.diff += if is_same { next.diff } else { 0 };
        is_same
    });
    deltas.retain(|delta| delta.diff != 0);
    let weights = deltas.iter().map(|delta| delta.diff).collect();
    (codec.unpack(deltas.iter().map(|delta| &delta.row[..])), weights)
}

/// Adds up the rows of a view, number `view.1`, for a fold; `new` begins the sum of an epoch.
pub fn regroup<'s, S: Sum + 'static>(
    name: &str,
    (view, index): (&View, usize),
    new: impl Fn() -> S + 'static,
    deltas: Stream<'s, Epoch, Vec<Delta>>,
) -> Partials<'s, S::Out> {
    let codec = RowCodec::new(view.table.arrow());
    let partials = each_epoch(&format!("Regroup {name}"), index, deltas, move |deltas| {
        let (columns, weights) = net(&codec, deltas);
        let mut sum = new();
        sum.take_changes(columns, &weights);
        let (partials, sides) = sum.finish();
        vec![(partials.collect::<Vec<_>>(), sides.into_iter().filter(|side| matches!(side, Side::Dead(_))).collect::<Vec<_>>())]
    });
    Partials { partials: partials.clone().flat_map(|(partials, _)| partials), sides: partials.flat_map(|(_, sides)| sides) }
}

/// Computes row-wise view number `index` of the rows of view number `input.1`. A row that has no value is left out and becomes a dead letter.
pub fn remap<'s>(
    view: &View,
    index: usize,
    map: Map,
    input: (&View, usize),
    deltas: Stream<'s, Epoch, Vec<Delta>>,
) -> (Stream<'s, Epoch, Vec<Delta>>, Stream<'s, Epoch, Vec<Side>>) {
    let remapper = Remapper {
        name: view.shown_name().to_owned(),
        index,
        map,
        input_codec: RowCodec::new(input.0.table.arrow()),
        key_codec: RowCodec::new(view.table.key_arrow()),
        row_codec: RowCodec::new(view.table.arrow()),
        key: view.table.key.clone(),
    };
    let made = each_epoch(&format!("Remap {}", view.table.name), input.1, deltas, move |deltas| {
        let (batch, weights) = net(&remapper.input_codec, deltas);
        let (mut rows, mut dead) = (Vec::new(), Vec::new());
        remapper.take(&batch, &weights, &mut rows, &mut dead);
        vec![(rows, dead)]
    });
    (made.clone().flat_map(|(rows, _)| rows), made.flat_map(|(_, dead)| dead))
}

struct Remapper {
    name: String,
    index: usize,
    map: Map,
    input_codec: RowCodec,
    key_codec: RowCodec,
    row_codec: RowCodec,
    key: Vec<usize>,
}

impl Remapper {
    fn take(&self, batch: &RecordBatch, weights: &[i64], rows: &mut Vec<Delta>, dead: &mut Vec<Side>) {
        match project(&self.map, batch) {
            Ok((visible, columns)) => self.send(weights, visible.as_ref(), &columns, rows),
            Err(error) if weights.len() <= 1 => dead.push(Side::Dead(Box::new(DeadLetter {
                source: self.name.clone(),
                partition: -1,
                offset: -1,
                reason: Reason::ExpressionFailed,
                detail: error.to_string().lines().next().unwrap_or_default().to_owned(),
                payload: Vec::new(),
            }))),
            Err(_) => {
                let middle = weights.len() / 2;
                self.take(&batch.slice(0, middle), &weights[..middle], rows, dead);
                self.take(&batch.slice(middle, weights.len() - middle), &weights[middle..], rows, dead);
            }
        }
    }

    fn send(&self, weights: &[i64], visible: Option<&BooleanArray>, columns: &[ArrayRef], out: &mut Vec<Delta>) {
        let keys: Vec<_> = self.key.iter().map(|&column| Arc::clone(&columns[column])).collect();
        let (keys, rows) = (self.key_codec.pack(&keys), self.row_codec.pack(columns));
        let shown = weights.iter().enumerate().filter(|(row, _)| visible.is_none_or(|visible| visible.value(*row)));
        out.extend(shown.map(|(row, diff)| Delta {
            view: self.index,
            key: keys.row(row).to_vec(),
            row: rows.row(row).to_vec(),
            diff: *diff,
        }));
    }
}
