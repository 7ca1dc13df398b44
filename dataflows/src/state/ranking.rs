//! The rows of one partition in an order of their own, of which a view shows the first ones.
//!
//! All rows are kept, since those that are shown may go. Rows that are equal in the order stand in the order of their packed bytes, so that the
//! ranks do not depend on arrival.

use serde::{Deserialize, Serialize};

/// A row and how often it is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ranked {
    /// What the row is ordered by, in bytes that compare as the order says.
    pub order: Vec<u8>,
    /// The packed row.
    pub row: Vec<u8>,
    /// How often; in a part of the rows it may be negative.
    pub weight: i64,
}

impl Ranked {
    fn place(&self) -> (&[u8], &[u8]) {
        (&self.order, &self.row)
    }
}

/// The rows of one partition, ascending, each once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The watermark at which the rows can no longer change, if there is one.
    pub until: Option<i64>,
    rows: Vec<Ranked>,
}

impl Ranking {
    /// Returns the ranking of no rows.
    #[must_use]
    pub fn empty(until: Option<i64>) -> Ranking {
        Ranking { until, rows: Vec::new() }
    }

    /// Takes in a row `ranked.weight` times.
    pub fn add(&mut self, ranked: Ranked) {
        match self.rows.binary_search_by(|held| held.place().cmp(&ranked.place())) {
            Ok(at) => self.rows[at].weight += ranked.weight,
            Err(at) => self.rows.insert(at, ranked),
        }
    }

    /// Takes in another part of the partition's rows.
    pub fn merge(&mut self, other: &Ranking) {
        let mut merged = Vec::with_capacity(self.rows.len() + other.rows.len());
        let (mut held, mut brought) = (std::mem::take(&mut self.rows).into_iter().peekable(), other.rows.iter().peekable());
        while let (Some(one), Some(two)) = (held.peek(), brought.peek()) {
            let order = one.place().cmp(&two.place());
            let mut next = if order.is_le() { held.next() } else { brought.next().cloned() };
            if order.is_eq()
                && let (Some(row), Some(same)) = (&mut next, brought.next())
            {
                row.weight += same.weight;
            }
            merged.extend(next);
        }
        merged.extend(held);
        merged.extend(brought.cloned());
        self.rows = merged;
        self.until = self.until.or(other.until);
    }

    /// Forgets the rows that are gone; to be called when the parts of an epoch are merged, and no earlier.
    pub fn settle(&mut self) {
        self.rows.retain(|ranked| ranked.weight != 0);
    }

    /// Iterates over the first `limit` rows; a row that is there twice has two ranks.
    pub fn first(&self, limit: usize) -> impl Iterator<Item = &[u8]> {
        let times = move |ranked: &Ranked| usize::try_from(ranked.weight).unwrap_or(0).min(limit);
        self.rows.iter().flat_map(move |ranked| std::iter::repeat_n(&ranked.row[..], times(ranked))).take(limit)
    }

    /// Tells whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A row that has a rank now, or has it no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankChange {
    /// The packed row.
    pub row: Vec<u8>,
    /// Its rank, from 1.
    pub rank: i64,
    /// 1 or -1.
    pub diff: i64,
}

/// Takes down the ranks up to `limit` at which another row stands than before.
pub fn rank_changes(before: &Ranking, after: &Ranking, limit: usize, changes: &mut Vec<RankChange>) {
    let (mut was, mut is) = (before.first(limit), after.first(limit));
    for rank in 1.. {
        let (old, new) = (was.next(), is.next());
        if old.is_none() && new.is_none() {
            return;
        }
        if old == new {
            continue;
        }
        let change = |row: &[u8], diff| RankChange { row: row.to_vec(), rank, diff };
        changes.extend(old.map(|row| change(row, -1)));
        changes.extend(new.map(|row| change(row, 1)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    /// Rows as order, row and weight.
    type Rows = Vec<(u8, u8, i64)>;

    fn ranking(rows: &[(u8, u8, i64)]) -> Ranking {
        let mut ranking = Ranking::default();
        rows.iter().for_each(|&(order, row, weight)| ranking.add(Ranked { order: vec![order], row: vec![row], weight }));
        ranking
    }

    fn rows(least: i64) -> impl Strategy<Value = Rows> {
        prop::collection::vec((0u8..4, 0u8..4, least..3), 0..12)
    }

    /// The first rows by sorting them all.
    fn first(rows: &Rows, limit: usize) -> Vec<u8> {
        let mut all: Vec<(u8, u8)> = rows.iter().flat_map(|&(o, r, w)| (0..w).map(move |_| (o, r))).collect();
        all.sort_unstable();
        all.into_iter().take(limit).map(|(_, row)| row).collect()
    }

    proptest! {
        #[test]
        fn parts_merged_in_any_order_give_the_rows_sorted(one in rows(0), two in rows(0), limit in 0usize..6) {
            let (mut ab, mut ba) = (ranking(&one), ranking(&two));
            ab.merge(&ranking(&two));
            ba.merge(&ranking(&one));
            ab.settle();
            ba.settle();
            prop_assert_eq!(&ab, &ba);
            let expected = first(&[one, two].concat(), limit);
            prop_assert_eq!(ab.first(limit).map(|row| row[0]).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn the_changes_of_ranks_lead_from_before_to_after(before in rows(0), brought in rows(0), limit in 0usize..6) {
            let (old, mut new) = (ranking(&before), ranking(&before));
            // Some of what was there goes, what was brought comes.
            let gone: Rows = before.iter().step_by(2).map(|&(o, r, w)| (o, r, -w)).collect();
            new.merge(&ranking(&gone));
            new.merge(&ranking(&brought));
            new.settle();
            let mut changes = Vec::new();
            rank_changes(&old, &new, limit, &mut changes);
            let mut shown: BTreeMap<i64, Vec<u8>> = (1..).zip(old.first(limit).map(<[u8]>::to_vec)).collect();
            for change in &changes {
                match change.diff {
                    -1 => prop_assert_eq!(shown.remove(&change.rank), Some(change.row.clone())),
                    _ => prop_assert_eq!(shown.insert(change.rank, change.row.clone()), None),
                }
            }
            let expected: BTreeMap<i64, Vec<u8>> = (1..).zip(new.first(limit).map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(shown, expected);
        }
    }
}
