//! Distinct counts in bounded space.
//!
//! Up to [`FEW`] values are kept as their hashes, and counted exactly. Beyond that it is a HyperLogLog of 4,096 registers: P. Flajolet et al., *HyperLogLog:
//! the analysis of a near-optimal cardinality estimation algorithm* (2007), with the estimator of O. Ertl, *New cardinality estimation algorithms for
//! HyperLogLog sketches* (2017), section 2.4, which needs no tables of corrections. Its standard error is 1.04/√4096 = 1.6 %.
//!
//! Which of the two forms a set has, and all that is in it, follows from the set alone: not from the order of its values or from how its parts were merged. Hashes have a
//! fixed seed, as sketches outlive processes.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::Value;

/// So many values are counted exactly, in as many bytes as the registers need.
const FEW: usize = 512;

/// Bits of a hash that choose its register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash that are counted.
const RANK_BITS: u32 = 64 - INDEX_BITS;

const SEED: u64 = 0x6672_6573_6865_7421;

/// A set of values that can be counted, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Distinct {
    /// The hashes of the values, ascending.
    Few(Vec<u64>),
    /// For each register the greatest rank of a hash that fell to it.
    Many(Vec<u8>),
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct::Few(Vec::new())
    }
}

impl Distinct {
    /// Adds a value.
    pub fn add(&mut self, value: &Value) {
        self.add_hash(hash(value));
    }

    /// Adds all values of another set.
    pub fn merge(&mut self, other: &Distinct) {
        match other {
            Distinct::Few(hashes) => hashes.iter().for_each(|&hash| self.add_hash(hash)),
            Distinct::Many(theirs) => {
                let registers = self.registers();
                registers.iter_mut().zip(theirs).for_each(|(register, &rank)| *register = rank.max(*register));
            }
        }
    }

    /// Returns how many values there are, or about how many.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // an estimate, rounded
    pub fn count(&self) -> i64 {
        match self {
            Distinct::Few(hashes) => i64::try_from(hashes.len()).unwrap_or(i64::MAX),
            Distinct::Many(registers) => estimate(registers).round() as i64,
        }
    }

    fn add_hash(&mut self, hash: u64) {
        match self {
            Distinct::Few(hashes) => {
                if let Err(at) = hashes.binary_search(&hash) {
                    hashes.insert(at, hash);
                }
                if hashes.len() > FEW {
                    self.registers();
                }
            }
            Distinct::Many(registers) => raise(registers, hash),
        }
    }

    /// Returns the registers, which the set has from now on.
    fn registers(&mut self) -> &mut [u8] {
        if let Distinct::Few(hashes) = self {
            let mut registers = vec![0; REGISTERS];
            hashes.iter().for_each(|&hash| raise(&mut registers, hash));
            *self = Distinct::Many(registers);
        }
        match self {
            Distinct::Many(registers) => registers,
            Distinct::Few(_) => unreachable!("the set has registers now"),
        }
    }
}

/// Takes a hash into the registers.
fn raise(registers: &mut [u8], hash: u64) {
    let register = &mut registers[(hash >> RANK_BITS) as usize];
    let rank = ((hash << INDEX_BITS).leading_zeros().min(RANK_BITS) + 1) as u8;
    *register = rank.max(*register);
}

/// Ertl's improved raw estimator, a function of how many registers hold each rank.
#[allow(clippy::cast_precision_loss)] // at most 4,096
fn estimate(registers: &[u8]) -> f64 {
    let mut held = [0.0; RANK_BITS as usize + 2];
    registers.iter().for_each(|&rank| held[usize::from(rank)] += 1.0);
    let count = registers.len() as f64;
    let top = held.len() - 1;
    let mut z = count * tau(1.0 - held[top] / count);
    for rank in (1..top).rev() {
        z = 0.5 * (z + held[rank]);
    }
    z += count * sigma(held[0] / count);
    count * count / (2.0 * std::f64::consts::LN_2 * z)
}

/// `x + Σ x^(2^k)·2^(k−1)`: what registers that are still empty add.
fn sigma(mut x: f64) -> f64 {
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum <= before || sum.is_infinite() {
            return sum;
        }
    }
}

/// `(1 − x − Σ (1 − x^(2^−k))²·2^−k) / 3`: what registers that are full add.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x).powi(2) * power;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

/// Returns a value's hash, the same for ever.
fn hash(value: &Value) -> u64 {
    let of = |bytes: &[u8]| XxHash3_64::oneshot_with_seed(SEED, bytes);
    match value {
        Value::Boolean(value) => of(&[u8::from(*value)]),
        Value::Integer(value) => of(&value.to_le_bytes()),
        Value::Decimal(value) => of(&i128::from(*value).to_le_bytes()),
        Value::Float(value) => of(&value.to_bits().to_le_bytes()),
        Value::Text(value) => of(value.as_bytes()),
        Value::Null | Value::Pair(_) => panic!("invariant: a distinct count takes plain values, not {value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: impl IntoIterator<Item = i64>) -> Distinct {
        let mut set = Distinct::default();
        values.into_iter().for_each(|value| set.add(&Value::Integer(value)));
        set
    }

    #[test]
    fn few_values_are_counted_exactly() {
        assert_eq!(of([]).count(), 0);
        for count in [1, 100, FEW as i64] {
            assert_eq!(of((0..count).chain(0..count)).count(), count);
        }
    }

    #[test]
    fn many_values_are_counted_within_three_standard_errors() {
        for (count, first) in [(513, 0), (2_000, 7), (10_000, 100_000), (100_000, -3), (2_000_000, 1 << 40)] {
            let estimate = of(first..first + count).count();
            let error = (estimate - count) as f64 / count as f64;
            assert!(error.abs() < 3.0 * 1.04 / (REGISTERS as f64).sqrt(), "{count}: {estimate}");
        }
    }

    #[test]
    fn the_error_is_the_documented_one_in_the_mean() {
        let squares = (0..200i64).map(|trial| {
            let estimate = of((0..5_000).map(|value| trial * 1_000_000 + value)).count();
            ((estimate - 5_000) as f64 / 5_000.0).powi(2)
        });
        let error = (squares.sum::<f64>() / 200.0).sqrt();
        assert!((0.008..0.0185).contains(&error), "{error}");
    }

    #[test]
    fn a_hash_is_the_same_in_every_version() {
        // Sketches lie in checkpoints: another hash would count every value twice after an upgrade.
        assert_eq!(hash(&Value::Text("freshet".into())), 17_406_496_058_277_695_146);
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(mut values in prop::collection::vec(0i64..2_000, 0..1_500), split in 0usize..1_500) {
            let whole = of(values.iter().copied());
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(right.iter().copied());
            merged.merge(&of(left.iter().copied()));
            prop_assert_eq!(&merged, &whole);
            values.reverse();
            prop_assert_eq!(of(values), whole);
        }
    }
}
