//! Ranks the rows of a view: puts them into an order for the fold that keeps them, and makes rows with ranks of what changes there.
//!
//! ```text
//! changes of a view ─ rank ─ partials ─(by partition)─ fold ─ deltas: rows with their ranks
//! ```
//!
//! # Frontiers
//! Rows of an epoch are taken when all of them have come, so that one that is replaced by itself is never seen.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::{RowConverter, SortField};
use freshet_model::Epoch;
use timely::dataflow::Stream;
use timely::dataflow::operators::vec::Map as _;

use super::regroup::{each_epoch, net};
use crate::changes::{Delta, Partial};
use crate::keys::{Interner, KeyCodec, RowCodec};
use crate::plan::{Ranking, View};
use crate::state::{RankChange, Ranked, Shape, Slot, State};

/// What is needed to put a view's rows into order for one component of a fold.
pub struct Ranker {
    /// The fold's name.
    pub name: String,
    /// What is ranked, and how.
    pub ranking: Ranking,
    /// Packs the fold's keys.
    pub codec: Arc<KeyCodec>,
    /// The shapes of the fold's components.
    pub shapes: Vec<Shape>,
    /// The component.
    pub component: usize,
}

/// Puts the rows of view number `index` into order.
pub fn rank<'s>(
    view: &View,
    index: usize,
    ranker: Ranker,
    deltas: Stream<'s, Epoch, Vec<Delta>>,
) -> Stream<'s, Epoch, Vec<Partial>> {
    let schema = view.table.arrow();
    let fields = ranker.ranking.order.iter().map(|order| {
        let options = SortOptions { descending: order.descending, nulls_first: order.nulls_first };
        SortField::new_with_options(schema.field(order.column).data_type().clone(), options)
    });
    let converter = RowConverter::new(fields.collect()).expect("invariant: all column types have a row format");
    let codec = RowCodec::new(schema);
    each_epoch(&format!("Rank {}", ranker.name), index, deltas, move |deltas| {
        let (batch, weights) = net(&codec, deltas);
        vec![ranker.partials(&converter, &codec, &batch, &weights)]
    })
    .flat_map(|partials| partials)
}

impl Ranker {
    fn partials(&self, converter: &RowConverter, codec: &RowCodec, batch: &RecordBatch, weights: &[i64]) -> Vec<Partial> {
        let keys: Vec<ArrayRef> = self
            .ranking
            .partition
            .iter()
            .map(|key| key.evaluate(batch))
            .collect::<Result<_, _>>()
            .expect("invariant: rows are divided by plain columns");
        let until = self.ranking.time_bound.map(|bound| (Arc::clone(&keys[bound.column]), bound.slack));
        let until = until.as_ref().map(|(until, slack)| (until.as_primitive::<TimestampMicrosecondType>(), *slack));
        let columns: Vec<_> = self.ranking.order.iter().map(|order| Arc::clone(batch.column(order.column))).collect();
        let ordered = converter.convert_columns(&columns).expect("invariant: the columns are of the view's types");
        let (packed, rows) = (self.codec.pack(&keys), codec.pack(batch.columns()));
        let mut partitions = Interner::default();
        let mut states: Vec<State> = Vec::new();
        for (row, &weight) in weights.iter().enumerate() {
            let partition = partitions.intern(&packed, row) as usize;
            states.resize_with(partitions.len(), || State::empty(&self.shapes));
            let Slot::Ranking(ranking) = &mut states[partition].0[self.component] else {
                unreachable!("a component has one shape")
            };
            let bound = until.filter(|(until, _)| arrow::array::Array::is_valid(until, row));
            ranking.until = bound.map(|(until, slack)| until.value(row).saturating_add(slack));
            ranking.add(Ranked { order: ordered.row(row).data().to_vec(), row: rows.row(row).to_vec(), weight });
        }
        let partials = states.into_iter().enumerate();
        partials.map(|(partition, state)| Partial { key: partitions.key(partition).to_vec(), state }).collect()
    }
}

/// Makes rows of a ranking view: the columns of the view that it ranks, then the rank.
pub struct RankMaker {
    view: usize,
    key: Vec<usize>,
    retracts: bool,
    input_codec: RowCodec,
    key_codec: RowCodec,
    row_codec: RowCodec,
}

impl RankMaker {
    /// Builds the maker of the rows of `view`, number `index`, which ranks those of `input`.
    #[must_use]
    pub fn new(view: &View, index: usize, input: &View, retracts: bool) -> RankMaker {
        RankMaker {
            view: index,
            key: view.table.key.clone(),
            retracts,
            input_codec: RowCodec::new(input.table.arrow()),
            key_codec: RowCodec::new(view.table.key_arrow()),
            row_codec: RowCodec::new(view.table.arrow()),
        }
    }

    /// Makes rows of changes.
    pub(super) fn make(&self, changes: &[RankChange], deltas: &mut Vec<Delta>) {
        if changes.is_empty() {
            return;
        }
        let batch = self.input_codec.unpack(changes.iter().map(|change| &change.row[..]));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.rank))));
        let keys: Vec<ArrayRef> = self.key.iter().map(|&column| Arc::clone(&columns[column])).collect();
        let (keys, rows) = (self.key_codec.pack(&keys), self.row_codec.pack(&columns));
        deltas.extend(changes.iter().enumerate().map(|(at, change)| Delta {
            view: self.view,
            key: keys.row(at).to_vec(),
            row: if change.diff > 0 || self.retracts { rows.row(at).to_vec() } else { Vec::new() },
            diff: change.diff,
        }));
    }
}
