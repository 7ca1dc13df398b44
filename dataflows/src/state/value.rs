//! A single SQL value with a total order, for minima, maxima and sets.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A value. Those of one column are all of one variant, or NULL where a function keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Value {
    /// A boolean.
    Boolean(bool),
    /// An integer, or a timestamp in microseconds.
    Integer(i64),
    /// A decimal's unscaled digits.
    Decimal(Wide),
    /// A float.
    Float(f64),
    /// A text.
    Text(Box<str>),
    /// NULL, the greatest value, as in PostgreSQL's order.
    Null,
    /// A value behind the one that it is ordered by.
    Pair(Box<(Value, Value)>),
}

/// An `i128` in two halves: as one it would align every value, and so every state, to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wide {
    high: i64,
    low: u64,
}

impl From<i128> for Wide {
    #[allow(clippy::cast_possible_truncation)] // the halves
    fn from(value: i128) -> Wide {
        Wide { high: (value >> 64) as i64, low: value as u64 }
    }
}

impl From<Wide> for i128 {
    fn from(value: Wide) -> i128 {
        (i128::from(value.high) << 64) | i128::from(value.low)
    }
}

impl Ord for Value {
    /// Orders as SQL does; floats by IEEE 754's total order, in which -0 < 0 and NaN is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
            (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Pair(a), Value::Pair(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Value {
    fn rank(&self) -> u8 {
        match self {
            Value::Boolean(_) => 0,
            Value::Integer(_) => 1,
            Value::Decimal(_) => 2,
            Value::Float(_) => 3,
            Value::Text(_) => 4,
            Value::Pair(_) => 5,
            Value::Null => 6,
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_ordered_by_their_first_and_null_is_the_greatest() {
        let pair = |a, b| Value::Pair(Box::new((a, b)));
        let ascending = [
            pair(Value::Integer(1), Value::Text("b".into())),
            pair(Value::Integer(1), Value::Null),
            pair(Value::Integer(2), Value::Text("a".into())),
            pair(Value::Null, Value::Text("a".into())),
        ];
        assert!(ascending.is_sorted() && ascending[0] != ascending[1]);
    }

    proptest! {
        #[test]
        fn wide_integers_come_back_and_keep_their_order(a in any::<i128>(), b in any::<i128>()) {
            prop_assert_eq!(i128::from(Wide::from(a)), a);
            prop_assert_eq!(Wide::from(a).cmp(&Wide::from(b)), a.cmp(&b));
        }
    }
}
