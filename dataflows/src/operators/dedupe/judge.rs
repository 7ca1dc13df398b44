//! Remembers keys, and says which records repeat one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use differential_dataflow::trace::Cursor;
use freshet_model::{Epoch, Offset, PartitionId, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::super::begin_at;
use super::super::course::Course;
use super::super::partial::Announcement;
use super::super::states::{States, current};
use super::known::Known;
use super::{Answer, Question, Questions};
use crate::arrangement::Update;
use crate::epochs::Seal;
use crate::keys::key_hash;
use crate::saving::{OpenSave, Restore};

/// For each question of an epoch so many states are looked at, whether they can be forgotten: those that can never are more than half.
const SWEPT_PER_QUESTION: usize = 2;
/// At least so many are looked at in each epoch, so that also a quiet stream forgets.
const SWEPT_PER_EPOCH: usize = 64;

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
    let mut course = Course::new(scope, &info, options.begin, options.save);
    let mut memory = Memory {
        within: options.within,
        states: States::new(scope, info),
        known: Known::default(),
        sweep: Sweep::default(),
        keys: options.keys,
    };
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
                held[0].downgrade(&course.advance(&mut memory.states));
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
    known: Known,
    sweep: Sweep,
    /// Told by how much the number of keys changes.
    keys: Box<dyn Fn(i64)>,
}

/// How far the states have been cleared of what can be forgotten.
struct Sweep {
    /// The key from which on to look next; empty for the first one.
    from: Vec<u8>,
    /// No state is older than this.
    oldest: i64,
    /// No state that this round has passed, and none that came since it began, is older than this.
    oldest_passed: i64,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep { from: Vec::new(), oldest: i64::MAX, oldest_passed: i64::MAX }
    }
}

impl Sweep {
    fn saw(&mut self, time: i64) {
        self.oldest = self.oldest.min(time);
        self.oldest_passed = self.oldest_passed.min(time);
    }
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

fn encode(time: i64) -> Vec<u8> {
    time.to_be_bytes().to_vec()
}

fn decode(state: &[u8]) -> i64 {
    i64::from_be_bytes(*state.first_chunk().expect("invariant: an arrangement holds what encode wrote"))
}

impl Memory {
    /// Takes in the keys that an earlier run remembered.
    fn restore(&mut self, entries: Restore, first: Epoch) {
        let (known, sweep) = (&mut self.known, &mut self.sweep);
        let keys = self.states.restore(entries, first, |key, state| {
            known.insert(key_hash(key));
            sweep.saw(decode(state));
        });
        (self.keys)(keys);
    }

    fn forgets(&self, time: i64, watermark: Timestamp) -> bool {
        Timestamp(time).plus_micros(self.within) <= watermark
    }

    /// Judges the questions of an epoch, and forgets some of what can be forgotten.
    fn process(&mut self, epoch: Epoch, bundles: &[Questions], watermark: Timestamp) -> Vec<Answer> {
        let (asked, order) = sorted(bundles);
        let mut repeats: Vec<Vec<u32>> = bundles.iter().map(|_| Vec::new()).collect();
        let (mut cursor, storage) = self.states.cursor();
        let mut updates: Vec<Update> = Vec::with_capacity(asked.len());
        let mut change = 0;
        for group in order.chunk_by(|one, other| one.0 == other.0 && asked[one.1].key == asked[other.1].key) {
            let (hash, first) = (group[0].0, &asked[group[0].1]);
            let (key, time) = (first.key, first.question.time);
            let remembered = if self.known.contains(hash) {
                cursor.seek_key(&storage, key);
                if cursor.get_key(&storage) == Some(key) { current(&mut cursor, &storage).map(decode) } else { None }
            } else {
                None
            };
            let passes = remembered.is_none_or(|time| self.forgets(time, watermark));
            for &(_, repeat) in &group[usize::from(passes)..] {
                repeats[asked[repeat].bundle].push(asked[repeat].question.row);
            }
            if !passes {
                continue;
            }
            if remembered.is_none() {
                self.known.insert(hash);
                change += 1;
            }
            updates.extend(replaced(remembered, time).map(|(state, diff)| ((key.to_vec(), state), epoch, diff)));
            self.sweep.saw(time);
        }
        if self.forgets(self.sweep.oldest, watermark) {
            let forgotten = self.sweep(asked.len(), watermark, &updates);
            change -= i64::try_from(forgotten.len()).unwrap_or(i64::MAX);
            updates.extend(forgotten.into_iter().map(|entry| (entry, epoch, -1)));
            // Two runs that are sorted each.
            updates.sort();
        }
        self.states.insert(epoch, updates);
        (self.keys)(change);
        let answer = |(bundle, repeats): (&Questions, Vec<u32>)| Answer { to: bundle.from, batch: bundle.batch, repeats };
        bundles.iter().zip(repeats).filter(|(_, repeats)| !repeats.is_empty()).map(answer).collect()
    }

    /// Looks at some of the states as they were before the epoch, and returns those that can be forgotten, but for those that the epoch changes.
    fn sweep(&mut self, questions: usize, watermark: Timestamp, updates: &[Update]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut cursor, storage) = self.states.cursor();
        cursor.seek_key(&storage, &self.sweep.from);
        let mut forgotten = Vec::new();
        let mut left = SWEPT_PER_EPOCH + SWEPT_PER_QUESTION * questions;
        while let Some(key) = cursor.get_key(&storage)
            && left > 0
        {
            left -= 1;
            if let Some(state) = current(&mut cursor, &storage) {
                let time = decode(state);
                if !self.forgets(time, watermark) {
                    self.sweep.oldest_passed = self.sweep.oldest_passed.min(time);
                } else if updates.binary_search_by(|((other, _), _, _)| other[..].cmp(key)).is_err() {
                    self.known.remove(key_hash(key));
                    forgotten.push((key.to_vec(), state.to_vec()));
                }
            }
            cursor.step_key(&storage);
        }
        match cursor.get_key(&storage) {
            Some(key) => self.sweep.from = key.to_vec(),
            None => {
                let oldest = std::mem::replace(&mut self.sweep.oldest_passed, i64::MAX);
                (self.sweep.from, self.sweep.oldest) = (Vec::new(), oldest);
            }
        }
        forgotten
    }
}

/// Returns the states to take out and to put in where a key gets a new time, in their order.
fn replaced(old: Option<i64>, new: i64) -> impl Iterator<Item = (Vec<u8>, i64)> {
    let mut both = [old.map(|old| (encode(old), -1)), Some((encode(new), 1))];
    both.sort_unstable();
    both.into_iter().flatten()
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
