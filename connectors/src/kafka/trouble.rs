//! What can go wrong in a transaction, and how long it is borne.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// The first pause before another attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// An outage that is shorter than this is not spoken of: a producer is replaced within it.
const SILENT: Duration = Duration::from_secs(1);

/// Why an attempt has failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another attempt, with a new producer, may succeed.
    Passing(Error),
    /// No other attempt can.
    Final(Error),
}

impl From<Error> for Trouble {
    /// Sorts by who has to do something: nobody, or a person.
    fn from(error: Error) -> Trouble {
        if error.is_transient() { Trouble::Passing(error) } else { Trouble::Final(error) }
    }
}

/// What the producers of one sink have in common, so that an outage is spoken of once.
#[derive(Debug)]
pub(super) struct Outage {
    thing: String,
    brokers: String,
    /// An outage is borne for so long.
    limit: Duration,
    /// So many producers have told that they wait.
    waiting: AtomicUsize,
    /// The sink is gone: nobody need wait any more.
    pub(super) abandoned: AtomicBool,
}

impl Outage {
    pub(super) fn new(thing: &str, brokers: &str, limit: Duration) -> Arc<Outage> {
        let (thing, brokers) = (thing.to_owned(), brokers.to_owned());
        Arc::new(Outage { thing, brokers, limit, waiting: AtomicUsize::new(0), abandoned: AtomicBool::new(false) })
    }
}

/// One producer's patience.
#[derive(Debug)]
pub(super) struct Patience {
    outage: Arc<Outage>,
    since: Option<Instant>,
    pause: Duration,
    told: bool,
}

impl Patience {
    pub(super) fn new(outage: &Arc<Outage>) -> Patience {
        Patience { outage: Arc::clone(outage), since: None, pause: Duration::ZERO, told: false }
    }

    /// Waits before another attempt, the first time not at all; or returns the error if it has been borne for long enough.
    pub(super) fn bear(&mut self, trouble: Trouble) -> Result<(), Error> {
        let error = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing(error) => error,
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let lasted = since.elapsed();
        if lasted >= self.outage.limit || self.outage.abandoned.load(Ordering::Relaxed) {
            return Err(self.outage.given_up(error, lasted));
        }
        tracing::debug!("another attempt in {:?}: {error}", self.pause);
        if lasted >= SILENT && !self.told {
            self.told = true;
            if self.outage.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
                let Outage { brokers, limit, .. } = &*self.outage;
                tracing::warn!("{error}; rows are kept and the brokers at {brokers} tried again for {} s", limit.as_secs());
            }
        }
        thread::sleep(self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        Ok(())
    }

    /// Notes that an attempt has succeeded.
    pub(super) fn restore(&mut self) {
        let lasted = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.pause = Duration::ZERO;
        if std::mem::take(&mut self.told) && self.outage.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            let Outage { thing, brokers, .. } = &*self.outage;
            tracing::info!("{thing}: the brokers at {brokers} take rows again after {:.1} s", lasted.as_secs_f64());
        }
    }
}

impl Outage {
    fn given_up(&self, error: Error, lasted: Duration) -> Error {
        match error {
            Error::Unavailable { thing, problem } => {
                Error::unavailable(thing, format!("{problem}; given up after {} s", lasted.as_secs()))
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_after_its_limit_and_begins_anew_after_a_success() {
        let outage = Outage::new("sink 's'", "b:1", Duration::from_millis(50));
        let mut patience = Patience::new(&outage);
        let trouble = || Trouble::Passing(Error::unavailable("sink 's'", "no answer"));
        let begun = Instant::now();
        let error = loop {
            if let Err(error) = patience.bear(trouble()) {
                break error;
            }
        };
        assert!(begun.elapsed() >= Duration::from_millis(50) && error.is_transient(), "{error}");
        patience.restore();
        assert!(patience.bear(trouble()).is_ok());
        assert!(patience.bear(Trouble::Final(Error::fenced("s", "t"))).is_err());
    }
}
