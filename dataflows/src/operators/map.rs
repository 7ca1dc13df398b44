//! Filters and projects batches, row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use freshet_model::{Batch, DeadLetter, Epoch, Reason};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::rows::project;
use crate::changes::{Counts, Side};
use crate::plan::Map;

/// The streams of a row-wise view.
pub struct Mapped<'s> {
    /// Its rows.
    pub batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    /// What did not count, and how many records did.
    pub sides: Stream<'s, Epoch, Vec<Side>>,
}

/// Computes view number `view` of batches.
pub fn map<'s>(view: usize, name: &str, map: Map, batches: Stream<'s, Epoch, Vec<Arc<Batch>>>) -> Mapped<'s> {
    let mut builder = OperatorBuilder::new(format!("Map {name}"), batches.scope());
    let mut input = builder.new_input(batches, Pipeline);
    let (batches_out, batches) = builder.new_output();
    let (sides_out, sides) = builder.new_output();
    let mut batches_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Arc<Batch>>>>::from(batches_out);
    let mut sides_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Side>>>::from(sides_out);
    let mapper = Mapper { view, name: name.to_owned(), map };

    builder.build(move |_| {
        // Counts leave once an epoch, not with each batch.
        let mut counts = BTreeMap::new();
        move |frontiers| {
            let (mut batches_out, mut sides_out) = (batches_out.activate(), sides_out.activate());
            input.for_each(|capability, batches| {
                let (held, counts) = counts
                    .entry(*capability.time())
                    .or_insert_with(|| (capability.retain(1), Counts { view, ..Counts::default() }));
                for batch in batches.drain(..) {
                    let (mut mapped, mut dead) = (Vec::new(), Vec::new());
                    mapper.take(&batch, counts, &mut mapped, &mut dead);
                    batches_out.session(&capability).give_iterator(mapped.into_iter().map(Arc::new));
                    sides_out.session(held).give_iterator(dead.into_iter().map(|dead| Side::Dead(Box::new(dead))));
                }
            });
            let open = frontiers[0].frontier().first().copied().unwrap_or(Epoch::MAX);
            while let Some(entry) = counts.first_entry()
                && *entry.key() < open
            {
                let (capability, counts) = entry.remove();
                sides_out.session(&capability).give(Side::Counted(counts));
            }
        }
    });
    Mapped { batches, sides }
}

struct Mapper {
    view: usize,
    name: String,
    map: Map,
}

impl Mapper {
    /// Maps a batch; where a row has no value the batch is halved until the row stands alone.
    fn take(&self, batch: &Batch, counts: &mut Counts, mapped: &mut Vec<Batch>, dead: &mut Vec<DeadLetter>) {
        debug_assert_eq!(counts.view, self.view);
        let total = batch.offsets.len();
        match self.apply(batch) {
            Ok(rows) => {
                counts.counted += rows.offsets.len() as u64;
                counts.filtered += (total - rows.offsets.len()) as u64;
                if !rows.offsets.is_empty() {
                    mapped.push(rows);
                }
            }
            Err(error) if total <= 1 => {
                counts.failed += 1;
                dead.push(self.dead_letter(batch, &error.to_string()));
            }
            Err(_) => {
                for (start, length) in [(0, total / 2), (total / 2, total - total / 2)] {
                    let offsets = batch.offsets[start..start + length].to_vec();
                    let half = Batch {
                        columns: batch.columns.slice(start, length),
                        offsets,
                        dead: Vec::new(),
                        early: Vec::new(),
                        range: batch.range.clone(),
                        ..*batch
                    };
                    self.take(&half, counts, mapped, dead);
                }
            }
        }
    }

    fn apply(&self, batch: &Batch) -> Result<Batch, arrow::error::ArrowError> {
        let visible = self.map.filter.as_ref().map(|filter| filter.condition(&batch.columns)).transpose();
        let visible = visible.map_err(|error| arrow::error::ArrowError::ExternalError(Box::new(error)))?.flatten();
        let (input, offsets) = match visible {
            None => (batch.columns.clone(), batch.offsets.clone()),
            Some(rows) => {
                let offsets = batch.offsets.iter().zip(rows.values()).filter(|(_, visible)| *visible).map(|(offset, _)| *offset);
                (filter_record_batch(&batch.columns, &rows)?, offsets.collect())
            }
        };
        let (_, columns) = project(&Map { filter: None, ..self.map.clone() }, &input)?;
        let options = RecordBatchOptions::new().with_row_count(Some(offsets.len()));
        let columns = RecordBatch::try_new_with_options(self.map.schema.clone(), columns, &options)?;
        Ok(Batch { columns, offsets, dead: Vec::new(), early: Vec::new(), range: batch.range.clone(), ..*batch })
    }

    fn dead_letter(&self, batch: &Batch, error: &str) -> DeadLetter {
        DeadLetter {
            source: self.name.clone(),
            partition: batch.partition,
            offset: batch.offsets.first().copied().unwrap_or(-1),
            reason: Reason::ExpressionFailed,
            detail: error.lines().next().unwrap_or_default().to_owned(),
            payload: Vec::new(),
        }
    }
}
