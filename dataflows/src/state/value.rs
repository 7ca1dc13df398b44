//! A single SQL value with a total order, for minima, maxima and sets.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A value that is not NULL. Values of one column are all of one variant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Value {
    /// A boolean.
    Boolean(bool),
    /// An integer, or a timestamp in microseconds.
    Integer(i64),
    /// A decimal's unscaled digits.
    Decimal(i128),
    /// A float.
    Float(f64),
    /// A text.
    Text(Box<str>),
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
