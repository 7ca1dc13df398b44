//! Keeps a flood of refused connections from becoming a flood of log lines.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one line for each reason in so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts what was not logged, reason by reason.
#[derive(Default)]
pub(crate) struct Limit {
    reasons: Mutex<BTreeMap<&'static str, Told>>,
}

struct Told {
    at: Instant,
    kept_back: u64,
}

impl Limit {
    /// Tells whether a line may be logged now, and how many of the same reason were kept back before it.
    pub(crate) fn allows(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(told) = reasons.get_mut(reason) else {
            reasons.insert(reason, Told { at: now, kept_back: 0 });
            return Some(0);
        };
        if now.duration_since(told.at) < PAUSE {
            told.kept_back += 1;
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_for_each_reason() {
        let (limit, now) = (Limit::default(), Instant::now());
        assert_eq!(limit.allows("a", now), Some(0));
        assert_eq!(limit.allows("a", now), None);
        assert_eq!(limit.allows("b", now), Some(0));
        assert_eq!(limit.allows("a", now + Duration::from_millis(999)), None);
        assert_eq!(limit.allows("a", now + Duration::from_secs(1)), Some(2));
        assert_eq!(limit.allows("a", now + Duration::from_secs(3)), Some(0));
    }
}
