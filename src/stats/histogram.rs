//! Durations sorted into fixed buckets, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets in seconds, six to a power of ten; a last bucket takes what is above them.
pub const BOUNDS: [f64; 33] = [
    0.0005, 0.0007, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5,
    0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts durations by size.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_many(duration, 1);
    }

    /// Counts a duration `times` times: for the events of a batch that share it.
    pub fn observe_many(&self, duration: Duration, times: u64) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros.saturating_mul(times), Ordering::Relaxed);
    }

    /// Returns the counts as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let buckets = std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed));
        Snapshot { buckets, sum_micros: self.sum_micros.load(Ordering::Relaxed) }
    }
}

/// The counts of a [`Histogram`] at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    buckets: [u64; BUCKETS],
    sum_micros: u64,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot { buckets: [0; BUCKETS], sum_micros: 0 }
    }
}

impl Snapshot {
    /// Returns what was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        self.combined(earlier, u64::saturating_sub)
    }

    /// Returns the counts of both.
    #[must_use]
    pub fn plus(&self, other: &Snapshot) -> Snapshot {
        self.combined(other, u64::saturating_add)
    }

    /// Returns how many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of the durations, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// Returns the counts up to each of [`BOUNDS`], cumulative.
    #[must_use]
    pub fn cumulative(&self) -> [u64; BOUNDS.len()] {
        let mut sum = 0;
        std::array::from_fn(|i| {
            sum += self.buckets[i];
            sum
        })
    }

    /// Estimates a quantile in seconds, linearly inside its bucket; `None` if nothing was counted.
    ///
    /// What lies above the last bound is reported as that bound.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = quantile.clamp(0.0, 1.0) * self.count() as f64;
        let mut before = 0.0;
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if before + count >= rank {
                let upper = BOUNDS[bucket.min(BOUNDS.len() - 1)];
                let lower = if bucket == 0 { 0.0 } else { BOUNDS[bucket - 1] };
                return Some(lower + (upper - lower) * ((rank - before) / count));
            }
            before += count;
        }
        None
    }

    fn combined(&self, other: &Snapshot, with: fn(u64, u64) -> u64) -> Snapshot {
        let buckets = std::array::from_fn(|i| with(self.buckets[i], other.buckets[i]));
        Snapshot { buckets, sum_micros: with(self.sum_micros, other.sum_micros) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Histogram::default().snapshot().quantile(0.5), None);
    }

    #[test]
    fn counts_up_to_a_bound_include_the_bound() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(1));
        histogram.observe_many(Duration::from_secs(1000), 2);
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.cumulative()[2], 1);
        assert_eq!((snapshot.cumulative()[BOUNDS.len() - 1], snapshot.count()), (1, 3));
        assert_eq!(snapshot.quantile(1.0), Some(300.0));
    }

    #[test]
    fn the_difference_of_two_snapshots_is_what_came_between() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(2));
        let earlier = histogram.snapshot();
        histogram.observe(Duration::from_millis(10));
        let recent = histogram.snapshot().since(&earlier);
        assert_eq!((recent.count(), recent.sum_seconds()), (1, 0.01));
        assert_eq!(earlier.plus(&recent), histogram.snapshot());
    }

    proptest! {
        /// The oracle is the sorted list: a bucket is at most 1.6 times as wide as its lower bound, hence the tolerance.
        #[test]
        fn a_quantile_is_near_that_of_the_list(mut millis in proptest::collection::vec(1_u64..100_000, 1..200), q in 0.01_f64..1.0) {
            let histogram = Histogram::default();
            millis.iter().for_each(|&ms| histogram.observe(Duration::from_millis(ms)));
            millis.sort_unstable();
            let rank = ((q * millis.len() as f64).ceil() as usize).clamp(1, millis.len());
            let exact = millis[rank - 1] as f64 / 1000.0;
            let estimate = histogram.snapshot().quantile(q).expect("counted");
            prop_assert!(estimate <= exact * 2.0 && exact <= estimate * 2.0, "{estimate} for {exact}");
        }
    }
}
