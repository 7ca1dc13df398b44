//! What is kept of one key, for all components that share it.

use freshet_model::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::accumulator::{Accumulator, Kind, merge_all};
use super::sessions::Rule;
use super::windows::Accumulators;
use super::{Grid, Ranges, Ranking, Sessions, Windows};

/// A group without a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Number of rows: a group whose rows are all gone is gone. In a part of a group's rows it may be 0, where one replaces another.
    pub rows: i64,
    /// The watermark at which the group's rows can no longer change, if there is one.
    pub until: Option<i64>,
    /// The group's accumulators, one for each aggregate.
    pub accumulators: Accumulators,
}

impl Group {
    /// Returns the group of no rows.
    #[must_use]
    pub fn empty(until: Option<i64>, kinds: &[Kind]) -> Group {
        Group { rows: 0, until, accumulators: kinds.iter().map(|&kind| Accumulator::empty(kind)).collect() }
    }
}

/// What one component keeps of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Slot {
    /// Tumbling or hopping windows.
    Windows(Windows),
    /// Windows in which the key was seen.
    Ranges(Ranges),
    /// Sessions.
    Sessions(Sessions),
    /// No window; `None` while there are no rows.
    Group(Option<Group>),
    /// Rows in an order.
    Ranking(Ranking),
}

/// What kind of slot a component has, and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// See [`Slot::Windows`].
    Windows(Grid),
    /// See [`Slot::Ranges`].
    Ranges(Grid),
    /// See [`Slot::Sessions`].
    Sessions(Rule),
    /// See [`Slot::Group`].
    Group,
    /// See [`Slot::Ranking`]; so many of its rows are shown.
    Ranking(usize),
}

impl Shape {
    /// Returns the slot of a key without events.
    #[must_use]
    pub fn empty(&self) -> Slot {
        match self {
            Shape::Windows(_) => Slot::Windows(Windows::default()),
            Shape::Ranges(_) => Slot::Ranges(Ranges::default()),
            Shape::Sessions(_) => Slot::Sessions(Sessions::default()),
            Shape::Group => Slot::Group(None),
            Shape::Ranking(_) => Slot::Ranking(Ranking::default()),
        }
    }

    /// Merges another part of the same key's events into a slot.
    ///
    /// # Panics
    /// If a slot is not of this shape: a broken plan.
    pub fn merge(&self, into: &mut Slot, from: &Slot) {
        match (self, into, from) {
            (Shape::Windows(_), Slot::Windows(into), Slot::Windows(from)) => into.merge(from),
            (Shape::Ranges(_), Slot::Ranges(into), Slot::Ranges(from)) => into.merge(from),
            (Shape::Sessions(rule), Slot::Sessions(into), Slot::Sessions(from)) => into.merge(from, *rule),
            (Shape::Group, Slot::Group(into), Slot::Group(from)) => merge_groups(into, from),
            (Shape::Ranking(_), Slot::Ranking(into), Slot::Ranking(from)) => into.merge(from),
            (shape, into, from) => panic!("invariant: the slots of {shape:?} are not {into:?} and {from:?}"),
        }
    }

    /// Returns the watermark at which something of the slot closes next.
    #[must_use]
    pub fn next_closing(&self, slot: &Slot) -> Option<Timestamp> {
        match (self, slot) {
            (Shape::Windows(grid), Slot::Windows(windows)) => windows.first().map(|number| grid.end(number)),
            (Shape::Ranges(grid), Slot::Ranges(ranges)) => ranges.first().map(|number| grid.end(number)),
            (Shape::Sessions(rule), Slot::Sessions(sessions)) => sessions.next_closing(*rule),
            (_, Slot::Group(Some(group))) => group.until.map(Timestamp),
            (_, Slot::Ranking(ranking)) if !ranking.is_empty() => ranking.until.map(Timestamp),
            _ => None,
        }
    }
}

fn merge_groups(into: &mut Option<Group>, from: &Option<Group>) {
    let Some(from) = from else { return };
    let Some(held) = into else {
        *into = Some(from.clone());
        return;
    };
    held.rows += from.rows;
    merge_all(&mut held.accumulators, &from.accumulators);
}

impl Slot {
    /// Forgets rows that are gone; to be called when the parts of an epoch are merged, and no earlier.
    pub fn settle(&mut self) {
        match self {
            Slot::Group(group) if group.as_ref().is_some_and(|group| group.rows == 0) => *group = None,
            Slot::Ranking(ranking) => ranking.settle(),
            _ => (),
        }
    }

    /// Tells whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Slot::Windows(windows) => windows.is_empty(),
            Slot::Ranges(ranges) => ranges.is_empty(),
            Slot::Sessions(sessions) => sessions.is_empty(),
            Slot::Group(group) => group.is_none(),
            Slot::Ranking(ranking) => ranking.is_empty(),
        }
    }
}

/// What is kept of one key: a slot for each component, in the components' order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State(pub SmallVec<[Slot; 1]>);

impl State {
    /// Returns the state of a key without events.
    #[must_use]
    pub fn empty<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> State {
        State(shapes.into_iter().map(Shape::empty).collect())
    }

    /// Tells whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Slot::is_empty)
    }

    /// Writes the state into `buffer` in the form in which arrangements hold it.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        bincode::serialize_into(buffer, self).expect("invariant: a state is plain data and a vector takes any length");
    }

    /// Reads a state that [`encode`](Self::encode) wrote.
    ///
    /// # Panics
    /// If the bytes are not a state: the arrangement is broken.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> State {
        bincode::deserialize(bytes).expect("invariant: an arrangement holds what encode wrote")
    }
}
