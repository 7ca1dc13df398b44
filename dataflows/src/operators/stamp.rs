//! Adds `processing_time()` as a last column: the time at which the epoch of the records was cut.
//!
//! # Frontiers
//! Batches of an epoch wait for its tick, which is also what ends the epoch at the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use freshet_model::{Batch, Epoch, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::epochs::Tick;

/// Name of the column that holds `processing_time()`.
pub const PROCESSING_TIME: &str = "processing_time()";

/// Stamps batches with the processing time of their epoch.
pub fn stamp<'s>(
    batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    ticks: Stream<'s, Epoch, Vec<Tick>>,
) -> Stream<'s, Epoch, Vec<Arc<Batch>>> {
    let mut builder = OperatorBuilder::new("Stamp".to_owned(), batches.scope());
    let mut batches = builder.new_input(batches, Pipeline);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (stamped_out, stamped) = builder.new_output();
    let mut stamped_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Arc<Batch>>>>::from(stamped_out);

    builder.build(move |_| {
        let mut waiting = BTreeMap::new();
        let mut times: BTreeMap<Epoch, Timestamp> = BTreeMap::new();
        move |frontiers| {
            batches.for_each(|capability, batches| {
                let (_, held) = waiting.entry(*capability.time()).or_insert_with(|| (capability.retain(0), Vec::new()));
                held.append(batches);
            });
            ticks.for_each(|time, ticks| times.extend(ticks.drain(..).map(|tick| (*time.time(), tick.processing_time))));
            let mut stamped_out = stamped_out.activate();
            let mut session_of = |epoch: Epoch, time: Timestamp| {
                if let Some((capability, batches)) = waiting.remove(&epoch) {
                    let stamped = batches.into_iter().map(|batch: Arc<Batch>| Arc::new(with_time(&batch, time)));
                    stamped_out.session(&capability).give_iterator(stamped);
                }
            };
            // The tick may come before the last batches that are already under way.
            let open = frontiers[0].frontier().first().copied().unwrap_or(Epoch::MAX);
            while let Some(entry) = times.first_entry()
                && *entry.key() < open
            {
                let (epoch, time) = entry.remove_entry();
                session_of(epoch, time);
            }
        }
    });
    stamped
}

fn with_time(batch: &Batch, time: Timestamp) -> Batch {
    let rows = batch.columns.num_rows();
    let mut fields: Vec<_> = batch.columns.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(PROCESSING_TIME, DataType::Timestamp(TimeUnit::Microsecond, None), false)));
    let mut columns = batch.columns.columns().to_vec();
    columns.push(Arc::new(TimestampMicrosecondArray::from_value(time.0, rows)) as ArrayRef);
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
    let columns = columns.expect("invariant: the columns have the schema's types and the batch's length");
    Batch { columns, dead: Vec::new(), early: Vec::new(), offsets: batch.offsets.clone(), range: batch.range.clone(), ..*batch }
}
