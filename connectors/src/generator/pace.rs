//! When which record is due.

use std::time::{Duration, Instant};

/// The schedule of numbered records: number `n` is due `(n - ahead) / rate` seconds after the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    begin: Instant,
    rate: f64,
    ahead: u64,
}

impl Pace {
    /// Starts the clock with the records up to number `ahead` due; a rate of 0 makes every record due at once.
    pub(super) fn new(begin: Instant, rate: f64, ahead: u64) -> Pace {
        Pace { begin, rate, ahead }
    }

    /// Returns how many records are due at an instant: the numbers below the result.
    pub(super) fn due(&self, now: Instant) -> u64 {
        if self.rate <= 0.0 {
            return u64::MAX;
        }
        let passed = (now.saturating_duration_since(self.begin).as_secs_f64() * self.rate) as u64;
        self.ahead.saturating_add(passed).saturating_add(1)
    }

    /// Returns how long to wait until this record is due.
    pub(super) fn until(&self, number: u64, now: Instant) -> Duration {
        if self.rate <= 0.0 {
            return Duration::ZERO;
        }
        let after = Duration::try_from_secs_f64(number.saturating_sub(self.ahead) as f64 / self.rate).unwrap_or(Duration::MAX);
        after.saturating_sub(now.saturating_duration_since(self.begin))
    }
}

/// Returns how many of the numbers below `numbers` fall to a partition when they are dealt out in turn.
pub(super) fn share(numbers: u64, partition: u64, partitions: u64) -> u64 {
    numbers.saturating_sub(partition).div_ceil(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_the_rate() {
        let begin = Instant::now();
        let pace = Pace::new(begin, 10.0, 0);
        assert_eq!(pace.due(begin), 1);
        assert_eq!(pace.due(begin + Duration::from_millis(1_050)), 11);
        assert_eq!(pace.until(11, begin + Duration::from_millis(1_050)), Duration::from_millis(50));
        assert_eq!(pace.until(5, begin + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(Pace::new(begin, 0.0, 0).due(begin), u64::MAX);
        let later = Pace::new(begin, 10.0, 500);
        assert_eq!((later.due(begin), later.due(begin + Duration::from_secs(1))), (501, 511));
        assert_eq!((later.until(500, begin), later.until(505, begin)), (Duration::ZERO, Duration::from_millis(500)));
    }

    #[test]
    fn the_shares_are_those_of_dealing_in_turn() {
        for partitions in 1..5 {
            for numbers in 0..20 {
                for partition in 0..partitions {
                    let dealt = (0..numbers).filter(|number| number % partitions == partition).count() as u64;
                    assert_eq!(share(numbers, partition, partitions), dealt);
                }
            }
        }
    }
}
