//! Sets of windows, as ranges of their numbers: in which windows has a key been seen?
//!
//! A key's open windows are few and neighbouring, so that one range, rarely two, holds them, however many windows overlap.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// A set of window numbers: disjoint, non-adjacent, ascending half-open ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges(SmallVec<[(i64, i64); 1]>);

impl Ranges {
    /// Adds the numbers `[low, high)`.
    pub fn insert(&mut self, low: i64, high: i64) {
        if low >= high || self.0.last().is_some_and(|last| last.0 <= low && high <= last.1) {
            return;
        }
        let first = self.0.partition_point(|range| range.1 < low);
        let end = self.0.partition_point(|range| range.0 <= high);
        if first == end {
            self.0.insert(first, (low, high));
        } else {
            self.0[first] = (self.0[first].0.min(low), self.0[end - 1].1.max(high));
            self.0.drain(first + 1..end);
        }
    }

    /// Adds all numbers of another set.
    pub fn merge(&mut self, other: &Ranges) {
        other.0.iter().for_each(|&(low, high)| self.insert(low, high));
    }

    /// Removes all numbers below `low`.
    pub fn retire(&mut self, low: i64) {
        self.0.retain(|range| range.1 > low);
        if let Some(range) = self.0.first_mut() {
            range.0 = range.0.max(low);
        }
    }

    /// Returns the least number.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        self.0.first().map(|range| range.0)
    }

    /// Tells whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `found` with each number that is in `self` and not in `old`.
    pub fn for_each_new(&self, old: &Ranges, mut found: impl FnMut(i64)) {
        let mut known = old.0.iter().peekable();
        for &(low, high) in &self.0 {
            let mut number = low;
            while number < high {
                match known.peek() {
                    Some(range) if range.1 <= number => {
                        known.next();
                    }
                    Some(range) if range.0 <= number => number = range.1,
                    _ => {
                        found(number);
                        number += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set_of(parts: &[(i64, i64)]) -> (Ranges, BTreeSet<i64>) {
        let mut ranges = Ranges::default();
        parts.iter().for_each(|&(low, length)| ranges.insert(low, low + length));
        (ranges, parts.iter().flat_map(|&(low, length)| low..low + length).collect())
    }

    fn numbers(ranges: &Ranges) -> Vec<i64> {
        let mut found = Vec::new();
        ranges.for_each_new(&Ranges::default(), |number| found.push(number));
        found
    }

    proptest! {
        #[test]
        fn behave_as_a_set(a in prop::collection::vec((-20i64..20, 0i64..6), 0..8), b in prop::collection::vec((-20i64..20, 0i64..6), 0..8), cut in -25i64..25) {
            let ((mut ranges, set), (other, other_set)) = (set_of(&a), set_of(&b));
            prop_assert_eq!(numbers(&ranges), set.iter().copied().collect::<Vec<_>>());
            let mut new = Vec::new();
            ranges.for_each_new(&other, |number| new.push(number));
            prop_assert_eq!(new, set.difference(&other_set).copied().collect::<Vec<_>>());
            ranges.merge(&other);
            ranges.retire(cut);
            let expected: Vec<i64> = set.union(&other_set).copied().filter(|&number| number >= cut).collect();
            prop_assert_eq!(ranges.first(), expected.first().copied());
            prop_assert_eq!(numbers(&ranges), expected);
        }
    }
}
