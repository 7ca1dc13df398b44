//! Randomness that needs no memory: the dice of one record are a function of the seed and the record's place.
//!
//! A generator that can be asked for any record at any time must not carry a state from one record to the next, so each record
//! gets a SplitMix64 sequence of its own, begun at a hash of `(seed, partition, offset)`.

/// The random numbers of one record.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Takes the dice of the record at this place.
    pub(super) fn at(seed: u64, partition: u64, offset: u64) -> Dice {
        Dice(mix(mix(mix(seed) ^ partition) ^ offset))
    }

    /// Rolls 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Rolls a number of `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Rolls an integer of `[0, count)`.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(count)) >> 64) as u64
    }

    /// Rolls a rank of `[0, count)`, the small ones far more often: a hundredth of the ranks comes up in almost half of the
    /// rolls.
    pub(super) fn rank(&mut self, count: u64) -> u64 {
        let unit = self.unit();
        (count as f64 * unit.powi(6)) as u64
    }

    /// Rolls an exponentially distributed number with this mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// SplitMix64's finaliser: each bit of the argument changes about half of the result's.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_rolls_the_same_and_its_neighbours_roll_differently() {
        let first = |partition, offset| Dice::at(7, partition, offset).bits();
        assert_eq!(first(1, 2), first(1, 2));
        let all: std::collections::BTreeSet<u64> = (0..100).flat_map(|p| (0..100).map(move |i| first(p, i))).collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn ranks_are_skewed_and_in_range() {
        let mut dice = Dice::at(1, 0, 0);
        let ranks: Vec<u64> = (0..100_000).map(|_| dice.rank(1000)).collect();
        assert!(ranks.iter().all(|&rank| rank < 1000));
        let top = ranks.iter().filter(|&&rank| rank < 10).count();
        assert!((45_000..48_000).contains(&top), "{top}");
    }

    #[test]
    fn the_exponential_has_its_mean() {
        let mut dice = Dice::at(1, 0, 0);
        let mean = (0..100_000).map(|_| dice.exponential(2.0)).sum::<f64>() / 100_000.0;
        assert!((1.97..2.03).contains(&mean), "{mean}");
    }
}
