//! Quantiles within one per cent, of values that come in any order and can be taken back.
//!
//! A histogram whose bins grow with the values: C. Masson, J. E. Rim, H. K. Lee, *DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
//! Guarantees* (VLDB 2019), with the linearly interpolated mapping of its authors' libraries. Each range from a power of two to the next is cut into [`PARTS`]
//! bins of equal width, hence a bin is at most 1/64 of its values wide, and its middle at most 0.8 % away from each of them. Bins are
//! found by integer arithmetic on the float's bits, so that every machine finds the same.
//!
//! Bins are plain counts. Unlike a t-digest, the sketch of some values is a function of the values alone, and taking one back is exact. No
//! bins are ever joined: values from 1e-6 to 1e9 have at most 3,200 of them, and only those that hold something are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bins from one power of two to the next; half its reciprocal is the greatest relative error.
const PARTS: u64 = 64;

const MANTISSA_BITS: u32 = 52;

/// Values that quantiles can be asked of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many values each bin holds. Bins ascend as their values do; bin 0 is zero, a negative number the mirror of its positive.
    bins: BTreeMap<i32, i64>,
}

impl Quantiles {
    /// Adds a value `weight` times; a negative weight takes it back. NaN is the greatest value, as in PostgreSQL.
    pub fn add(&mut self, value: f64, weight: i64) {
        self.add_to_bin(bin(value), weight);
    }

    /// Adds all values of another part of the group.
    pub fn merge(&mut self, other: &Quantiles) {
        other.bins.iter().for_each(|(&bin, &weight)| self.add_to_bin(bin, weight));
    }

    /// Returns a value at most one per cent from the one that has the rank `⌊q·(n−1)⌋` of `n`, counted from 0; `None` if there is no value.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a rank, from a count of rows
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count: i64 = self.bins.values().sum();
        let rank = (q.clamp(0.0, 1.0) * (count - 1) as f64).floor() as i64;
        let mut seen = 0;
        let holds = |&(_, &weight): &(&i32, &i64)| {
            seen += weight;
            seen > rank
        };
        self.bins.iter().find(holds).map(|(&bin, _)| middle(bin))
    }

    fn add_to_bin(&mut self, bin: i32, weight: i64) {
        let held = self.bins.entry(bin).or_default();
        *held += weight;
        if *held == 0 {
            self.bins.remove(&bin);
        }
    }
}

/// Returns the bin of a value. Values below the least normal float, 2e-308, count as zero.
fn bin(value: f64) -> i32 {
    if value.is_nan() {
        return i32::MAX;
    }
    let bits = value.abs().to_bits();
    let (exponent, mantissa) = (bits >> MANTISSA_BITS, bits & ((1 << MANTISSA_BITS) - 1));
    if exponent == 0 {
        return 0;
    }
    let part = (mantissa * PARTS) >> MANTISSA_BITS;
    let bin = i32::try_from(exponent * PARTS + part).expect("invariant: an exponent has eleven bits");
    if value < 0.0 { -bin } else { bin }
}

/// Returns the middle of a bin.
fn middle(bin: i32) -> f64 {
    if bin == i32::MAX {
        return f64::NAN;
    }
    let (exponent, part) = (u64::from(bin.unsigned_abs()) / PARTS, u64::from(bin.unsigned_abs()) % PARTS);
    let power = f64::from_bits(exponent << MANTISSA_BITS);
    #[allow(clippy::cast_precision_loss)] // below 64
    let middle = if power.is_finite() { power * (1.0 + (part as f64 + 0.5) / PARTS as f64) } else { power };
    if bin < 0 {
        -middle
    } else if bin == 0 {
        0.0
    } else {
        middle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|&value| quantiles.add(value, 1));
        quantiles
    }

    /// Floats of all magnitudes and both signs, and zero.
    fn value() -> impl Strategy<Value = f64> {
        (-1000i32..1000, -1.0f64..1.0).prop_map(|(power, digits)| digits * 2f64.powi(power))
    }

    #[test]
    fn nothing_has_no_quantile_and_odd_values_have_their_places() {
        assert_eq!(of(&[]).quantile(0.5), None);
        let odd = of(&[f64::NAN, 0.0, f64::INFINITY, -0.0, f64::NEG_INFINITY]);
        let at = |rank: f64| odd.quantile(rank / 4.0).expect("values");
        assert_eq!([at(0.0), at(1.0), at(2.0), at(3.0)], [f64::NEG_INFINITY, 0.0, 0.0, f64::INFINITY]);
        assert!(at(4.0).is_nan());
        assert!(of(&[f64::MAX]).quantile(0.5).is_some_and(f64::is_finite));
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_per_cent_of_the_value_of_its_rank(mut values in prop::collection::vec(value(), 1..60), q in 0.0f64..=1.0) {
            let quantile = of(&values).quantile(q).expect("values");
            values.sort_by(f64::total_cmp);
            let exact = values[(q * (values.len() - 1) as f64).floor() as usize];
            prop_assert!((quantile - exact).abs() <= 0.01 * exact.abs() + f64::MIN_POSITIVE, "{quantile} for {exact}");
        }

        #[test]
        fn order_and_grouping_do_not_matter(mut values in prop::collection::vec(value(), 0..40), split in 0usize..40) {
            let whole = of(&values);
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &whole);
            values.reverse();
            prop_assert_eq!(of(&values), whole);
        }

        #[test]
        fn a_retracted_value_leaves_no_trace(values in prop::collection::vec(value(), 0..20), extra in value()) {
            let mut with = of(&[extra]);
            values.iter().for_each(|&value| with.add(value, 1));
            with.add(extra, -1);
            prop_assert_eq!(with, of(&values));
        }

        #[test]
        fn bins_ascend_with_their_values(a in value(), b in value()) {
            prop_assert!(a.total_cmp(&b) != std::cmp::Ordering::Less || bin(a) <= bin(b));
        }
    }
}
