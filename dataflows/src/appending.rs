//! Rows that are appended to a table, from the epochs that wait for one commit.
//!
//! They are never packed into bytes: a commit gets the batches one behind the other, in the order of epoch, partition and offset. Where the table has
//! a key, the last row of each key is written, at its own place in that order.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use freshet_model::{Batch, TableSchema, ViewChanges};

use crate::keys::RowCodec;

/// One table's part of a commit to come.
pub(crate) struct Appending {
    schema: SchemaRef,
    /// The columns of the key, and what packs them; `None` if all rows stay.
    key: Option<(Vec<usize>, RowCodec)>,
    /// No keys: appended rows are never deleted.
    no_keys: RecordBatch,
    /// Batches in the order of epoch, partition and offset.
    waiting: Vec<Arc<Batch>>,
}

impl Appending {
    /// Begins with nothing.
    pub(crate) fn new(table: &TableSchema) -> Appending {
        let key = (!table.key.is_empty()).then(|| (table.key.clone(), RowCodec::new(table.key_arrow())));
        let no_keys = RecordBatch::new_empty(table.key_arrow());
        Appending { schema: table.arrow(), key, no_keys, waiting: Vec::new() }
    }

    /// Takes in the next batch.
    pub(crate) fn take(&mut self, rows: Arc<Batch>) {
        if rows.columns.num_rows() > 0 {
            self.waiting.push(rows);
        }
    }

    /// Returns the rows that wait, as those of table number `index`; `None` if there are none.
    pub(crate) fn commit(&mut self, index: usize) -> Option<ViewChanges> {
        let waiting = std::mem::take(&mut self.waiting);
        let columns: Vec<_> = waiting.iter().map(|batch| &batch.columns).collect();
        let rows = match columns.as_slice() {
            [] => return None,
            [only] => (*only).clone(),
            several => concat_batches(&self.schema, several.iter().copied()).expect("invariant: one table has one schema"),
        };
        let upserts = match &self.key {
            Some((key, codec)) => last_of_each(&rows, key, codec),
            None => rows,
        };
        Some(ViewChanges { view: index, upserts, deletes: self.no_keys.clone() })
    }
}

/// Returns the last row of each key.
fn last_of_each(rows: &RecordBatch, key: &[usize], codec: &RowCodec) -> RecordBatch {
    let columns: Vec<_> = key.iter().map(|&column| rows.column(column).clone()).collect();
    let keys = codec.pack(&columns);
    let mut seen = HashSet::with_capacity(rows.num_rows());
    let mut kept: Vec<bool> = (0..rows.num_rows()).rev().map(|row| seen.insert(keys.row(row))).collect();
    if seen.len() == rows.num_rows() {
        return rows.clone();
    }
    kept.reverse();
    filter_record_batch(rows, &BooleanArray::from(kept)).expect("invariant: the mask has an entry for each row")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;
    use freshet_model::{Column, ColumnType, Progress};
    use proptest::prelude::*;

    use super::*;

    fn table(key: Vec<usize>) -> TableSchema {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
        let columns = vec![column("k", ColumnType::Text(None)), column("n", ColumnType::BigInt)];
        TableSchema { name: "t".to_owned(), columns, key, appends: true, time_column: None }
    }

    fn batch(rows: &[(Option<u8>, i64)]) -> Arc<Batch> {
        let keys = StringArray::from_iter(rows.iter().map(|(key, _)| key.map(|key| format!("k{key}"))));
        let numbers = Int64Array::from_iter_values(rows.iter().map(|(_, number)| *number));
        Arc::new(Batch {
            partition: 0,
            range: 0..0,
            columns: RecordBatch::try_new(table(Vec::new()).arrow(), vec![Arc::new(keys), Arc::new(numbers)]).expect("columns"),
            offsets: vec![0; rows.len()],
            max_event_time: None,
            bytes: 0,
            dead: Vec::new(),
            early: Vec::new(),
            progress: Progress::AtEnd,
        })
    }

    fn committed(key: Vec<usize>, batches: &[Vec<(Option<u8>, i64)>]) -> Vec<(Option<String>, i64)> {
        let mut appending = Appending::new(&table(key));
        batches.iter().for_each(|rows| appending.take(batch(rows)));
        let Some(changes) = appending.commit(3) else { return Vec::new() };
        assert_eq!((changes.view, changes.deletes.num_rows(), appending.commit(3).is_none()), (3, 0, true));
        let (keys, numbers) =
            (changes.upserts.column(0).as_string::<i32>(), changes.upserts.column(1).as_primitive::<Int64Type>());
        (0..numbers.len()).map(|row| (keys.is_valid(row).then(|| keys.value(row).to_owned()), numbers.value(row))).collect()
    }

    proptest! {
        #[test]
        fn all_rows_stay_or_the_last_of_each_key(batches in prop::collection::vec(prop::collection::vec((prop::option::of(0u8..4), 0i64..100), 0..6), 0..6)) {
            let all: Vec<_> = batches.concat().into_iter().map(|(key, number)| (key.map(|key| format!("k{key}")), number)).collect();
            let is_last = |at: &usize| !all[at + 1..].iter().any(|later| later.0 == all[*at].0);
            let last: Vec<_> = (0..all.len()).filter(is_last).map(|at| all[at].clone()).collect();
            prop_assert_eq!(committed(vec![0], &batches), last);
            prop_assert_eq!(committed(Vec::new(), &batches), all);
        }
    }
}
