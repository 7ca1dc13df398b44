//! The rows of both sides of a join that have one key, and what new ones change of the join's result.
//!
//! The result is a function of the two sides alone: a row of one side and a row of the other are a pair if the distance of their times lies in the
//! band; an outer join has a row of its own for each row without a partner; a semi or anti join has the left rows that have a partner, or none. An
//! epoch changes the result by what it brings of the one side against the other, never by all of both:
//!
//! ```text
//!   new left × old right  +  all left × new right        pairs
//!   rows that are new or near a new row of the other     with a partner before, and now?
//! ```
//!
//! # How long rows are kept
//! A row of side `s` at time `t` may come, or go, while `t + reach[s]` is above the watermark. A left row is settled when neither it nor a right row in
//! its band may do so, and is then forgotten. Where a row shows whether it has a partner, its partners are kept until it is settled itself: if one of
//! them was forgotten before, the next one to come would seem to be the first. That is why a right row may stay for twice the band, as a
//! session does for twice its gap.

use freshet_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;

/// What a join shows of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and left rows without a partner.
    Left,
    /// Pairs, and rows of either side without a partner.
    Full,
    /// Left rows that have a partner.
    Semi,
    /// Left rows without a partner.
    Anti,
}

impl JoinKind {
    /// Tells whether rows of both sides are shown beside each other.
    #[must_use]
    pub fn has_pairs(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Left | JoinKind::Full)
    }

    /// Tells for a side whether its rows are shown by themselves: with `true` those that have a partner, with `false` those that have none.
    #[must_use]
    pub fn shows(self, side: usize) -> Option<bool> {
        match (self, side) {
            (JoinKind::Left | JoinKind::Full | JoinKind::Anti, 0) | (JoinKind::Full, 1) => Some(false),
            (JoinKind::Semi, 0) => Some(true),
            _ => None,
        }
    }
}

/// How rows of one key are joined. In microseconds; sides are 0 on the left and 1 on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinRule {
    /// What is shown.
    pub kind: JoinKind,
    /// The least and the greatest distance of a right row's time from the left one's.
    pub band: (i64, i64),
    /// For each side how long after its time a row may still come or go; `None` if rows may do so at any time, and nothing is ever forgotten.
    pub reach: Option<[i64; 2]>,
}

impl JoinRule {
    /// Returns the times that partners of a row have.
    fn partners_of(self, side: usize, time: i64) -> (i64, i64) {
        let (low, high) = self.band;
        match side {
            0 => (time.saturating_add(low), time.saturating_add(high)),
            _ => (time.saturating_sub(high), time.saturating_sub(low)),
        }
    }

    /// Returns how long after its time a row is settled: neither it nor a partner of it can come or go any more.
    #[must_use]
    pub fn settled_after(self, side: usize) -> Option<i64> {
        let reach = self.reach?;
        let farthest = if side == 0 { self.band.1 } else { self.band.0.saturating_neg() };
        Some(reach[side].max(farthest.saturating_add(reach[1 - side])))
    }

    /// Returns how long after its time a row is needed.
    #[must_use]
    pub fn kept_for(self, side: usize) -> Option<i64> {
        let settled = self.settled_after(side)?;
        if self.kind.shows(1 - side).is_none() {
            return Some(settled);
        }
        let nearest = if side == 0 { self.band.1 } else { self.band.0.saturating_neg() };
        Some(settled.max(nearest.saturating_add(self.settled_after(1 - side)?)))
    }

    /// Returns the watermark at which a row is forgotten. Rows that lie close together are forgotten together, a little later than they might be.
    fn closing(self, side: usize, time: i64) -> Option<Timestamp> {
        let kept = self.kept_for(side)?;
        let step = (kept / 8).max(1);
        let end = time.saturating_add(kept);
        Some(Timestamp(if end == i64::MAX { end } else { end.div_euclid(step).saturating_add(1).saturating_mul(step) }))
    }
}

/// Equal rows of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRow {
    /// The time that the band goes by; 0 where there is none.
    pub time: i64,
    /// Whether the row can have no partner: one of its keys is NULL.
    pub lone: bool,
    /// The packed columns.
    pub row: Bytes,
    /// How many there are.
    pub weight: i64,
}

impl JoinRow {
    fn place(&self) -> (i64, bool, &[u8]) {
        (self.time, self.lone, &self.row)
    }
}

/// The rows of both sides that have one key: sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    sides: [Vec<JoinRow>; 2],
}

/// A row of the result, by the packed rows of both sides, and how many more there are of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The packed rows: `None` where a side has no part in it.
    pub sides: [Option<Bytes>; 2],
    /// Below zero for rows that are gone.
    pub diff: i64,
}

impl Joined {
    /// Adds a row to one side, without putting it in its place.
    pub fn push(&mut self, side: usize, row: JoinRow) {
        self.sides[side].push(row);
    }

    /// Puts pushed rows into their places.
    pub fn sort(&mut self) {
        self.sides.iter_mut().for_each(add_up);
    }

    /// Adds the rows of another part of the key's rows.
    pub fn merge(&mut self, other: &Joined) {
        for (into, from) in self.sides.iter_mut().zip(&other.sides) {
            let is_behind = |(last, first): (&JoinRow, &JoinRow)| last.place() < first.place();
            let are_apart = into.last().zip(from.first()).is_none_or(is_behind);
            into.extend(from.iter().cloned());
            // Most of what comes lies behind all that is there.
            if !are_apart {
                add_up(into);
            }
        }
    }

    /// Reports what `brought` changes of the result, `before` and `self` being the rows without and with it.
    pub fn changes(&self, before: &Joined, brought: &Joined, rule: JoinRule, pairs: &mut Vec<Pair>) {
        let begin = pairs.len();
        if rule.kind.has_pairs() {
            add_pairs(&brought.sides[0], 0, &before.sides[1], rule, pairs);
            add_pairs(&brought.sides[1], 1, &self.sides[0], rule, pairs);
        }
        for side in [0, 1] {
            if let Some(with_partner) = rule.kind.shows(side) {
                self.add_shown(side, with_partner, (before, brought), rule, pairs);
            }
        }
        net(pairs, begin);
    }

    /// Reports the rows of one side that are shown by themselves now, or were, and no longer or not yet as often.
    fn add_shown(
        &self,
        side: usize,
        with_partner: bool,
        (before, brought): (&Joined, &Joined),
        rule: JoinRule,
        pairs: &mut Vec<Pair>,
    ) {
        let near = brought.sides[1 - side].iter().filter(|row| !row.lone).flat_map(|row| {
            let (low, high) = rule.partners_of(1 - side, row.time);
            between(&self.sides[side], low, high)
        });
        let mut touched: Vec<&JoinRow> = brought.sides[side].iter().chain(near).collect();
        touched.sort_unstable_by(|one, other| one.place().cmp(&other.place()));
        touched.dedup_by(|one, other| one.place() == other.place());
        for row in touched {
            let times_shown = |state: &Joined| {
                if state.has_partner(side, row, rule) == with_partner { state.weight(side, row) } else { 0 }
            };
            let diff = times_shown(self) - times_shown(before);
            if diff != 0 {
                let mut sides = [None, None];
                sides[side] = Some(row.row.clone());
                pairs.push(Pair { sides, diff });
            }
        }
    }

    fn has_partner(&self, side: usize, row: &JoinRow, rule: JoinRule) -> bool {
        let (low, high) = rule.partners_of(side, row.time);
        !row.lone && between(&self.sides[1 - side], low, high).any(|partner| !partner.lone)
    }

    fn weight(&self, side: usize, row: &JoinRow) -> i64 {
        let rows = &self.sides[side];
        rows.binary_search_by(|held| held.place().cmp(&row.place())).map_or(0, |at| rows[at].weight)
    }

    /// Forgets the rows that the watermark has settled.
    pub fn retire(&mut self, watermark: Timestamp, rule: JoinRule) {
        for (side, rows) in self.sides.iter_mut().enumerate() {
            // Later rows close later.
            let closed = rows.partition_point(|row| rule.closing(side, row.time).is_some_and(|closing| closing <= watermark));
            rows.drain(..closed);
        }
    }

    /// Returns the watermark at which a row is forgotten next.
    #[must_use]
    pub fn next_closing(&self, rule: JoinRule) -> Option<Timestamp> {
        let first = |side: usize| self.sides[side].first().and_then(|row| rule.closing(side, row.time));
        first(0).into_iter().chain(first(1)).min()
    }

    /// Tells whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sides.iter().all(Vec::is_empty)
    }
}

/// Sorts rows and adds up equal ones.
fn add_up(rows: &mut Vec<JoinRow>) {
    rows.sort_by(|one, other| one.place().cmp(&other.place()));
    rows.dedup_by(|next, kept| {
        let is_same = next.place() == kept.place();
        kept.weight += if is_same { next.weight } else { 0 };
        is_same
    });
    rows.retain(|row| row.weight != 0);
}

/// Nets the pairs from `begin` on: where rows of both sides are replaced at once, the new one of the one side has met the old one of the other
/// only in passing.
fn net(pairs: &mut Vec<Pair>, begin: usize) {
    if pairs[begin..].iter().all(|pair| pair.diff > 0) {
        return;
    }
    let mut own = pairs.split_off(begin);
    own.sort_unstable();
    own.dedup_by(|next, kept| {
        let is_same = next.sides == kept.sides;
        kept.diff += if is_same { next.diff } else { 0 };
        is_same
    });
    pairs.extend(own.into_iter().filter(|pair| pair.diff != 0));
}

/// Returns the rows whose times lie in `[low, high]`.
fn between(rows: &[JoinRow], low: i64, high: i64) -> std::slice::Iter<'_, JoinRow> {
    let start = rows.partition_point(|row| row.time < low);
    let length = rows[start..].partition_point(|row| row.time <= high);
    rows[start..start + length].iter()
}

/// Adds the pairs that `rows` of one side have with `others` of the other.
fn add_pairs(rows: &[JoinRow], side: usize, others: &[JoinRow], rule: JoinRule, pairs: &mut Vec<Pair>) {
    for row in rows.iter().filter(|row| !row.lone) {
        let (low, high) = rule.partners_of(side, row.time);
        for other in between(others, low, high).filter(|other| !other.lone) {
            let mut sides = [Some(row.row.clone()), Some(other.row.clone())];
            if side == 1 {
                sides.swap(0, 1);
            }
            pairs.push(Pair { sides, diff: row.weight * other.weight });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KINDS: [JoinKind; 5] = [JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi, JoinKind::Anti];

    /// A row by side, time, whether it has a NULL key, and a number.
    type Plain = (usize, i64, bool, u8);
    type Result = BTreeMap<[Option<u8>; 2], i64>;

    fn joined(rows: &[(Plain, i64)]) -> Joined {
        let mut joined = Joined::default();
        for &((side, time, lone, number), weight) in rows {
            joined.push(side, JoinRow { time, lone, row: Bytes::from(&[number][..]), weight });
        }
        joined.sort();
        joined
    }

    /// The result by a nested loop over all rows.
    fn nested_loop(rows: &[Plain], rule: JoinRule) -> Result {
        let mut result = Result::new();
        let is_pair = |l: &Plain, r: &Plain| {
            let distance = r.1 - l.1;
            l.0 == 0 && r.0 == 1 && !l.2 && !r.2 && rule.band.0 <= distance && distance <= rule.band.1
        };
        for row in rows {
            let mut partners = rows.iter().filter(|other| is_pair(row, other) || is_pair(other, row)).peekable();
            let has_partner = partners.peek().is_some();
            let alone = if row.0 == 0 { [Some(row.3), None] } else { [None, Some(row.3)] };
            if rule.kind.shows(row.0) == Some(has_partner) {
                *result.entry(alone).or_default() += 1;
            }
            if row.0 == 0 && rule.kind.has_pairs() {
                partners.for_each(|other| *result.entry([Some(row.3), Some(other.3)]).or_default() += 1);
            }
        }
        result
    }

    fn apply(result: &mut Result, pairs: &[Pair]) {
        for pair in pairs {
            let number = |side: usize| pair.sides[side].as_ref().map(|row| row[0]);
            *result.entry([number(0), number(1)]).or_default() += pair.diff;
        }
        result.retain(|_, count| *count != 0);
    }

    fn step(state: &mut Joined, brought: &Joined, rule: JoinRule, result: &mut Result) {
        let before = state.clone();
        state.merge(brought);
        let mut pairs = Vec::new();
        state.changes(&before, brought, rule, &mut pairs);
        if pairs.iter().any(|pair| pair.diff < 0) {
            let mut rows: Vec<_> = pairs.iter().map(|pair| &pair.sides).collect();
            rows.sort_unstable();
            assert!(rows.windows(2).all(|two| two[0] != two[1]), "no row comes and goes at once: {pairs:?}");
        }
        apply(result, &pairs);
    }

    fn rows() -> impl Strategy<Value = Vec<Plain>> {
        prop::collection::vec((0usize..2, -20i64..20, prop::bool::weighted(0.1), 0u8..4), 0..24)
    }

    proptest! {
        #[test]
        fn rows_that_come_and_go_in_any_order_give_what_a_nested_loop_gives(
            come in rows(), go in prop::collection::vec(any::<prop::sample::Index>(), 0..8), parts in 1usize..6, low in -6i64..4, length in 0i64..9, kind in 0usize..5,
        ) {
            let rule = JoinRule { kind: KINDS[kind], band: (low, low + length), reach: None };
            let mut left = come.clone();
            let mut updates: Vec<(Plain, i64)> = come.iter().map(|row| (*row, 1)).collect();
            for index in go.iter().take(come.len()) {
                let gone = left.remove(index.index(left.len()));
                updates.push((gone, -1));
            }
            let (mut state, mut result) = (Joined::default(), Result::new());
            for part in updates.chunks(updates.len().div_ceil(parts).max(1)) {
                step(&mut state, &joined(part), rule, &mut result);
            }
            prop_assert_eq!(&result, &nested_loop(&left, rule));
            prop_assert_eq!(state, joined(&left.iter().map(|row| (*row, 1)).collect::<Vec<_>>()));
        }

        #[test]
        fn forgetting_settled_rows_changes_nothing(
            steps in prop::collection::vec((rows(), 0i64..12), 1..8), low in -6i64..4, length in 0i64..9, kind in 0usize..5, reach in [0i64..9, 0i64..9],
        ) {
            let rule = JoinRule { kind: KINDS[kind], band: (low, low + length), reach: Some(reach) };
            let mut watermark = -30;
            let (mut state, mut result, mut taken) = (Joined::default(), Result::new(), Vec::new());
            for (rows, advance) in steps {
                let admitted: Vec<Plain> = rows.into_iter().filter(|row| row.1 + reach[row.0] > watermark).collect();
                step(&mut state, &joined(&admitted.iter().map(|row| (*row, 1)).collect::<Vec<_>>()), rule, &mut result);
                taken.extend(admitted);
                watermark += advance;
                state.retire(Timestamp(watermark), rule);
                let is_kept = |closing: Timestamp| closing > Timestamp(watermark);
                prop_assert!(state.next_closing(rule).is_none_or(is_kept));
                prop_assert_eq!(&result, &nested_loop(&taken, rule));
            }
            state.retire(Timestamp::MAX, rule);
            prop_assert!(state.is_empty());
        }
    }

    #[test]
    fn rows_are_kept_for_as_long_as_a_partner_may_come() {
        // The right row comes at most an hour after the left one, and neither more than that late.
        let rule = |kind| JoinRule { kind, band: (0, 60), reach: Some([60, 0]) };
        assert_eq!([0, 1].map(|side| rule(JoinKind::Inner).kept_for(side)), [Some(60), Some(60)]);
        assert_eq!([0, 1].map(|side| rule(JoinKind::Left).kept_for(side)), [Some(60), Some(60)]);
        assert_eq!([0, 1].map(|side| rule(JoinKind::Full).kept_for(side)), [Some(120), Some(60)]);
        let both = |kind| JoinRule { kind, band: (-60, 60), reach: Some([60, 60]) };
        assert_eq!([0, 1].map(|side| both(JoinKind::Inner).kept_for(side)), [Some(120), Some(120)]);
        assert_eq!([0, 1].map(|side| both(JoinKind::Left).kept_for(side)), [Some(120), Some(180)]);
        assert_eq!(JoinRule { reach: None, ..rule(JoinKind::Inner) }.kept_for(0), None);
    }
}
