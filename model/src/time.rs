//! The two clocks of a job: epochs, in which input is cut, and event time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The unit in which input is cut, watermarks move and sinks commit; also the timely timestamp.
///
/// An alias and not a type of its own because timely and differential order, add and exchange it.
pub type Epoch = u64;

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every event: the watermark of a source that has not brought anything yet.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// After every event: the watermark that closes all windows.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Returns the current time of the machine's clock.
    #[must_use]
    pub fn now() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Moves the time by `micros`, stopping at [`MIN`](Self::MIN) and [`MAX`](Self::MAX), which stay where they are.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Timestamp {
        match self {
            Timestamp::MIN | Timestamp::MAX => self,
            Timestamp(time) => Timestamp(time.saturating_add(micros)),
        }
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC with microseconds, or `-` and `∞` for the two ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::MIN => f.write_str("-"),
            Timestamp::MAX => f.write_str("∞"),
            Timestamp(micros) => match arrow::temporal_conversions::timestamp_us_to_datetime(micros) {
                Some(time) => write!(f, "{}Z", time.format("%Y-%m-%dT%H:%M:%S%.6f")),
                None => write!(f, "{micros}µs"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_rfc_3339_and_the_two_ends() {
        assert_eq!(Timestamp(1_769_679_063_027_000).to_string(), "2026-01-29T09:31:03.027000Z");
        assert_eq!(Timestamp::MIN.to_string(), "-");
        assert_eq!(Timestamp::MAX.to_string(), "∞");
    }

    #[test]
    fn the_two_ends_do_not_move() {
        assert_eq!(Timestamp::MAX.plus_micros(-5), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.plus_micros(5), Timestamp::MIN);
        assert_eq!(Timestamp(1).plus_micros(2), Timestamp(3));
    }
}
