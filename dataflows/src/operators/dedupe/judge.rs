//! Remembers keys, and says which records repeat one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use freshet_model::{Epoch, Offset, PartitionId, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::super::begin_at;
use super::super::course::Course;
use super::super::known::Known;
use super::super::partial::Announcement;
use super::super::states::{States, find};
use super::super::sweep::Sweep;
use super::{Answer, Question, Questions};
use crate::arrangement::Updates;
use crate::epochs::Seal;
use crate::keys::key_hash;
use crate::saving::{Keeps, OpenSave, Restore};

/// The streams of judgements.
pub(super) struct Judged<'s> {
    pub(super) answers: Stream<'s, Epoch, Vec<Answer>>,
    /// Holds nothing: its frontier says of which epochs checkpoints have been saved.
    pub(super) saved: Stream<'s, Epoch, Vec<()>>,
}

/// What judging needs from outside.
pub(super) struct Options {
    pub(super) name: String,
    /// For how long a key is remembered, in microseconds.
    pub(super) within: i64,
    pub(super) begin: Announcement,
    /// Told by how much the number of remembered keys changes.
    pub(super) keys: Box<dyn Fn(i64)>,
    pub(super) restore: Restore,
    pub(super) save: OpenSave,
}

/// Answers questions.
pub(super) fn judge<'s>(
    scope: Scope<'s, Epoch>,
    options: Options,
    questions: Stream<'s, Epoch, Vec<Questions>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
) -> Judged<'s> {
    let mut builder = OperatorBuilder::new(format!("Judge {}", options.name), scope);
    let mut questions = builder.new_input(questions, Exchange::new(|questions: &Questions| questions.to));
    let mut seals = builder.new_input(seals, Pipeline);
    let (answers_out, answers) = builder.new_output();
    let (_saved_out, saved) = builder.new_output::<Vec<()>>();
    let mut answers_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Answer>>>::from(answers_out);

    let info = builder.operator_info();
    let first = options.begin.epoch;
    let states = States::new(scope, info.clone(), Keeps::Values);
    let mut course = Course::new(scope, &info, options.begin, (options.save, states.keeps()));
    let mut memory =
        Memory { within: options.within, states, known: Known::new(scope.peers()), sweep: Sweep::default(), keys: options.keys };
    memory.restore(options.restore, first);

    builder.build(move |capabilities| {
        let mut capabilities = begin_at::<2>(capabilities, first);
        let mut asked: BTreeMap<Epoch, Vec<Questions>> = BTreeMap::new();
        move |frontiers| {
            seals.for_each(|time, seals| course.take(*time.time(), seals.drain(..)));
            questions.for_each(|time, questions| asked.entry(*time.time()).or_default().append(questions));
            let Some(held) = &mut capabilities else { return };
            let mut answers_out = answers_out.activate();
            while let Some((epoch, watermark)) = course.due(&frontiers[0]) {
                let mut answers = memory.process(epoch, &asked.remove(&epoch).unwrap_or_default(), watermark);
                answers_out.session(&held[0]).give_container(&mut answers);
                let within = memory.within;
                let needed = move |_: &[u8], state: &[u8]| deadline(decode(state), within) > watermark;
                held[0].downgrade(&course.advance(&mut memory.states, needed));
            }
            held[1].downgrade(&course.rest(&mut memory.states));
            if course.is_over(&frontiers[0], &frontiers[1]) {
                capabilities = None;
            }
        }
    });
    Judged { answers, saved }
}

/// The keys that are remembered, each with the time of its record.
struct Memory {
    within: i64,
    states: States,
    /// The hashes of all keys in `states`.
    known: Known<1>,
    sweep: Sweep,
    /// Told by how much the number of keys changes.
    keys: Box<dyn Fn(i64)>,
}

/// A question with its key.
struct Asked<'a> {
    key: &'a [u8],
    partition: PartitionId,
    question: Question,
    /// Index of the bundle that it came in.
    bundle: usize,
}

impl Asked<'_> {
    fn place(&self) -> (PartitionId, Offset) {
        (self.partition, self.question.offset)
    }

    fn order(&self, other: &Asked<'_>) -> Ordering {
        self.key.cmp(other.key).then_with(|| self.place().cmp(&other.place()))
    }
}

/// A time, as the arrangement holds it.
fn encode(time: i64) -> [u8; 8] {
    time.to_be_bytes()
}

fn decode(state: &[u8]) -> i64 {
    i64::from_be_bytes(*state.first_chunk().expect("invariant: an arrangement holds what encode wrote"))
}

impl Memory {
    /// Takes in the keys that an earlier run remembered.
    fn restore(&mut self, entries: Restore, first: Epoch) {
        let (known, sweep, within) = (&mut self.known, &mut self.sweep, self.within);
        let mut keys = 0;
        self.states.restore(entries, first, |key, state, _| {
            keys += known.add(key_hash(key), [1]);
            sweep.saw(deadline(decode(state), within));
        });
        (self.keys)(keys);
    }

    fn forgets(&self, time: i64, watermark: Timestamp) -> bool {
        deadline(time, self.within) <= watermark
    }

    /// Judges the questions of an epoch, and forgets some of what can be forgotten.
    fn process(&mut self, epoch: Epoch, bundles: &[Questions], watermark: Timestamp) -> Vec<Answer> {
        let (asked, order) = sorted(bundles);
        let mut repeats: Vec<Vec<u32>> = bundles.iter().map(|_| Vec::new()).collect();
        let (mut cursor, storage) = self.states.cursor();
        // The keys whose times change, in order, with the time that was and the one that is.
        let mut changed: Vec<(&[u8], Option<i64>, i64)> = Vec::with_capacity(asked.len());
        let mut keys = 0;
        for group in order.chunk_by(|one, other| one.0 == other.0 && asked[one.1].key == asked[other.1].key) {
            let (hash, first) = (group[0].0, &asked[group[0].1]);
            let (key, time) = (first.key, first.question.time);
            let is_known = self.known.rows(hash) != [0];
            let remembered = if is_known { find(&mut cursor, &storage, key).map(decode) } else { None };
            let passes = remembered.is_none_or(|time| self.forgets(time, watermark));
            for &(_, repeat) in &group[usize::from(passes)..] {
                repeats[asked[repeat].bundle].push(asked[repeat].question.row);
            }
            if !passes {
                continue;
            }
            if remembered.is_none() {
                keys += self.known.add(hash, [1]);
            }
            changed.push((key, remembered, time));
            self.sweep.saw(deadline(time, self.within));
        }
        let updates = self.updates(epoch, &changed, asked.len(), watermark, &mut keys);
        self.states.insert(epoch, updates);
        (self.keys)(keys);
        let answer = |(bundle, repeats): (&Questions, Vec<u32>)| Answer { to: bundle.from, batch: bundle.batch, repeats };
        bundles.iter().zip(repeats).filter(|(_, repeats)| !repeats.is_empty()).map(answer).collect()
    }

    /// Returns what an epoch changes of the states: the times of some keys, and others that are forgotten.
    fn updates(
        &mut self,
        epoch: Epoch,
        changed: &[(&[u8], Option<i64>, i64)],
        asked: usize,
        watermark: Timestamp,
        keys: &mut i64,
    ) -> Updates {
        let mut updates = Updates::new(epoch);
        let mut rest = changed.iter().peekable();
        let mut forgotten = Updates::new(epoch);
        let (known, within) = (&mut self.known, self.within);
        self.sweep.advance(
            &mut self.states,
            (asked, watermark),
            |_, state| deadline(decode(state), within),
            |key, state, _| {
                if changed.binary_search_by(|(other, _, _)| (*other).cmp(key)).is_err() {
                    *keys += known.add(key_hash(key), [-1]);
                    forgotten.push(key, state, -1);
                }
            },
        );
        for (key, state, diff) in forgotten.iter() {
            while let Some((key, old, new)) = rest.next_if(|(other, _, _)| *other < key) {
                replace(&mut updates, key, *old, *new);
            }
            updates.push(key, state, diff);
        }
        rest.for_each(|(key, old, new)| replace(&mut updates, key, *old, *new));
        updates
    }
}

/// Returns the watermark from which on a key is forgotten that is remembered from a record with this time.
fn deadline(time: i64, within: i64) -> Timestamp {
    Timestamp(time).plus_micros(within)
}

/// Adds the states to take out and to put in where a key gets a new time, in their order.
fn replace(updates: &mut Updates, key: &[u8], old: Option<i64>, new: i64) {
    let mut both = [old.map(|old| (encode(old), -1)), Some((encode(new), 1))];
    both.sort_unstable();
    both.into_iter().flatten().for_each(|(state, diff)| updates.push(key, &state, diff));
}

/// Lists questions, and their hashes and places in the list in the order of keys, partitions and offsets.
fn sorted(bundles: &[Questions]) -> (Vec<Asked<'_>>, Vec<(u64, usize)>) {
    let mut asked = Vec::with_capacity(bundles.iter().map(|bundle| bundle.rows.len()).sum());
    for (index, bundle) in bundles.iter().enumerate() {
        let mut start = 0;
        for &question in &bundle.rows {
            let end = question.key_end as usize;
            asked.push(Asked { key: &bundle.keys[start..end], partition: bundle.partition, question, bundle: index });
            start = end;
        }
    }
    // By hashes first: a question is too large to be moved around, and its key too far away to be asked each time.
    let mut order: Vec<(u64, usize)> = asked.iter().enumerate().map(|(at, asked)| (key_hash(asked.key), at)).collect();
    order.sort_unstable_by(|one, other| one.0.cmp(&other.0).then_with(|| asked[one.1].order(&asked[other.1])));
    (asked, order)
}
