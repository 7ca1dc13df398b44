//! Turns what changed of a join's result into rows of its view: applies what stands above the join, and packs.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::error::ArrowError;
use freshet_model::{DeadLetter, Reason};

use super::super::rows::project;
use super::packing::Packing;
use crate::changes::{Delta, Side};
use crate::keys::RowCodec;
use crate::plan::{Join, View};
use crate::state::Pair;

/// Makes the rows of one view.
pub struct PairMaker {
    view: usize,
    name: String,
    join: Join,
    key: Vec<usize>,
    sides: [Packing; 2],
    key_codec: RowCodec,
    row_codec: RowCodec,
}

impl PairMaker {
    /// Builds the maker of the rows of view number `index`, which is a join.
    #[must_use]
    pub fn new(index: usize, view: &View, join: &Join) -> PairMaker {
        let schema = join.output.schema.clone();
        let key = view.table.key.clone();
        let key_schema = schema.project(&key).expect("invariant: a key names columns of its view");
        let sides = [0, 1].map(|side| Packing::new(&join.sides[side].columns));
        let (key_codec, row_codec) = (RowCodec::new(Arc::new(key_schema)), RowCodec::new(schema));
        PairMaker { view: index, name: view.shown_name().to_owned(), join: join.clone(), key, sides, key_codec, row_codec }
    }

    /// Makes rows. One that has no value is left out and becomes a dead letter.
    pub fn make(&self, pairs: &[Pair<'_>], deltas: &mut Vec<Delta>, sides: &mut Vec<Side>) {
        if pairs.is_empty() {
            return;
        }
        match self.rows(pairs).and_then(|batch| project(&self.join.output, &batch)) {
            Ok((visible, columns)) => self.send(pairs, visible.as_ref(), &columns, deltas),
            // Whoever was counted when it came is not counted again when it goes.
            Err(error) if pairs.len() == 1 => sides.extend((pairs[0].diff > 0).then(|| self.dead_letter(&error))),
            Err(_) => {
                let (left, right) = pairs.split_at(pairs.len() / 2);
                self.make(left, deltas, sides);
                self.make(right, deltas, sides);
            }
        }
    }

    fn send(&self, pairs: &[Pair<'_>], visible: Option<&BooleanArray>, columns: &[ArrayRef], deltas: &mut Vec<Delta>) {
        let keys: Vec<ArrayRef> = self.key.iter().map(|&column| Arc::clone(&columns[column])).collect();
        let (keys, packed) = (self.key_codec.pack(&keys), self.row_codec.pack(columns));
        for (index, pair) in pairs.iter().enumerate().filter(|(index, _)| visible.is_none_or(|visible| visible.value(*index))) {
            let (key, row) = (keys.row(index).to_vec(), packed.row(index).to_vec());
            deltas.push(Delta { view: self.view, key, row, diff: pair.diff });
        }
    }

    /// Returns the batch that the select list and its conditions read.
    fn rows(&self, pairs: &[Pair<'_>]) -> Result<RecordBatch, ArrowError> {
        let columns = (0..2).flat_map(|side| self.sides[side].unpack(pairs.iter().map(move |pair| pair.sides[side])));
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.len()));
        RecordBatch::try_new_with_options(self.join.row_schema.clone(), columns.collect(), &options)
    }

    fn dead_letter(&self, error: &ArrowError) -> Side {
        Side::Dead(Box::new(DeadLetter {
            source: self.name.clone(),
            partition: -1,
            offset: -1,
            reason: Reason::ExpressionFailed,
            detail: error.to_string().lines().next().unwrap_or_default().to_owned(),
            payload: Vec::new(),
        }))
    }
}
