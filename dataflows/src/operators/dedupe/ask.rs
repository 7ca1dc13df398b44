//! Takes the keys out of batches, and asks whether they have been seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use freshet_model::{Batch, Epoch, LateEvent, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;

use super::super::part::json;
use super::super::partial::{Announced, Announcement};
use super::{Question, Questions, Rule, Waiting};
use crate::changes::Side;
use crate::epochs::Seal;
use crate::keys::{KeyCodec, worker_of};

/// The streams of questions.
pub(super) struct Asked<'s> {
    pub(super) questions: Stream<'s, Epoch, Vec<Questions>>,
    pub(super) waiting: Stream<'s, Epoch, Vec<Waiting>>,
    pub(super) sides: Stream<'s, Epoch, Vec<Side>>,
}

/// What is held of one epoch.
struct Held {
    capabilities: [Capability<Epoch>; 3],
    /// Batches that wait for the watermark.
    batches: VecDeque<Arc<Batch>>,
}

/// Asks about each batch.
pub(super) fn ask<'s>(
    scope: Scope<'s, Epoch>,
    rule: Arc<Rule>,
    begin: Announcement,
    batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
) -> Asked<'s> {
    let mut builder = OperatorBuilder::new(format!("Ask {}", rule.name), scope);
    let mut batches = builder.new_input(batches, Pipeline);
    // Nothing leaves at the time of a seal.
    let mut seals = builder.new_input_connection(seals, Pipeline, []);
    let follows = || [(0, Antichain::from_elem(0))];
    let (questions_out, questions) = builder.new_output_connection(follows());
    let (waiting_out, waiting) = builder.new_output_connection(follows());
    let (sides_out, sides) = builder.new_output_connection(follows());
    let mut questions_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Questions>>>::from(questions_out);
    let mut waiting_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Waiting>>>::from(waiting_out);
    let mut sides_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Side>>>::from(sides_out);
    let codec = KeyCodec::new(&rule.keys.iter().map(|(_, data_type)| data_type.clone()).collect::<Vec<_>>());
    let mut asker = Asker { rule, codec, from: scope.index() as u64, peers: scope.peers(), batches: 0 };

    builder.build(move |_| {
        let mut announced = Announced::new(begin);
        let mut held: BTreeMap<Epoch, Held> = BTreeMap::new();
        move |frontiers| {
            seals.for_each(|time, seals| seals.drain(..).for_each(|seal| announced.advance(*time.time(), &seal)));
            batches.for_each(|capability, batches| {
                let of = |output| capability.retain(output);
                let new = || Held { capabilities: [of(0), of(1), of(2)], batches: VecDeque::new() };
                held.entry(*capability.time()).or_insert_with(new).batches.extend(batches.drain(..));
            });
            let (mut questions_out, mut waiting_out, mut sides_out) =
                (questions_out.activate(), waiting_out.activate(), sides_out.activate());
            let open = frontiers[0].frontier().first().copied().unwrap_or(Epoch::MAX);
            while let Some(entry) = held.first_entry()
                && let Some(watermark) = announced.of(*entry.key())
            {
                let epoch = *entry.key();
                let Held { capabilities: [to_judge, to_release, aside], batches } = entry.into_mut();
                for batch in batches.drain(..) {
                    let mut sides = Vec::new();
                    let (asked, waiting) = asker.ask(batch, watermark, &mut sides);
                    questions_out.session(to_judge).give_iterator(asked.into_iter());
                    waiting_out.session(to_release).give(waiting);
                    sides_out.session(aside).give_iterator(sides.into_iter());
                }
                if epoch >= open {
                    break;
                }
                held.remove(&epoch);
            }
            announced.forget(held.keys().next().copied().unwrap_or(open));
        }
    });
    Asked { questions, waiting, sides }
}

struct Asker {
    rule: Arc<Rule>,
    codec: KeyCodec,
    from: u64,
    peers: usize,
    /// The number of batches so far.
    batches: u64,
}

impl Asker {
    /// Returns the questions about a batch, one for each worker that keeps some of its keys, and what waits for the answers.
    fn ask(&mut self, batch: Arc<Batch>, watermark: Timestamp, sides: &mut Vec<Side>) -> (Vec<Questions>, Waiting) {
        let number = self.batches;
        self.batches += 1;
        let columns: Vec<_> = self.rule.keys.iter().map(|(column, _)| batch.columns.column(*column).clone()).collect();
        let keys = self.codec.pack(&columns);
        let times = batch.columns.column(self.rule.time_column).as_primitive::<TimestampMicrosecondType>();
        let empty = |to| Questions { to, from: self.from, batch: number, partition: batch.partition, ..Questions::default() };
        let mut asked: Vec<Questions> = (0..self.peers as u64).map(empty).collect();
        let mut late = Vec::new();
        for (row, (&time, &offset)) in (0u32..).zip(times.values().iter().zip(&batch.offsets)) {
            if Timestamp(time).plus_micros(self.rule.within) <= watermark {
                late.push(row);
                sides.push(Side::Late(Box::new(self.late_event(&batch, row as usize, time, watermark))));
                continue;
            }
            let hash = keys.hash(row as usize);
            let questions = &mut asked[worker_of(hash, self.peers) as usize];
            keys.append(row as usize, hash, &mut questions.keys);
            let key_end = u32::try_from(questions.keys.len()).expect("invariant: an epoch's bytes are bounded far below 4 GB");
            questions.rows.push(Question { key_end, row, offset, time });
        }
        asked.retain(|questions| !questions.rows.is_empty());
        (asked, Waiting { number, batch, late })
    }

    fn late_event(&self, batch: &Batch, row: usize, time: i64, watermark: Timestamp) -> LateEvent {
        LateEvent {
            view: self.rule.name.clone(),
            source: self.rule.reads.clone(),
            partition: batch.partition,
            offset: batch.offsets[row],
            window_start: Timestamp(time),
            window_end: Timestamp(time).plus_micros(self.rule.within),
            event_time: Timestamp(time),
            watermark,
            event: json(&batch.columns, row),
        }
    }
}
