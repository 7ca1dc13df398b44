//! Keeps the state of each key in an arrangement, and sends what an epoch changes of it.
//!
//! ```text
//! partials of E ─┐                       ┌▶ deltas: rows of views
//! agenda ────────┼▶ old state ─ advance ─┼▶ contributions to other folds
//! watermark of E ┘      ▲          │     └▶ sides: rows that have no value
//!                       └ arrangement ◀── (key, old, -1), (key, new, +1)
//! ```
//!
//! # Frontiers
//! See `course.rs`.
//!
//! # Invariants
//! - What an epoch changes does not depend on how its partials were split.
//! - A key with something left to close stands on the agenda at that watermark, or earlier.

use std::collections::BTreeMap;

use freshet_model::{Epoch, Timestamp};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::agenda::Agenda;
use super::begin_at;
use super::course::Course;
use super::keep::{Changes, Keeper};
use super::partial::Announcement;
use super::states::{States, find};
use crate::arrangement::Updates;
use crate::changes::{Delta, Partial, Side};
use crate::epochs::Seal;
use crate::keys::{key_hash, worker_of};
use crate::saving::{Keeps, OpenSave, Restore};
use crate::state::State;

/// The streams of a fold.
pub struct Folded<'s> {
    /// Rows of views.
    pub deltas: Stream<'s, Epoch, Vec<Delta>>,
    /// Partials for other folds, with the folds' indices.
    pub contributions: Stream<'s, Epoch, Vec<(usize, Partial)>>,
    /// Rows that have no value.
    pub sides: Stream<'s, Epoch, Vec<Side>>,
    /// Holds nothing: its frontier says of which epochs checkpoints have been saved.
    pub saved: Stream<'s, Epoch, Vec<()>>,
}

/// What a fold needs from outside.
pub struct Options {
    /// Name, for people.
    pub name: String,
    /// The first watermark.
    pub begin: Announcement,
    /// Told by how much the number of keys changes.
    pub keys: Box<dyn Fn(i64)>,
    /// The states that an earlier run saved of this worker's keys, in the order of keys.
    pub restore: Restore,
    /// Where states are saved, given the means to wake the operator when there is room again or an epoch's states are durable.
    pub save: OpenSave,
}

/// Everything but timely's handles.
struct Fold {
    keeper: Keeper,
    agenda: Agenda,
    states: States,
    /// Told by how much the number of keys changes.
    keys: Box<dyn Fn(i64)>,
}

/// Builds a fold of partials.
pub fn fold<'s>(
    scope: Scope<'s, Epoch>,
    options: Options,
    keeper: Keeper,
    partials: Stream<'s, Epoch, Vec<Partial>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
) -> Folded<'s> {
    let mut builder = OperatorBuilder::new(format!("Fold {}", options.name), scope);
    let peers = scope.peers();
    let by_key = Exchange::new(move |partial: &Partial| worker_of(key_hash(&partial.key), peers));
    let mut partials = builder.new_input(partials, by_key);
    let mut seals = builder.new_input(seals, Pipeline);
    let (deltas_out, deltas) = builder.new_output();
    let (contributions_out, contributions) = builder.new_output();
    let (sides_out, sides) = builder.new_output();
    let (_saved_out, saved) = builder.new_output::<Vec<()>>();
    let mut deltas_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Delta>>>::from(deltas_out);
    let mut contributions_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<(usize, Partial)>>>::from(contributions_out);
    let mut sides_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Side>>>::from(sides_out);

    let info = builder.operator_info();
    let first = options.begin.epoch;
    let states = States::new(scope, info.clone(), Keeps::Values);
    let mut course = Course::new(scope, &info, options.begin, (options.save, states.keeps()));
    let mut fold = Fold { keeper, agenda: Agenda::default(), states, keys: options.keys };
    fold.restore(options.restore, first);

    builder.build(move |capabilities| {
        let mut capabilities = begin_at::<4>(capabilities, first);
        let mut brought: BTreeMap<Epoch, Vec<Partial>> = BTreeMap::new();

        move |frontiers| {
            seals.for_each(|time, seals| course.take(*time.time(), seals.drain(..)));
            partials.for_each(|time, partials| brought.entry(*time.time()).or_default().append(partials));
            let Some(held) = &mut capabilities else { return };
            let (mut deltas_out, mut contributions_out, mut sides_out) =
                (deltas_out.activate(), contributions_out.activate(), sides_out.activate());

            while let Some((epoch, watermark)) = course.due(&frontiers[0]) {
                let mut sent = fold.process(epoch, brought.remove(&epoch).unwrap_or_default(), watermark);
                deltas_out.session(&held[0]).give_container(&mut sent.deltas);
                contributions_out.session(&held[1]).give_container(&mut sent.contributions);
                sides_out.session(&held[2]).give_container(&mut sent.sides);
                let next = course.advance(&mut fold.states, |_, _| true);
                held[..3].iter_mut().for_each(|capability| capability.downgrade(&next));
            }
            held[3].downgrade(&course.rest(&mut fold.states));
            if course.is_over(&frontiers[0], &frontiers[1]) {
                capabilities = None;
            }
        }
    });
    Folded { deltas, contributions, sides, saved }
}

/// What an epoch sends.
struct Sent {
    deltas: Vec<Delta>,
    contributions: Vec<(usize, Partial)>,
    sides: Vec<Side>,
}

impl Fold {
    /// Takes in the states of an earlier run.
    fn restore(&mut self, entries: Restore, first: Epoch) {
        let (keeper, agenda) = (&self.keeper, &mut self.agenda);
        let keys = self.states.restore(entries, first, |key, value, _| {
            if let Some(deadline) = keeper.next_closing(&State::decode(value)) {
                agenda.enter(deadline, key);
            }
        });
        (self.keys)(keys);
    }

    fn process(&mut self, epoch: Epoch, brought: Vec<Partial>, watermark: Timestamp) -> Sent {
        let due = self.agenda.take_due(watermark);
        let (mut deltas, mut sides) = (Vec::new(), Vec::new());
        if brought.is_empty() && due.is_empty() {
            return Sent { deltas, contributions: Vec::new(), sides };
        }
        let brought = self.merge(brought);
        let mut changes = self.keeper.changes();
        let updates = self.advance_all(epoch, &brought, &due, watermark, &mut changes);
        self.states.insert(epoch, updates);
        let contributions = self.keeper.make(&changes, &mut deltas, &mut sides);
        Sent { deltas, contributions, sides }
    }

    /// Sorts partials by key and merges those of one key.
    fn merge(&self, mut partials: Vec<Partial>) -> Vec<Partial> {
        // By places and hashes: a partial is too large to be moved around, and its key too far away to be asked each time.
        let mut order: Vec<(u64, usize)> =
            partials.iter().enumerate().map(|(at, partial)| (key_hash(&partial.key), at)).collect();
        order.sort_unstable_by(|one, other| one.0.cmp(&other.0).then_with(|| partials[one.1].key.cmp(&partials[other.1].key)));
        let mut merged: Vec<Partial> = Vec::with_capacity(partials.len());
        for (_, at) in order {
            let nothing = Partial { key: Vec::new(), state: State(smallvec::SmallVec::new()) };
            let partial = std::mem::replace(&mut partials[at], nothing);
            match merged.last_mut() {
                Some(last) if last.key == partial.key => self.keeper.merge(&mut last.state, &partial.state),
                _ => merged.push(partial),
            }
        }
        merged
    }

    /// Advances each key that has new events or is due, in the order of keys.
    fn advance_all(
        &mut self,
        epoch: Epoch,
        brought: &[Partial],
        due: &[Box<[u8]>],
        watermark: Timestamp,
        changes: &mut Changes,
    ) -> Updates {
        let (mut cursor, storage) = self.states.cursor();
        let mut taken = Taken { updates: Updates::new(epoch), keys: 0, buffer: Vec::new() };
        let (mut brought, mut due) = (brought.iter().peekable(), due.iter().peekable());
        loop {
            let key: &[u8] = match (brought.peek(), due.peek()) {
                (Some(partial), Some(due)) => (&partial.key[..]).min(due),
                (Some(partial), None) => &partial.key,
                (None, Some(due)) => due,
                (None, None) => break,
            };
            let partial = brought.next_if(|partial| partial.key == key).map(|partial| &partial.state);
            let was_due = due.next_if(|due| ***due == *key).is_some();
            let held = find(&mut cursor, &storage, key);
            let old = held.map(State::decode);
            let new = self.keeper.advance(key, old.as_ref(), partial, watermark, changes);
            let deadline = self.keeper.next_closing(&new);
            let was = old.as_ref().filter(|_| !was_due).and_then(|old| self.keeper.next_closing(old));
            if let Some(deadline) = deadline.filter(|deadline| was.is_none_or(|was| *deadline < was)) {
                self.agenda.enter(deadline, key);
            }
            taken.push(key, held, old.as_ref(), &new);
        }
        (self.keys)(taken.keys);
        taken.updates
    }
}

/// What an epoch changes of the states.
struct Taken {
    updates: Updates,
    /// How many keys there are more.
    keys: i64,
    buffer: Vec<u8>,
}

impl Taken {
    fn push(&mut self, key: &[u8], held: Option<&[u8]>, old: Option<&State>, new: &State) {
        self.keys += i64::from(!new.is_empty()) - i64::from(old.is_some());
        let unchanged = old.map_or(new.is_empty(), |old| old == new);
        if unchanged {
            return;
        }
        let mut pair = [held.map(|bytes| (bytes, -1)), None];
        if !new.is_empty() {
            new.encode(&mut self.buffer);
            pair[1] = Some((&self.buffer, 1));
        }
        pair.sort_unstable();
        pair.into_iter().flatten().for_each(|(value, diff)| self.updates.push(key, value, diff));
    }
}
