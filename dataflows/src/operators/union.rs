//! Brings the records of several streams into one, each partition under a number of its own.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use freshet_model::{Batch, Epoch};
use timely::dataflow::Stream;
use timely::dataflow::operators::vec::Map;

use crate::plan::union_partition;

/// Renumbers the partitions of one of `inputs` streams, and names its columns as the union does.
pub fn part_of_union<'s>(
    (index, inputs): (usize, usize),
    schema: SchemaRef,
    batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
) -> Stream<'s, Epoch, Vec<Arc<Batch>>> {
    batches.map(move |batch| {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.offsets.len()));
        let columns = RecordBatch::try_new_with_options(Arc::clone(&schema), batch.columns.columns().to_vec(), &options);
        Arc::new(Batch {
            partition: union_partition(batch.partition, index, inputs),
            columns: columns.expect("invariant: the parts of a union have columns of the same types"),
            offsets: batch.offsets.clone(),
            range: batch.range.clone(),
            dead: Vec::new(),
            early: Vec::new(),
            ..*batch
        })
    })
}
