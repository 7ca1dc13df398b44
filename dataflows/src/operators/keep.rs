//! What becomes of one key in one epoch: the pure part of a fold.

use std::sync::Arc;

use freshet_model::Timestamp;

use super::rank::RankMaker;
use super::rows::{Instance, RowMaker};
use crate::changes::{Delta, Partial, Side};
use crate::keys::KeyCodec;
use crate::lower::{Component, Role};
use crate::plan::Emit;
use crate::state::{
    Accumulator, Group, Ranges, RankChange, Ranking, Session, Sessions, Shape, Slot, State, Windows, rank_changes,
};

/// One component of a fold, ready for use.
pub struct Kept {
    /// The component, as planned.
    pub component: Component,
    /// Where its changes go.
    pub target: Target,
}

/// Where a component's changes go.
pub enum Target {
    /// Into rows of a view.
    Rows(Box<RowMaker>),
    /// Into rows of a view that ranks another one's.
    Ranks(Box<RankMaker>),
    /// Into another fold.
    Group(Box<Contribution>),
}

/// How a value that is new to a window counts for the window's group.
pub struct Contribution {
    /// Index of the group's fold.
    pub fold: usize,
    /// Index of the component in it.
    pub component: usize,
    /// Index of the accumulator.
    pub accumulator: usize,
    /// An empty state of that fold.
    pub empty: State,
    /// The accumulators of that component.
    pub kinds: Vec<crate::state::Kind>,
    /// Packs the group's key.
    pub codec: KeyCodec,
}

/// What an epoch changes, collected for all keys so that rows are made a column at a time.
#[derive(Default)]
pub struct Changes {
    /// For each component, its windows, sessions and groups that changed.
    pub instances: Vec<Vec<Instance>>,
    /// For each component, the keys that are new to windows, with the windows' numbers.
    pub seen: Vec<Vec<(Vec<u8>, i64)>>,
    /// For each component, the rows whose ranks changed.
    pub ranks: Vec<Vec<RankChange>>,
}

fn empty<T>(parts: usize) -> Vec<Vec<T>> {
    std::iter::repeat_with(Vec::new).take(parts).collect()
}

/// All components of a fold.
pub struct Keeper {
    /// The components.
    pub kept: Vec<Kept>,
    /// Unpacks the fold's keys.
    pub codec: Arc<KeyCodec>,
}

impl Keeper {
    /// Returns room for an epoch's changes.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let parts = self.kept.len();
        Changes { instances: empty(parts), seen: empty(parts), ranks: empty(parts) }
    }

    /// Returns the state of a key without events.
    #[must_use]
    pub fn empty(&self) -> State {
        State::empty(self.kept.iter().map(|kept| &kept.component.shape))
    }

    /// Merges two parts of one key's events.
    pub fn merge(&self, into: &mut State, from: &State) {
        for ((kept, into), from) in self.kept.iter().zip(&mut into.0).zip(&from.0) {
            kept.component.shape.merge(into, from);
        }
    }

    /// Returns the next state of a key, and takes down what changed: first what the epoch brought, then what its watermark closes.
    pub fn advance(
        &self,
        key: &[u8],
        old: Option<&State>,
        brought: Option<&State>,
        watermark: Timestamp,
        changes: &mut Changes,
    ) -> State {
        let mut new = old.cloned().unwrap_or_else(|| self.empty());
        for (index, kept) in self.kept.iter().enumerate() {
            let slot = &mut new.0[index];
            let empty = kept.component.shape.empty();
            let before = old.map_or(&empty, |old| &old.0[index]);
            if let Some(brought) = brought.map(|brought| &brought.0[index])
                && !brought.is_empty()
            {
                kept.component.shape.merge(slot, brought);
                kept.settle(slot);
                kept.take_down(key, index, before, brought, slot, changes);
            }
            if kept.amends() {
                let brought = brought.map(|brought| &brought.0[index]);
                kept.show(key, before, brought, slot, watermark, &mut changes.instances[index]);
            }
            kept.retire(key, index, slot, watermark, changes);
        }
        new
    }

    /// Returns the watermark at which something of a state closes next.
    #[must_use]
    pub fn next_closing(&self, state: &State) -> Option<Timestamp> {
        self.kept.iter().zip(&state.0).filter_map(|(kept, slot)| kept.next_closing(slot)).min()
    }

    /// Makes the rows of an epoch's changes, and the contributions to other folds.
    pub fn make(&self, changes: &Changes, deltas: &mut Vec<Delta>, sides: &mut Vec<Side>) -> Vec<(usize, Partial)> {
        let mut contributions = Vec::new();
        for (index, kept) in self.kept.iter().enumerate() {
            match &kept.target {
                Target::Rows(maker) => maker.make(&self.codec, &changes.instances[index], deltas, sides),
                Target::Ranks(maker) => maker.make(&changes.ranks[index], deltas),
                Target::Group(contribution) => contribution.make(&self.codec, &changes.seen[index], &mut contributions),
            }
        }
        contributions
    }
}

impl Kept {
    /// Tells when rows of the component are sent, and whether replaced rows are sent too.
    fn manner(&self) -> (Emit, bool) {
        match &self.target {
            Target::Rows(maker) => (maker.rows().emit, maker.rows().retracts),
            Target::Ranks(_) | Target::Group(_) => (Emit::Changes, false),
        }
    }

    fn take_down(&self, key: &[u8], index: usize, before: &Slot, brought: &Slot, after: &Slot, changes: &mut Changes) {
        let (emit, retracts) = self.manner();
        if emit == Emit::Final {
            return;
        }
        let instances = &mut changes.instances[index];
        match (before, brought, after) {
            (Slot::Windows(before), Slot::Windows(brought), Slot::Windows(after)) => {
                self.take_down_windows(key, before, brought, after, retracts, instances);
            }
            (Slot::Sessions(before), _, Slot::Sessions(after)) => {
                take_down_sessions(key, before, after, retracts, self, instances);
            }
            (Slot::Group(before), _, Slot::Group(after)) => {
                instances
                    .extend(before.iter().filter(|_| retracts || after.is_none()).map(|group| group_instance(key, group, -1)));
                instances.extend(after.iter().map(|group| group_instance(key, group, 1)));
            }
            (Slot::Ranges(before), Slot::Ranges(_), Slot::Ranges(after)) => {
                take_down_seen(key, before, after, &mut changes.seen[index]);
            }
            (Slot::Ranking(before), Slot::Ranking(_), Slot::Ranking(after)) => {
                take_down_ranks(before, after, &self.component.shape, &mut changes.ranks[index]);
            }
            _ => unreachable!("the slots of one component have one shape"),
        }
    }

    fn take_down_windows(
        &self,
        key: &[u8],
        before: &Windows,
        brought: &Windows,
        after: &Windows,
        retracts: bool,
        instances: &mut Vec<Instance>,
    ) {
        for (number, _) in brought.iter() {
            let new = after.get(number);
            if let Some(old) = before.get(number).filter(|_| retracts || new.is_none()) {
                instances.push(self.window(key, number, old, -1));
            }
            if let Some(new) = new {
                instances.push(self.window(key, number, new, 1));
            }
        }
    }

    /// Forgets what is gone, when the parts of an epoch are merged.
    fn settle(&self, slot: &mut Slot) {
        match slot {
            Slot::Windows(windows) if self.component.row_time().is_some() => windows.settle(),
            _ => slot.settle(),
        }
    }

    /// Takes out what the watermark closes; where rows are sent once, this is when.
    fn retire(&self, key: &[u8], index: usize, slot: &mut Slot, watermark: Timestamp, changes: &mut Changes) {
        let is_final = self.manner().0 == Emit::Final && !self.amends();
        let watermark = self.component.over(watermark);
        let instances = &mut changes.instances[index];
        match (slot, &self.component.shape) {
            (Slot::Windows(windows), Shape::Windows(grid)) => {
                for (number, accumulators) in windows.retire(grid.first_open(watermark)) {
                    instances.extend(is_final.then(|| self.window(key, number, &accumulators, 1)));
                }
            }
            (Slot::Ranges(ranges), Shape::Ranges(grid)) => ranges.retire(grid.first_open(watermark)),
            (Slot::Sessions(sessions), Shape::Sessions(rule)) => {
                let closed = sessions.retire(watermark, *rule);
                instances.extend(closed.iter().filter(|_| is_final).map(|session| self.session(key, session, 1)));
            }
            (Slot::Group(group), _) => {
                if group.as_ref().and_then(|group| group.until).is_some_and(|until| Timestamp(until) <= watermark) {
                    instances.extend(group.take().iter().filter(|_| is_final).map(|group| group_instance(key, group, 1)));
                }
            }
            (Slot::Ranking(ranking), _) => {
                if ranking.until.is_some_and(|until| Timestamp(until) <= watermark) {
                    *ranking = Ranking::default();
                }
            }
            _ => unreachable!("the slots of one component have one shape"),
        }
    }

    /// Tells whether rows are sent when their windows close, and again when a late event amends them.
    fn amends(&self) -> bool {
        matches!(&self.target, Target::Rows(maker) if maker.rows().amends)
    }

    /// Returns the watermark at which something closes next, or is forgotten.
    fn next_closing(&self, slot: &Slot) -> Option<Timestamp> {
        let forgotten = self.component.shape.next_closing(slot).map(|closing| closing.plus_micros(self.component.horizon));
        let not_sent = self.amends().then(|| self.first_not_sent(slot)).flatten();
        forgotten.into_iter().chain(not_sent).min()
    }

    /// Returns when the first of those closes whose rows have not been sent.
    fn first_not_sent(&self, slot: &Slot) -> Option<Timestamp> {
        match (slot, &self.component.shape) {
            (Slot::Windows(windows), Shape::Windows(grid)) => {
                windows.iter().find(|(_, accumulators)| !was_sent(accumulators)).map(|(number, _)| grid.end(number))
            }
            (Slot::Sessions(sessions), Shape::Sessions(rule)) => {
                let waiting = sessions.iter().filter(|session| !was_sent(&session.accumulators));
                waiting.map(|session| rule.closing(session.last)).min()
            }
            _ => None,
        }
    }

    /// Takes down the rows of windows and sessions that the watermark closes, and those that a late event has amended since; notes which have
    /// been sent.
    fn show(
        &self,
        key: &[u8],
        before: &Slot,
        brought: Option<&Slot>,
        slot: &mut Slot,
        watermark: Timestamp,
        instances: &mut Vec<Instance>,
    ) {
        let retracts = self.manner().1;
        match (before, slot, &self.component.shape) {
            (Slot::Windows(before), Slot::Windows(after), Shape::Windows(grid)) => {
                let changed = |number| matches!(brought, Some(Slot::Windows(brought)) if brought.get(number).is_some());
                for (number, accumulators) in after.below_mut(grid.first_open(watermark)) {
                    let sent = was_sent(accumulators);
                    if sent && !changed(number) {
                        continue;
                    }
                    let old = before.get(number).filter(|old| retracts && was_sent(old));
                    instances.extend(old.map(|old| self.window(key, number, old, -1)));
                    note_sent(accumulators);
                    instances.push(self.window(key, number, accumulators, 1));
                }
            }
            (Slot::Sessions(before), Slot::Sessions(after), Shape::Sessions(rule)) => {
                let sent = |session: &&Session| was_sent(&session.accumulators);
                let unchanged = |one: &Session, among: &Sessions| among.starting_at(one.start) == Some(one);
                let gone = before.iter().filter(sent).filter(|old| !unchanged(old, after));
                let gone: Vec<_> = gone.filter(|old| retracts || self.moves(old, after)).collect();
                instances.extend(gone.into_iter().map(|old| self.session(key, old, -1)));
                for session in after.iter_mut() {
                    // One that was sent and has grown since is corrected at once, though it may go on.
                    let is_due = was_sent(&session.accumulators) || rule.closing(session.last) <= watermark;
                    if is_due && !(was_sent(&session.accumulators) && unchanged(session, before)) {
                        note_sent(&mut session.accumulators);
                        instances.push(self.session(key, session, 1));
                    }
                }
            }
            _ => unreachable!("the planner lets windows and sessions alone amend what was sent"),
        }
    }

    fn window(&self, key: &[u8], number: i64, accumulators: &[Accumulator], diff: i64) -> Instance {
        let Shape::Windows(grid) = &self.component.shape else { unreachable!("a component has one shape") };
        let bounds = [grid.start(number), grid.end(number), grid.start(number)];
        Instance { key: key.to_vec(), bounds, accumulators: accumulators.iter().cloned().collect(), diff }
    }

    fn session(&self, key: &[u8], session: &Session, diff: i64) -> Instance {
        let Shape::Sessions(rule) = &self.component.shape else { unreachable!("a component has one shape") };
        let last = Timestamp(session.last);
        let bounds = [Timestamp(session.start), last.plus_micros(rule.gap), last];
        Instance { key: key.to_vec(), bounds, accumulators: session.accumulators.clone(), diff }
    }
}

/// Tells whether the row of these accumulators, of a component that amends, has been sent.
fn was_sent(accumulators: &[Accumulator]) -> bool {
    matches!(accumulators.last(), Some(Accumulator::Count(1..)))
}

fn note_sent(accumulators: &mut [Accumulator]) {
    if let Some(Accumulator::Count(sent)) = accumulators.last_mut() {
        *sent = 1;
    }
}

fn group_instance(key: &[u8], group: &Group, diff: i64) -> Instance {
    Instance { key: key.to_vec(), bounds: [Timestamp::MIN; 3], accumulators: group.accumulators.clone(), diff }
}

/// Sessions move when an earlier event comes, and one swallows another: what is gone goes together with what has taken its place.
fn take_down_sessions(
    key: &[u8],
    before: &Sessions,
    after: &Sessions,
    retracts: bool,
    kept: &Kept,
    instances: &mut Vec<Instance>,
) {
    let unchanged = |one: &Session, among: &Sessions| among.starting_at(one.start) == Some(one);
    let gone = before.iter().filter(|old| !unchanged(old, after));
    // Both bounds may be in the view's key, so that a session that only grew may have changed its key too.
    instances.extend(gone.filter(|old| retracts || kept.moves(old, after)).map(|old| kept.session(key, old, -1)));
    instances.extend(after.iter().filter(|new| !unchanged(new, before)).map(|new| kept.session(key, new, 1)));
}

impl Kept {
    /// Tells whether the row of a session that changed has another key now, or none.
    fn moves(&self, old: &Session, after: &Sessions) -> bool {
        let Target::Rows(maker) = &self.target else { return false };
        after.starting_at(old.start).is_none() || (maker.key_may_hold_the_end() && after.starting_at(old.start) != Some(old))
    }
}

fn take_down_seen(key: &[u8], before: &Ranges, after: &Ranges, seen: &mut Vec<(Vec<u8>, i64)>) {
    after.for_each_new(before, |number| seen.push((key.to_vec(), number)));
}

fn take_down_ranks(before: &Ranking, after: &Ranking, shape: &Shape, changes: &mut Vec<RankChange>) {
    let Shape::Ranking(limit) = shape else { unreachable!("a component has one shape") };
    rank_changes(before, after, *limit, changes);
}

impl Contribution {
    /// Sums what is new to each group's windows, as partials of the group's fold.
    fn make(&self, codec: &KeyCodec, seen: &[(Vec<u8>, i64)], out: &mut Vec<(usize, Partial)>) {
        if seen.is_empty() {
            return;
        }
        let mut columns = codec.unpack(seen.iter().map(|(key, _)| &key[..]));
        let values = columns.pop().expect("invariant: the key of a distinct count ends in the value counted");
        let packed = self.codec.pack(&columns);
        let mut groups = crate::keys::Interner::default();
        let mut states: Vec<State> = Vec::new();
        for (row, (_, number)) in seen.iter().enumerate() {
            let group = groups.intern(&packed, row) as usize;
            states.resize_with(groups.len(), || self.empty.clone());
            let Slot::Windows(windows) = &mut states[group].0[self.component] else {
                unreachable!("groups of windows have windows")
            };
            // NULL makes the window known and counts nothing.
            let accumulator = &mut windows.entry(*number, &self.kinds)[self.accumulator];
            if let Accumulator::Count(count) = accumulator {
                *count += i64::from(arrow::array::Array::is_valid(&values, row));
            }
        }
        let partials = states.into_iter().enumerate().map(|(group, state)| Partial { key: groups.key(group).to_vec(), state });
        out.extend(partials.map(|partial| (self.fold, partial)));
    }
}

impl Kept {
    /// Builds what a component needs at run time.
    #[must_use]
    pub fn new(component: Component, target: Target) -> Kept {
        debug_assert!(matches!(
            (&component.role, &target),
            (Role::Rows(_), Target::Rows(_))
                | (Role::Ranks { .. }, Target::Ranks(_))
                | (Role::Contribution { .. }, Target::Group(_))
        ));
        Kept { component, target }
    }
}
