//! Takes the repeats out of the batches that wait, and passes the others on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, BooleanBufferBuilder};
use arrow::compute::filter_record_batch;
use freshet_model::{Batch, Epoch};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::{Answer, Waiting};
use crate::changes::{LeftOut, Side};

/// The streams of what passes.
pub(super) struct Released<'s> {
    pub(super) batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    pub(super) sides: Stream<'s, Epoch, Vec<Side>>,
}

/// What is held of one epoch.
struct Held {
    capabilities: [Capability<Epoch>; 2],
    waiting: Vec<Waiting>,
}

/// Passes batches on when their answers are complete.
pub(super) fn release<'s>(
    scope: Scope<'s, Epoch>,
    stream: usize,
    name: &str,
    waiting: Stream<'s, Epoch, Vec<Waiting>>,
    answers: Stream<'s, Epoch, Vec<Answer>>,
) -> Released<'s> {
    let mut builder = OperatorBuilder::new(format!("Release {name}"), scope);
    let mut waiting = builder.new_input(waiting, Pipeline);
    let mut answers = builder.new_input(answers, Exchange::new(|answer: &Answer| answer.to));
    let (batches_out, batches) = builder.new_output();
    let (sides_out, sides) = builder.new_output();
    let mut batches_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Arc<Batch>>>>::from(batches_out);
    let mut sides_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Side>>>::from(sides_out);

    builder.build(move |_| {
        let mut held: BTreeMap<Epoch, Held> = BTreeMap::new();
        let mut answered: BTreeMap<Epoch, BTreeMap<u64, Vec<u32>>> = BTreeMap::new();
        move |frontiers| {
            waiting.for_each(|capability, waiting| {
                let of = |output| capability.retain(output);
                let new = || Held { capabilities: [of(0), of(1)], waiting: Vec::new() };
                held.entry(*capability.time()).or_insert_with(new).waiting.append(waiting);
            });
            answers.for_each(|time, answers| {
                let answered = answered.entry(*time.time()).or_default();
                answers.drain(..).for_each(|answer| answered.entry(answer.batch).or_default().extend(answer.repeats));
            });
            let (mut batches_out, mut sides_out) = (batches_out.activate(), sides_out.activate());
            let open = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            while let Some(entry) = held.first_entry()
                && *entry.key() < open.unwrap_or(Epoch::MAX)
            {
                let (epoch, Held { capabilities: [to_batches, to_sides], waiting }) = entry.remove_entry();
                let mut repeats = answered.remove(&epoch).unwrap_or_default();
                let mut left_out = LeftOut { stream, ..LeftOut::default() };
                let mut session = batches_out.session(&to_batches);
                for Waiting { number, batch, late } in waiting {
                    let repeats = repeats.remove(&number).unwrap_or_default();
                    left_out.repeats += repeats.len() as u64;
                    left_out.late += late.len() as u64;
                    session.give_iterator(without(batch, repeats.into_iter().chain(late)).into_iter());
                }
                drop(session);
                sides_out.session(&to_sides).give(Side::LeftOut(left_out));
            }
        }
    });
    Released { batches, sides }
}

/// Returns a batch without some of its rows; `None` if none is left.
fn without(batch: Arc<Batch>, rows: impl Iterator<Item = u32>) -> Option<Arc<Batch>> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Some(batch);
    }
    let total = batch.offsets.len();
    let mut passes = BooleanBufferBuilder::new(total);
    passes.append_n(total, true);
    rows.for_each(|row| passes.set_bit(row as usize, false));
    let passes = BooleanArray::from(passes.finish());
    if passes.true_count() == 0 {
        return None;
    }
    let columns = filter_record_batch(&batch.columns, &passes).expect("invariant: the mask has an entry for each row");
    let offsets = batch.offsets.iter().zip(passes.values()).filter(|(_, passes)| *passes).map(|(offset, _)| *offset).collect();
    Some(Arc::new(Batch { columns, offsets, dead: Vec::new(), early: Vec::new(), range: batch.range.clone(), ..*batch }))
}
