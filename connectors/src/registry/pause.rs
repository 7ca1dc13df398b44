//! The pauses between attempts to reach a registry that is away, and what is said of them.

use std::time::{Duration, Instant};

use rand::Rng;

use super::Trouble;
use super::client::Failed;

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// How often it is said that it is still away.
const REMIND: Duration = Duration::from_secs(30);

/// The pauses of one registry.
#[derive(Debug)]
pub(super) struct Pause {
    thing: String,
    url: String,
    away: Option<Away>,
}

/// What is known of a registry that is away.
#[derive(Debug)]
struct Away {
    since: Instant,
    said: Instant,
    next: Instant,
    length: Duration,
}

impl Pause {
    pub(super) fn new(thing: &str, url: &str) -> Pause {
        Pause { thing: thing.to_owned(), url: url.to_owned(), away: None }
    }

    /// Makes an attempt, unless the pause since the latest one that failed lasts still.
    pub(super) fn attempt<T>(&mut self, attempt: impl FnOnce() -> Result<T, Failed>) -> Result<T, Trouble> {
        if self.away.as_ref().is_some_and(|away| Instant::now() < away.next) {
            return Err(Trouble::Away);
        }
        match attempt() {
            Ok(answer) => {
                if let Some(away) = self.away.take() {
                    tracing::info!(
                        "{}: the registry at {} answers again, after {:.1?}",
                        self.thing,
                        self.url,
                        away.since.elapsed()
                    );
                }
                Ok(answer)
            }
            Err(Failed::Away(why)) => {
                self.put_off(&why);
                Err(Trouble::Away)
            }
            Err(Failed::Lasting(error)) => Err(Trouble::Lasting(error)),
        }
    }

    /// Begins a longer pause.
    fn put_off(&mut self, why: &str) {
        let now = Instant::now();
        let before = self.away.take();
        let said = before.as_ref().map(|away| away.said).filter(|said| now.duration_since(*said) < REMIND);
        if said.is_none() {
            tracing::warn!("{}: the registry at {} does not answer ({why}); what needs it waits", self.thing, self.url);
        }
        let length = before.as_ref().map_or(SHORTEST, |away| (away.length * 2).min(LONGEST));
        let next = now + length.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.away = Some(Away { since: before.map_or(now, |away| away.since), said: said.unwrap_or(now), next, length });
    }
}
