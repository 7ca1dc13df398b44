//! The first values of a group in their order, for lists: all of them up to a bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Value;

/// Which values a list takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Choice {
    /// At most so many.
    pub most: u32,
    /// The greatest instead of the least.
    pub greatest: bool,
    /// Each value once.
    pub distinct: bool,
}

/// The first values of append-only rows with their multiplicities, and one more if there is one, which tells that there were more.
///
/// A value that falls out can never come back, since values are only added: what is kept is a function of all values that were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Few {
    choice: Choice,
    /// The sum of the multiplicities.
    count: i64,
    values: BTreeMap<Value, i64>,
}

impl Few {
    /// Returns the list of no values.
    #[must_use]
    pub fn empty(choice: Choice) -> Few {
        Few { choice, count: 0, values: BTreeMap::new() }
    }

    /// Adds a value `weight` times; the weight is positive.
    pub fn add(&mut self, value: &Value, weight: i64) {
        let is_full = self.count > i64::from(self.choice.most);
        let outermost = if self.choice.greatest { self.values.first_key_value() } else { self.values.last_key_value() };
        let is_outside = outermost.is_some_and(|(last, _)| if self.choice.greatest { value < last } else { value > last });
        if is_full && is_outside {
            return;
        }
        match self.values.get_mut(value) {
            Some(_) if self.choice.distinct => return,
            Some(held) => *held += weight,
            None => {
                self.values.insert(value.clone(), if self.choice.distinct { 1 } else { weight });
            }
        }
        self.count += if self.choice.distinct { 1 } else { weight };
        self.trim();
    }

    /// Adds all values of another part of the group.
    pub fn merge(&mut self, other: &Few) {
        other.values.iter().for_each(|(value, weight)| self.add(value, *weight));
    }

    /// Returns the values with their multiplicities, ascending.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<Value, i64> {
        &self.values
    }

    /// Drops what lies beyond the bound and the one after it.
    fn trim(&mut self) {
        let mut excess = self.count - i64::from(self.choice.most) - 1;
        while excess > 0 {
            let outermost = if self.choice.greatest { self.values.first_entry() } else { self.values.last_entry() };
            let Some(mut outermost) = outermost else { return };
            let dropped = excess.min(*outermost.get());
            *outermost.get_mut() -= dropped;
            if *outermost.get() == 0 {
                outermost.remove();
            }
            self.count -= dropped;
            excess -= dropped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(choice: Choice, values: &[i64]) -> Few {
        let mut few = Few::empty(choice);
        values.iter().for_each(|&value| few.add(&Value::Integer(value), 1));
        few
    }

    /// Sorts all values and takes the first ones and one more.
    fn oracle(choice: Choice, values: &[i64]) -> Vec<i64> {
        let mut values = values.to_vec();
        values.sort_unstable();
        if choice.greatest {
            values.reverse();
        }
        if choice.distinct {
            values.dedup();
        }
        values.truncate(choice.most as usize + 1);
        values.sort_unstable();
        values
    }

    fn listed(few: &Few) -> Vec<i64> {
        let repeated = |(value, weight): (&Value, &i64)| {
            let Value::Integer(value) = value else { unreachable!("the tests' values are integers") };
            vec![*value; usize::try_from(*weight).expect("positive")]
        };
        few.values().iter().flat_map(repeated).collect()
    }

    proptest! {
        #[test]
        fn the_first_values_are_kept_whatever_their_order(
            values in prop::collection::vec(0i64..12, 0..40),
            split in 0usize..40,
            (most, greatest, distinct) in (1u32..8, any::<bool>(), any::<bool>()),
        ) {
            let choice = Choice { most, greatest, distinct };
            let whole = of(choice, &values);
            prop_assert_eq!(listed(&whole), oracle(choice, &values));
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(choice, right);
            merged.merge(&of(choice, left));
            prop_assert_eq!(merged, whole);
        }
    }
}
