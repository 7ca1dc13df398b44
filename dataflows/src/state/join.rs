//! The rows of both sides of a join that have one key, and what new ones change of the join's result.
//!
//! The result is a function of the two sides alone: a row of one side and a row of the other are a pair if the distance of their times lies in the
//! band; an outer join has a row of its own for each row without a partner; a semi or anti join has the left rows that have a partner, or none. An
//! epoch changes the result by what it brings of the one side against the other, never by all of both:
//!
//! ```text
//!   new left × old right  +  old left × new right  +  new left × new right      pairs
//!   rows that are new or near a new row of the other                            with a partner before, and now?
//! ```
//!
//! # How long rows are kept
//! A row of side `s` at time `t` may come, or go, while `t + reach[s]` is above the watermark. A left row is settled when neither it nor a right row in
//! its band may do so, and is then forgotten. Where a row shows whether it has a partner, its partners are kept until it is settled itself: if one of
//! them was forgotten before, the next one to come would seem to be the first. That is why a right row may stay for twice the band, as a
//! session does for twice its gap.

use freshet_model::Timestamp;

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

    /// Returns the watermark from which on a row is not needed any more.
    #[must_use]
    pub fn deadline(self, side: usize, time: i64) -> Timestamp {
        Timestamp(self.kept_for(side).map_or(i64::MAX, |kept| time.saturating_add(kept)))
    }
}

/// Equal rows of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinRow<'a> {
    /// The time that the band goes by; 0 where there is none.
    pub time: i64,
    /// Whether the row can have no partner: one of its keys is NULL.
    pub lone: bool,
    /// The packed columns.
    pub row: &'a [u8],
    /// How many there are, or how many more.
    pub weight: i64,
}

impl<'a> JoinRow<'a> {
    fn place(&self) -> (i64, bool, &'a [u8]) {
        (self.time, self.lone, self.row)
    }
}

/// Rows of both sides that have one key: in the order of times, and each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined<'a> {
    /// The rows of the left side, and of the right one.
    pub sides: [Vec<JoinRow<'a>>; 2],
}

/// A row of the result, by the packed rows of both sides, and how many more there are of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair<'a> {
    /// The packed rows: `None` where a side has no part in it.
    pub sides: [Option<&'a [u8]>; 2],
    /// Below zero for rows that are gone.
    pub diff: i64,
}

impl<'a> Joined<'a> {
    /// Takes all rows out.
    pub fn clear(&mut self) {
        self.sides.iter_mut().for_each(Vec::clear);
    }

    /// Returns the rows of both.
    #[must_use]
    pub fn with(&self, brought: &Joined<'a>) -> Joined<'a> {
        let both = |side: usize| add_up([&self.sides[side][..], &brought.sides[side]].concat());
        Joined { sides: [both(0), both(1)] }
    }

    /// Reports what `brought` changes of the result of these rows, which for pairs need be no more than those in the [reach](Joined::near) of what is brought.
    pub fn changes(&self, brought: &Joined<'a>, rule: JoinRule, pairs: &mut Vec<Pair<'a>>) {
        let begin = pairs.len();
        if rule.kind.has_pairs() {
            add_pairs(&brought.sides[0], 0, &self.sides[1], rule, pairs);
            add_pairs(&brought.sides[1], 1, &self.sides[0], rule, pairs);
            add_pairs(&brought.sides[0], 0, &brought.sides[1], rule, pairs);
        }
        if rule.kind != JoinKind::Inner {
            let after = self.with(brought);
            for side in [0, 1] {
                if let Some(with_partner) = rule.kind.shows(side) {
                    after.add_shown(side, with_partner, (self, brought), rule, pairs);
                }
            }
        }
        net(pairs, begin);
    }

    /// Returns the least and the greatest time that partners of these rows of a side may have; `None` if they can have none.
    #[must_use]
    pub fn near(&self, side: usize, rule: JoinRule) -> Option<(i64, i64)> {
        let mut rows = self.sides[side].iter().filter(|row| !row.lone).map(|row| row.time);
        let first = rows.next()?;
        Some((rule.partners_of(side, first).0, rule.partners_of(side, rows.next_back().unwrap_or(first)).1))
    }

    /// Reports the rows of one side that are shown by themselves now, or were, and no longer or not yet as often.
    fn add_shown(
        &self,
        side: usize,
        with_partner: bool,
        (before, brought): (&Joined<'a>, &Joined<'a>),
        rule: JoinRule,
        pairs: &mut Vec<Pair<'a>>,
    ) {
        let near = brought.sides[1 - side].iter().filter(|row| !row.lone).flat_map(|row| {
            let (low, high) = rule.partners_of(1 - side, row.time);
            between(&self.sides[side], low, high)
        });
        let mut touched: Vec<&JoinRow<'a>> = brought.sides[side].iter().chain(near).collect();
        touched.sort_unstable_by_key(|row| row.place());
        touched.dedup_by_key(|row| row.place());
        for row in touched {
            let times_shown = |state: &Joined<'_>| {
                if state.has_partner(side, row, rule) == with_partner { state.weight(side, row) } else { 0 }
            };
            let diff = times_shown(self) - times_shown(before);
            if diff != 0 {
                let mut sides = [None, None];
                sides[side] = Some(row.row);
                pairs.push(Pair { sides, diff });
            }
        }
    }

    fn has_partner(&self, side: usize, row: &JoinRow<'_>, rule: JoinRule) -> bool {
        let (low, high) = rule.partners_of(side, row.time);
        !row.lone && between(&self.sides[1 - side], low, high).any(|partner| !partner.lone)
    }

    fn weight(&self, side: usize, row: &JoinRow<'_>) -> i64 {
        let rows = &self.sides[side];
        rows.binary_search_by(|held| held.place().cmp(&row.place())).map_or(0, |at| rows[at].weight)
    }
}

/// Sorts rows and adds up equal ones.
fn add_up(mut rows: Vec<JoinRow<'_>>) -> Vec<JoinRow<'_>> {
    // Two runs that are sorted each, which this sort finds.
    rows.sort_by(|one, other| one.place().cmp(&other.place()));
    rows.dedup_by(|next, kept| {
        let is_same = next.place() == kept.place();
        kept.weight += if is_same { next.weight } else { 0 };
        is_same
    });
    rows.retain(|row| row.weight != 0);
    rows
}

/// Nets the pairs from `begin` on: where rows of both sides are replaced at once, the new one of the one side has met the old one of the other
/// only in passing.
fn net(pairs: &mut Vec<Pair<'_>>, begin: usize) {
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
fn between<'r, 'a>(rows: &'r [JoinRow<'a>], low: i64, high: i64) -> std::slice::Iter<'r, JoinRow<'a>> {
    let start = rows.partition_point(|row| row.time < low);
    let length = rows[start..].partition_point(|row| row.time <= high);
    rows[start..start + length].iter()
}

/// Adds the pairs that `rows` of one side have with `others` of the other.
fn add_pairs<'a>(rows: &[JoinRow<'a>], side: usize, others: &[JoinRow<'a>], rule: JoinRule, pairs: &mut Vec<Pair<'a>>) {
    if others.is_empty() {
        return;
    }
    for row in rows.iter().filter(|row| !row.lone) {
        let (low, high) = rule.partners_of(side, row.time);
        for other in between(others, low, high).filter(|other| !other.lone) {
            let mut sides = [Some(row.row), Some(other.row)];
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

    /// Bytes that live as long as the tests.
    static NUMBERS: [u8; 4] = [0, 1, 2, 3];

    fn joined(rows: &[(Plain, i64)]) -> Joined<'static> {
        let mut joined = Joined::default();
        for &((side, time, lone, number), weight) in rows {
            let row = std::slice::from_ref(&NUMBERS[usize::from(number)]);
            joined.sides[side].push(JoinRow { time, lone, row, weight });
        }
        Joined { sides: joined.sides.map(add_up) }
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

    fn apply(result: &mut Result, pairs: &[Pair<'_>]) {
        for pair in pairs {
            let number = |side: usize| pair.sides[side].map(|row| row[0]);
            *result.entry([number(0), number(1)]).or_default() += pair.diff;
        }
        result.retain(|_, count| *count != 0);
    }

    /// The rows that pairs with what is brought can be made of.
    fn within_reach(state: &Joined<'static>, brought: &Joined<'static>, rule: JoinRule) -> Joined<'static> {
        let side = |side: usize| match brought.near(1 - side, rule) {
            Some((low, high)) => between(&state.sides[side], low, high).copied().collect(),
            None => Vec::new(),
        };
        Joined { sides: [side(0), side(1)] }
    }

    fn step(state: &mut Joined<'static>, brought: &Joined<'static>, rule: JoinRule, result: &mut Result) {
        let mut pairs = Vec::new();
        let near = if rule.kind == JoinKind::Inner { within_reach(state, brought, rule) } else { state.clone() };
        near.changes(brought, rule, &mut pairs);
        *state = state.with(brought);
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
        fn forgetting_some_of_the_settled_rows_changes_nothing(
            steps in prop::collection::vec((rows(), 0i64..12, 0i64..4), 1..8), low in -6i64..4, length in 0i64..9, kind in 0usize..5, reach in [0i64..9, 0i64..9],
        ) {
            let rule = JoinRule { kind: KINDS[kind], band: (low, low + length), reach: Some(reach) };
            let mut watermark = -30;
            let (mut state, mut result, mut taken) = (Joined::default(), Result::new(), Vec::new());
            for (rows, advance, lag) in steps {
                let admitted: Vec<Plain> = rows.into_iter().filter(|row| row.1 + reach[row.0] > watermark).collect();
                step(&mut state, &joined(&admitted.iter().map(|row| (*row, 1)).collect::<Vec<_>>()), rule, &mut result);
                taken.extend(admitted);
                watermark += advance;
                for (side, rows) in state.sides.iter_mut().enumerate() {
                    rows.retain(|row| rule.deadline(side, row.time) > Timestamp(watermark - lag * i64::from(row.row[0])));
                }
                prop_assert_eq!(&result, &nested_loop(&taken, rule));
            }
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
