//! Variances that do not depend on the order of their terms.
//!
//! The sum and the sum of squares are kept exactly ([`FloatSum`]; a square is split into its rounded value and the rest by a fused multiply-add). The numerator
//! `n·Σx² − (Σx)²`, where a textbook program loses all its digits, is exact as well and rounded once: T. J. Dekker, *A floating-point
//! technique for extending the available precision* (1971), for the products.

use serde::{Deserialize, Serialize};

use super::FloatSum;

/// What variance and standard deviation need to know of a group's values.
///
/// Values above 1e150 leave the range of floats when squared: the variance is infinite, or not a number, from there on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: i64,
    sum: FloatSum,
    squares: FloatSum,
}

impl Moments {
    /// Adds a value `weight` times; a negative weight takes it back.
    pub fn add(&mut self, value: f64, weight: i64) {
        self.count += weight;
        self.sum.add(value, weight);
        let (square, rest) = product(value, value);
        self.squares.add(square, weight);
        self.squares.add(rest, weight);
    }

    /// Adds all values of another part of the group.
    pub fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    /// Returns the variance: of a population, or as a sample tells it, which takes two values at least.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a count of rows
    pub fn variance(&self, is_sample: bool) -> Option<f64> {
        let divisor = self.count - i64::from(is_sample);
        if self.count <= 0 || divisor <= 0 {
            return None;
        }
        if !self.sum.is_finite() || !self.squares.is_finite() {
            return Some(f64::NAN);
        }
        let count = self.count as f64;
        let mut numerator = FloatSum::default();
        let mut add = |a: f64, b: f64| {
            let (high, low) = product(a, b);
            numerator.add(high, 1);
            numerator.add(low, 1);
        };
        self.squares.parts().iter().for_each(|&square| add(count, square));
        for &a in self.sum.parts() {
            self.sum.parts().iter().for_each(|&b| add(-a, b));
        }
        // Exact but for squares that were too small to be split: never below zero.
        Some(numerator.value().max(0.0) / (count * divisor as f64))
    }
}

/// Returns a product as the nearest float and what that leaves.
fn product(a: f64, b: f64) -> (f64, f64) {
    let high = a * b;
    let low = if high.is_finite() { a.mul_add(b, -high) } else { 0.0 };
    (high, low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|&value| moments.add(value, 1));
        moments
    }

    #[test]
    fn variances_are_those_of_the_textbook() {
        let moments = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(moments.variance(false), Some(4.0));
        assert_eq!(moments.variance(true), Some(32.0 / 7.0));
    }

    #[test]
    fn a_small_spread_far_from_zero_keeps_its_digits() {
        let moments = of(&[1e15 + 1.0, 1e15 + 2.0, 1e15 + 3.0]);
        assert_eq!(moments.variance(true), Some(1.0));
        assert_eq!(of(&[0.1; 7]).variance(false), Some(0.0));
    }

    #[test]
    fn too_few_values_have_no_variance_and_infinite_ones_no_number() {
        assert_eq!(of(&[]).variance(false), None);
        assert_eq!((of(&[3.0]).variance(true), of(&[3.0]).variance(false)), (None, Some(0.0)));
        assert!(of(&[1.0, f64::INFINITY]).variance(false).is_some_and(f64::is_nan));
        assert!(of(&[1.0, f64::NAN]).variance(false).is_some_and(f64::is_nan));
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(mut values in prop::collection::vec(-1e9f64..1e9, 2..30), split in 0usize..30) {
            let forward = of(&values).variance(true).expect("two values").to_bits();
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(merged.variance(true).expect("two values").to_bits(), forward);
            values.reverse();
            prop_assert_eq!(of(&values).variance(true).expect("two values").to_bits(), forward);
        }

        #[test]
        fn a_retracted_value_leaves_no_trace(values in prop::collection::vec(-1e9f64..1e9, 2..20), extra in -1e12f64..1e12) {
            let mut with = Moments::default();
            with.add(extra, 1);
            values.iter().for_each(|&value| with.add(value, 1));
            with.add(extra, -1);
            prop_assert_eq!(with.variance(false), of(&values).variance(false));
        }

        #[test]
        fn integers_have_the_variance_that_exact_arithmetic_gives(values in prop::collection::vec(-1_000_000i64..1_000_000, 2..40)) {
            let (n, sum) = (values.len() as i128, values.iter().map(|&v| i128::from(v)).sum::<i128>());
            let squares = values.iter().map(|&v| i128::from(v) * i128::from(v)).sum::<i128>();
            let expected = (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64;
            let floats: Vec<f64> = values.iter().map(|&v| v as f64).collect();
            prop_assert_eq!(of(&floats).variance(true), Some(expected));
        }
    }
}
