//! Sums of floats that do not depend on the order of their terms.
//!
//! The sum is kept exactly, as an expansion of non-overlapping floats, and rounded once when it is read: J. R. Shewchuk, *Adaptive
//! Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates* (1997), section 2.4, with the final rounding of
//! Python's `math.fsum`. Two expansions of the same terms may differ in form and never in value.

use serde::{Deserialize, Serialize};

/// An exact sum of floats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FloatSum {
    /// Non-overlapping, ascending in magnitude; their exact sum is the sum of all finite terms.
    parts: Vec<f64>,
    /// Terms that are not finite, or exceeded the range: counted apart, so that they can be retracted too.
    nan: i64,
    positive_infinite: i64,
    negative_infinite: i64,
}

impl FloatSum {
    /// Adds a term `weight` times; a negative weight takes it back.
    pub fn add(&mut self, term: f64, weight: i64) {
        if term.is_nan() {
            self.nan += weight;
        } else if term == f64::INFINITY {
            self.positive_infinite += weight;
        } else if term == f64::NEG_INFINITY {
            self.negative_infinite += weight;
        } else {
            // Repeated addition stays exact where a product would round.
            let signed = if weight < 0 { -term } else { term };
            for _ in 0..weight.unsigned_abs() {
                self.add_finite(signed);
            }
        }
    }

    /// Adds all terms of another sum.
    pub fn merge(&mut self, other: &FloatSum) {
        for &part in &other.parts {
            self.add_finite(part);
        }
        self.nan += other.nan;
        self.positive_infinite += other.positive_infinite;
        self.negative_infinite += other.negative_infinite;
    }

    /// Rounds the sum to the nearest float, ties to even.
    #[must_use]
    pub fn value(&self) -> f64 {
        match (self.nan != 0, self.positive_infinite != 0, self.negative_infinite != 0) {
            (true, _, _) | (_, true, true) => f64::NAN,
            (_, true, _) => f64::INFINITY,
            (_, _, true) => f64::NEG_INFINITY,
            _ => round(&self.parts),
        }
    }

    /// Floats whose exact sum is that of all finite terms.
    pub(super) fn parts(&self) -> &[f64] {
        &self.parts
    }

    /// Tells whether all terms were finite, and their sum stayed within the range of floats.
    pub(super) fn is_finite(&self) -> bool {
        self.nan == 0 && self.positive_infinite == 0 && self.negative_infinite == 0
    }

    fn add_finite(&mut self, mut x: f64) {
        let mut kept = 0;
        for i in 0..self.parts.len() {
            let mut y = self.parts[i];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                self.parts[kept] = low;
                kept += 1;
            }
            x = high;
        }
        self.parts.truncate(kept);
        if x.is_finite() {
            self.parts.push(x);
        } else {
            // The exact sum left the range of floats: it is infinite from here on, as IEEE 754 has it.
            *(if x > 0.0 { &mut self.positive_infinite } else { &mut self.negative_infinite }) += 1;
        }
    }
}

/// Rounds an expansion once: from the top down until a part no longer fits, then half-way cases by the sign of what is left.
fn round(parts: &[f64]) -> f64 {
    let mut rest = parts.iter().rev();
    let Some(&first) = rest.next() else { return 0.0 };
    let mut high = first;
    let mut low = 0.0;
    for &part in rest.by_ref() {
        let sum = high + part;
        low = part - (sum - high);
        high = sum;
        if low != 0.0 {
            break;
        }
    }
    if let Some(&next) = rest.next()
        && ((low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0))
    {
        let doubled = low * 2.0;
        let nudged = high + doubled;
        if doubled == nudged - high {
            return nudged;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = FloatSum::default();
        terms.iter().for_each(|&term| sum.add(term, 1));
        sum.value()
    }

    #[test]
    fn cancellation_leaves_what_is_exact() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]).to_bits(), 1.0f64.to_bits());
        assert_eq!(sum(&[0.1; 10]).to_bits(), 1.0f64.to_bits());
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(mut terms in prop::collection::vec(-1e12f64..1e12, 0..40), split in 0usize..40) {
            let forward = sum(&terms);
            let split = split.min(terms.len());
            let (mut left, mut right) = (FloatSum::default(), FloatSum::default());
            terms[..split].iter().for_each(|&t| left.add(t, 1));
            terms[split..].iter().for_each(|&t| right.add(t, 1));
            right.merge(&left);
            prop_assert_eq!(right.value().to_bits(), forward.to_bits());
            terms.reverse();
            prop_assert_eq!(sum(&terms).to_bits(), forward.to_bits());
        }

        #[test]
        fn a_retracted_term_leaves_no_trace(terms in prop::collection::vec(-1e12f64..1e12, 1..20), extra in -1e15f64..1e15) {
            let mut with = FloatSum::default();
            with.add(extra, 2);
            terms.iter().for_each(|&t| with.add(t, 1));
            with.add(extra, -2);
            prop_assert_eq!(with.value().to_bits(), sum(&terms).to_bits());
        }
    }
}
