//! How long to wait for the others, and what to say meanwhile.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::listener::Core;

/// A line in the log each so often names who is missing.
const WORD: Duration = Duration::from_secs(5);
/// So often the flag that stops everything is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Why an attempt at forming goes no further.
pub(crate) enum Stop {
    /// A peer was lost on the way: begin again.
    Again,
    /// There is no use in trying again.
    Fail(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Fail(error)
    }
}

/// Measures one time of waiting.
pub(crate) struct Patience<'a> {
    core: &'a Core,
    begun: Instant,
    limit: Option<Duration>,
    heeds_stop: bool,
    next_word: Instant,
}

impl<'a> Patience<'a> {
    /// Waits as long as the member says.
    pub(crate) fn of(core: &'a Core) -> Patience<'a> {
        let begun = Instant::now();
        Patience { core, begun, limit: core.member.timeouts.join, heeds_stop: true, next_word: begun + WORD }
    }

    /// Waits for members who are here already: only their loss ends it.
    pub(crate) fn endless(core: &'a Core) -> Patience<'a> {
        Patience { limit: None, ..Patience::of(core) }
    }

    /// Waits as [`Patience::endless`] does, and lets a request to stop wait as well: the others may have begun to run, and count on this process.
    pub(crate) fn bound(core: &'a Core) -> Patience<'a> {
        Patience { heeds_stop: false, ..Patience::endless(core) }
    }

    /// Fails when it is time to give up; tells whether a line was logged.
    pub(crate) fn look(&mut self, missing: &dyn Fn() -> String) -> Result<bool, Error> {
        let waited = self.begun.elapsed();
        if self.heeds_stop && self.core.is_stopped() {
            return Err(Error::Interrupted);
        }
        if self.limit.is_some_and(|limit| waited >= limit) {
            return Err(Error::Timeout { waited, missing: missing() });
        }
        let now = Instant::now();
        let is_time = now >= self.next_word;
        if is_time {
            self.next_word = now + WORD;
            tracing::info!("waiting for {} s: {}", waited.as_secs(), missing());
        }
        Ok(is_time)
    }
}
