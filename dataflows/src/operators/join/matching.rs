//! Keeps the rows of both sides, and finds partners for those that come.

use std::collections::BTreeMap;

use differential_dataflow::trace::Cursor;
use freshet_model::{Epoch, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::super::begin_at;
use super::super::course::Course;
use super::super::known::Known;
use super::super::partial::Announcement;
use super::super::states::{StateCursor, States, current};
use super::super::sweep::Sweep;
use super::Bundle;
use super::pairs::PairMaker;
use super::place::{self, Place};
use crate::arrangement::{Key, Run, StateBatch, Updates};
use crate::changes::{Delta, Side};
use crate::epochs::Seal;
use crate::keys::key_hash;
use crate::saving::{Keeps, OpenSave, Restore};
use crate::state::{JoinKind, JoinRule, Joined};

/// So many pairs become rows of the view at once: few enough that what they consist of is still in the processor's cache.
const PAIRS_AT_ONCE: usize = 4096;

/// The streams of a join.
pub struct Matched<'s> {
    /// Rows of the view.
    pub deltas: Stream<'s, Epoch, Vec<Delta>>,
    /// Rows that have no value.
    pub sides: Stream<'s, Epoch, Vec<Side>>,
    /// Holds nothing: its frontier says of which epochs checkpoints have been saved.
    pub saved: Stream<'s, Epoch, Vec<()>>,
}

/// What a join needs from outside.
pub struct Options {
    /// Name, for people.
    pub name: String,
    /// Which rows are partners, and for how long they are kept.
    pub rule: JoinRule,
    /// The first watermark.
    pub begin: Announcement,
    /// Told by how much the number of keys changes.
    pub keys: Box<dyn Fn(i64)>,
    /// The rows that an earlier run saved of this worker's keys, in their order.
    pub restore: Restore,
    /// Where rows are saved.
    pub save: OpenSave,
}

/// Builds the join of bundles of either side.
pub fn join<'s>(
    scope: Scope<'s, Epoch>,
    options: Options,
    maker: PairMaker,
    bundles: Stream<'s, Epoch, Vec<Bundle>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
) -> Matched<'s> {
    let mut builder = OperatorBuilder::new(format!("Join {}", options.name), scope);
    let mut bundles = builder.new_input(bundles, Exchange::new(|bundle: &Bundle| bundle.to));
    let mut seals = builder.new_input(seals, Pipeline);
    let (deltas_out, deltas) = builder.new_output();
    let (sides_out, sides) = builder.new_output();
    let (_saved_out, saved) = builder.new_output::<Vec<()>>();
    let mut deltas_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Delta>>>::from(deltas_out);
    let mut sides_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Side>>>::from(sides_out);

    let info = builder.operator_info();
    let first = options.begin.epoch;
    let states = States::new(scope, info.clone(), Keeps::Counts);
    let mut course = Course::new(scope, &info, options.begin, (options.save, states.keeps()));
    let mut rows =
        Rows { rule: options.rule, maker, states, known: Known::new(scope.peers()), sweep: Sweep::default(), keys: options.keys };
    rows.restore(options.restore, first);

    builder.build(move |capabilities| {
        let mut capabilities = begin_at::<3>(capabilities, first);
        let mut brought: BTreeMap<Epoch, Vec<Bundle>> = BTreeMap::new();
        move |frontiers| {
            seals.for_each(|time, seals| course.take(*time.time(), seals.drain(..)));
            bundles.for_each(|time, bundles| brought.entry(*time.time()).or_default().append(bundles));
            let Some(held) = &mut capabilities else { return };
            let (mut deltas_out, mut sides_out) = (deltas_out.activate(), sides_out.activate());
            while let Some((epoch, watermark)) = course.due(&frontiers[0]) {
                let (mut deltas, mut sides) = rows.process(epoch, &brought.remove(&epoch).unwrap_or_default(), watermark);
                deltas_out.session(&held[0]).give_container(&mut deltas);
                sides_out.session(&held[1]).give_container(&mut sides);
                let rule = rows.rule;
                let next = course.advance(&mut rows.states, move |bytes, _| deadline(rule, bytes) > watermark);
                held[..2].iter_mut().for_each(|capability| capability.downgrade(&next));
            }
            held[2].downgrade(&course.rest(&mut rows.states));
            if course.is_over(&frontiers[0], &frontiers[1]) {
                capabilities = None;
            }
        }
    });
    Matched { deltas, sides, saved }
}

/// The rows of both sides.
struct Rows {
    rule: JoinRule,
    maker: PairMaker,
    states: States,
    /// The hashes of all keys in `states`.
    known: Known<2>,
    sweep: Sweep,
    /// Told by how much the number of keys changes.
    keys: Box<dyn Fn(i64)>,
}

impl Rows {
    /// Takes in the rows of an earlier run.
    fn restore(&mut self, entries: Restore, first: Epoch) {
        let (known, sweep, rule) = (&mut self.known, &mut self.sweep, self.rule);
        let mut keys = 0;
        self.states.restore(entries, first, |bytes, _, count| {
            keys += known.add(key_hash(bytes), on_side(bytes, count));
            sweep.saw(deadline(rule, bytes));
        });
        (self.keys)(keys);
    }

    /// Takes in what an epoch brings, forgets some of what can be forgotten, and returns what changes of the result.
    fn process(&mut self, epoch: Epoch, bundles: &[Bundle], watermark: Timestamp) -> (Vec<Delta>, Vec<Side>) {
        let brought = sorted(bundles);
        let (mut cursor, storage) = self.states.cursor();
        let (mut pairs, mut keys) = (Vec::new(), 0);
        let (mut deltas, mut sides) = (Vec::new(), Vec::new());
        let (mut new, mut old) = (Joined::default(), Joined::default());
        let mut start = Vec::new();
        let have_one_key =
            |one: &[u8], other: &[u8]| key_hash(one) == key_hash(other) && place::read(one, 0).key == place::read(other, 0).key;
        for group in brought.chunk_by(|one, other| have_one_key(one.0, other.0)) {
            new.clear();
            old.clear();
            let mut added = [0; 2];
            for &(bytes, weight) in group {
                let Place { side, row, .. } = place::read(bytes, weight);
                new.sides[side].push(row);
                added[side] += weight;
                self.sweep.saw(self.rule.deadline(side, row.time));
            }
            let key = place::read(group[0].0, 0).key;
            let hash = key_hash(key);
            let there = self.known.rows(hash).map(|rows| rows != 0);
            look_up((&mut cursor, &storage), (key, there), &new, self.rule, &mut old, &mut start);
            old.changes(&new, self.rule, &mut pairs);
            keys += self.known.add(hash, added);
            if pairs.len() >= PAIRS_AT_ONCE {
                self.maker.make(&pairs, &mut deltas, &mut sides);
                pairs.clear();
            }
        }
        self.maker.make(&pairs, &mut deltas, &mut sides);
        self.update(epoch, &brought, watermark, &mut keys);
        (self.keys)(keys);
        (deltas, sides)
    }

    /// Adds the rows that an epoch brings, and takes out others that are forgotten.
    fn update(&mut self, epoch: Epoch, brought: &[(&[u8], i64)], watermark: Timestamp, keys: &mut i64) {
        let mut forgotten = Updates::new(epoch);
        let (known, rule) = (&mut self.known, self.rule);
        let mut rest = None;
        self.sweep.advance(
            &mut self.states,
            (brought.len(), watermark),
            |bytes, _| deadline(rule, bytes),
            |bytes, _, count| {
                // Rows come in order: what was brought is looked through once.
                let rest = rest.get_or_insert_with(|| &brought[brought.partition_point(|(other, _)| *other < bytes)..]);
                let passed = rest.iter().take_while(|(other, _)| *other < bytes).count();
                *rest = &rest[passed..];
                if rest.first().is_none_or(|(other, _)| *other != bytes) {
                    *keys += known.add(key_hash(bytes), on_side(bytes, -count));
                    forgotten.push(bytes, &[], -count);
                }
            },
        );
        let bytes = brought.iter().map(|(bytes, _)| bytes.len()).sum::<usize>() + forgotten.bytes();
        let mut run = Run::with_capacity(epoch, brought.len() + forgotten.len(), (bytes, 0));
        let mut rest = brought.iter().peekable();
        for (bytes, value, diff) in forgotten.iter() {
            while let Some((brought, weight)) = rest.next_if(|(other, _)| *other < bytes) {
                run.push(brought, &[], *weight);
            }
            run.push(bytes, value, diff);
        }
        rest.for_each(|(brought, weight)| run.push(brought, &[], *weight));
        self.states.insert(epoch, run);
    }
}

fn deadline(rule: JoinRule, bytes: &[u8]) -> Timestamp {
    let Place { side, row, .. } = place::read(bytes, 0);
    rule.deadline(side, row.time)
}

/// Returns how many rows of a place there are on each side, of so many.
fn on_side(bytes: &[u8], count: i64) -> [i64; 2] {
    let mut counts = [0; 2];
    counts[place::read(bytes, 0).side] = count;
    counts
}

/// Reads the rows of a key that `new` ones may have something to do with, on the sides on which there are any.
fn look_up<'a>(
    (cursor, storage): (&mut StateCursor, &'a Vec<StateBatch>),
    (key, there): (&[u8], [bool; 2]),
    new: &Joined<'a>,
    rule: JoinRule,
    old: &mut Joined<'a>,
    start: &mut Vec<u8>,
) {
    for side in [0, 1].into_iter().filter(|&side| there[side]) {
        let times = if rule.kind == JoinKind::Inner { new.near(1 - side, rule) } else { Some((i64::MIN, i64::MAX)) };
        let Some((low, high)) = times else { continue };
        place::write_start(key, side, low, start);
        cursor.seek_key(storage, Key::new(start));
        while let Some(Key { bytes, .. }) = cursor.get_key(storage)
            && bytes.starts_with(key)
        {
            let mut place = place::read(bytes, 0);
            if place.side != side || place.row.time > high {
                break;
            }
            if let Some((_, count)) = current(cursor, storage) {
                place.row.weight = count;
                old.sides[side].push(place.row);
            }
            cursor.step_key(storage);
        }
    }
}

/// Lists the rows of all bundles in their order, and adds up equal ones.
fn sorted(bundles: &[Bundle]) -> Vec<(&[u8], i64)> {
    let mut rows = Vec::with_capacity(bundles.iter().map(|bundle| bundle.rows.len()).sum());
    for bundle in bundles {
        let mut start = 0;
        for &(end, weight) in &bundle.rows {
            rows.push((&bundle.bytes[start..end], weight));
            start = end;
        }
    }
    // By hashes first: a row is too far away to be asked each time.
    let mut order: Vec<(u64, usize)> = rows.iter().enumerate().map(|(at, (bytes, _))| (key_hash(bytes), at)).collect();
    order.sort_unstable_by(|one, other| one.0.cmp(&other.0).then_with(|| rows[one.1].0.cmp(rows[other.1].0)));
    let mut sorted: Vec<(&[u8], i64)> = Vec::with_capacity(rows.len());
    for (_, at) in order {
        let (bytes, weight) = rows[at];
        match sorted.last_mut() {
            Some((last, sum)) if *last == bytes => *sum += weight,
            _ => sorted.push((bytes, weight)),
        }
    }
    sorted.retain(|(_, weight)| *weight != 0);
    sorted
}
