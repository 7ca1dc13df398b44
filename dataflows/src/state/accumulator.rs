//! What one aggregate keeps of one group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::few::{Choice, Few};
use super::funnel::{Funnel, Steps};
use super::{Distinct, FloatSum, Moments, Quantiles, Value};

/// Which accumulator an aggregate needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Rows, or values that are not NULL.
    Count,
    /// Exact sum and count of integers or decimals.
    Integer,
    /// Exact sum and count of floats.
    Float,
    /// Least value of append-only rows.
    Min,
    /// Greatest value of append-only rows.
    Max,
    /// All values with their multiplicities: exact distinct counts, and whatever else rows that can be retracted leave no shorter way for.
    Values,
    /// Exact sums of floats and of their squares.
    Moments,
    /// About how many values of append-only rows differ.
    Distinct,
    /// A histogram of floats.
    Quantiles,
    /// The first values of append-only rows.
    Few(Choice),
    /// The events of append-only rows that are steps of a funnel.
    Funnel(Steps),
}

/// The sum of a group's rows, as one aggregate sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Accumulator {
    /// See [`Kind::Count`].
    Count(i64),
    /// See [`Kind::Integer`]. Boxed, as counts are what most groups hold.
    Integer(Box<(i128, i64)>),
    /// See [`Kind::Float`].
    Float(Box<(FloatSum, i64)>),
    /// See [`Kind::Min`].
    Min(Option<Value>),
    /// See [`Kind::Max`].
    Max(Option<Value>),
    /// See [`Kind::Values`].
    Values(Box<BTreeMap<Value, i64>>),
    /// See [`Kind::Moments`].
    Moments(Box<Moments>),
    /// See [`Kind::Distinct`].
    Distinct(Box<Distinct>),
    /// See [`Kind::Quantiles`].
    Quantiles(Box<Quantiles>),
    /// See [`Kind::Few`].
    Few(Box<Few>),
    /// See [`Kind::Funnel`].
    Funnel(Box<Funnel>),
}

impl Accumulator {
    /// Returns the accumulator of no rows.
    #[must_use]
    pub fn empty(kind: Kind) -> Accumulator {
        match kind {
            Kind::Count => Accumulator::Count(0),
            Kind::Integer => Accumulator::Integer(Box::default()),
            Kind::Float => Accumulator::Float(Box::default()),
            Kind::Min => Accumulator::Min(None),
            Kind::Max => Accumulator::Max(None),
            Kind::Values => Accumulator::Values(Box::default()),
            Kind::Moments => Accumulator::Moments(Box::default()),
            Kind::Distinct => Accumulator::Distinct(Box::default()),
            Kind::Quantiles => Accumulator::Quantiles(Box::default()),
            Kind::Few(choice) => Accumulator::Few(Box::new(Few::empty(choice))),
            Kind::Funnel(steps) => Accumulator::Funnel(Box::new(Funnel::empty(steps))),
        }
    }

    /// Adds a value `weight` times.
    ///
    /// # Panics
    /// If the value is not of the kind that the aggregate was planned for, or one is to be retracted of a kind that is for append-only rows: broken plans.
    pub fn add(&mut self, value: &Value, weight: i64) {
        match (self, value) {
            (Accumulator::Count(count), _) => *count += weight,
            (Accumulator::Integer(sum), Value::Integer(value)) => sum.add_integer(i128::from(*value), weight),
            (Accumulator::Integer(sum), Value::Decimal(value)) => sum.add_integer((*value).into(), weight),
            (Accumulator::Float(sum), Value::Float(value)) => {
                sum.0.add(*value, weight);
                sum.1 += weight;
            }
            (Accumulator::Min(least), value) => {
                assert_append_only(weight);
                if least.as_ref().is_none_or(|least| value < least) {
                    *least = Some(value.clone());
                }
            }
            (Accumulator::Max(greatest), value) => {
                assert_append_only(weight);
                if greatest.as_ref().is_none_or(|greatest| value > greatest) {
                    *greatest = Some(value.clone());
                }
            }
            (Accumulator::Values(values), value) => add_value(values, value, weight),
            (Accumulator::Moments(moments), Value::Float(value)) => moments.add(*value, weight),
            (Accumulator::Quantiles(quantiles), Value::Float(value)) => quantiles.add(*value, weight),
            (accumulator, value) => accumulator.add_for_good(value, weight),
        }
    }

    /// Adds a value to an accumulator that takes nothing back.
    fn add_for_good(&mut self, value: &Value, weight: i64) {
        assert_append_only(weight);
        match (self, value) {
            (Accumulator::Distinct(distinct), value) => distinct.add(value),
            (Accumulator::Few(few), value) => few.add(value, weight),
            (Accumulator::Funnel(funnel), Value::Pair(event)) => {
                // An event without a time is nowhere on the way.
                if let (Value::Integer(time), Value::Integer(steps)) = &**event {
                    funnel.add(*time, step_bits(*steps));
                }
            }
            (accumulator, value) => panic!("invariant: the plan gave {value:?} to {accumulator:?}"),
        }
    }

    /// Adds all rows of another accumulator of the same kind.
    ///
    /// # Panics
    /// If the kinds differ: a broken plan.
    pub fn merge(&mut self, other: &Accumulator) {
        match (self, other) {
            (Accumulator::Count(a), Accumulator::Count(b)) => *a += b,
            (Accumulator::Integer(a), Accumulator::Integer(b)) => {
                a.0 = a.0.saturating_add(b.0);
                a.1 += b.1;
            }
            (Accumulator::Float(a), Accumulator::Float(b)) => {
                a.0.merge(&b.0);
                a.1 += b.1;
            }
            (a @ Accumulator::Min(_), Accumulator::Min(b)) | (a @ Accumulator::Max(_), Accumulator::Max(b)) => {
                if let Some(value) = b {
                    a.add(value, 1);
                }
            }
            (Accumulator::Values(a), Accumulator::Values(b)) => b.iter().for_each(|(value, weight)| add_value(a, value, *weight)),
            (Accumulator::Moments(a), Accumulator::Moments(b)) => a.merge(b),
            (Accumulator::Distinct(a), Accumulator::Distinct(b)) => a.merge(b),
            (Accumulator::Quantiles(a), Accumulator::Quantiles(b)) => a.merge(b),
            (Accumulator::Few(a), Accumulator::Few(b)) => a.merge(b),
            (Accumulator::Funnel(a), Accumulator::Funnel(b)) => a.merge(b),
            (a, b) => panic!("invariant: the accumulators of one aggregate are of one kind, not {a:?} and {b:?}"),
        }
    }
}

fn assert_append_only(weight: i64) {
    assert!(weight > 0, "invariant: what keeps less than all values is kept of append-only rows alone");
}

/// The steps of a funnel, one bit each, as the planner puts them into an integer.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 32 bits, never negative
pub(crate) fn step_bits(steps: i64) -> u32 {
    steps as u32
}

trait AddInteger {
    fn add_integer(&mut self, value: i128, weight: i64);
}

impl AddInteger for (i128, i64) {
    /// Saturates: the result's type is narrower, so the overflow is found when the sum is read.
    fn add_integer(&mut self, value: i128, weight: i64) {
        self.0 = self.0.saturating_add(value.saturating_mul(i128::from(weight)));
        self.1 += weight;
    }
}

fn add_value(values: &mut BTreeMap<Value, i64>, value: &Value, weight: i64) {
    match values.get_mut(value) {
        Some(held) if *held + weight == 0 => {
            values.remove(value);
        }
        Some(held) => *held += weight,
        None => {
            values.insert(value.clone(), weight);
        }
    }
}

/// Merges the accumulators of one group with those of another part of its rows, aggregate by aggregate.
pub(super) fn merge_all(into: &mut [Accumulator], from: &[Accumulator]) {
    debug_assert_eq!(into.len(), from.len(), "one accumulator for each aggregate");
    for (into, from) in into.iter_mut().zip(from) {
        into.merge(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accumulator_is_no_larger_than_its_commonest_kinds_need() {
        // A group is mostly counts: what is larger than an optional value is boxed.
        assert_eq!(size_of::<Accumulator>(), 32);
        assert_eq!(size_of::<Value>(), 24);
    }
}
