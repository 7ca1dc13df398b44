//! How long to wait before an attempt is repeated, and for how long to repeat it: the one place that decides, for sinks, registries and
//! look-ups alike.
//!
//! The first pause is `first`; each further one is twice as long, up to `most`. Of each pause the second half is left to chance, so that
//! many who have lost the same system do not come back to it at the same moment. What is repeated at all, each connector says by
//! [`Error::is_transient`](crate::Error::is_transient).

use std::time::Duration;

/// How attempts are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// What has failed for so long is given up; `None` means never.
    pub give_up: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { first: Duration::from_millis(100), most: Duration::from_secs(30), give_up: None }
    }
}

impl Policy {
    /// Returns the pause after so many failures in a row, with `chance` between 0 and 1 deciding on its second half.
    #[must_use]
    pub fn pause(&self, failures: u32, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(30)).min(self.most.max(self.first));
        doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Tells whether what has failed for so long is given up.
    #[must_use]
    pub fn gives_up(&self, lasted: Duration) -> bool {
        self.give_up.is_some_and(|limit| lasted >= limit)
    }
}

/// Returns a number between 0 and 1 by chance.
#[must_use]
pub fn chance() -> f64 {
    rand::random()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = Policy { most: Duration::from_millis(500), ..Policy::default() };
        let pauses: Vec<_> = (1..6).map(|failures| policy.pause(failures, 1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
        assert_eq!(policy.pause(1, 0.0).as_millis(), 50);
    }

    #[test]
    fn never_means_never() {
        let hour = Duration::from_secs(3600);
        assert!(!Policy::default().gives_up(hour * 24 * 365));
        let patient = Policy { give_up: Some(hour), ..Policy::default() };
        assert!(!patient.gives_up(hour - Duration::from_millis(1)) && patient.gives_up(hour));
    }

    proptest! {
        #[test]
        fn a_pause_is_within_its_bounds(first in 1_u64..10_000, most in 1_u64..100_000, failures in 0_u32..u32::MAX, chance in -1.0..2.0) {
            let policy = Policy { first: Duration::from_millis(first), most: Duration::from_millis(most), give_up: None };
            let pause = policy.pause(failures, chance);
            prop_assert!(pause >= policy.first / 2 && pause <= policy.most.max(policy.first));
        }
    }
}
