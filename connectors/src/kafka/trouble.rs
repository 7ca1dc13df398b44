//! What can go wrong in a transaction, and how it is borne.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Error;
use crate::circuit::{Circuit, Gauge};
use crate::retry::Policy;

/// Pauses of a client that has no circuit of its job's: from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

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

/// Makes a circuit for one who has none of a job's; what has failed for so long is given up.
pub(super) fn own_circuit(thing: &str, limit: Duration) -> Arc<Circuit> {
    let policy = Policy { first: PAUSES.0, most: PAUSES.1, give_up: Some(limit) };
    Circuit::new(thing, policy, Arc::new(Gauge::default()))
}

/// One producer's patience. The producers of a sink share a circuit.
#[derive(Debug)]
pub(super) struct Patience {
    circuit: Arc<Circuit>,
    /// Set when the producer's sink is gone.
    over: Arc<AtomicBool>,
    /// Since when attempts have failed.
    since: Option<Instant>,
}

impl Patience {
    pub(super) fn new(circuit: &Arc<Circuit>) -> Patience {
        Patience::until(circuit, &Arc::default())
    }

    /// One that ends when its sink is `over`, whoever else goes on.
    pub(super) fn until(circuit: &Arc<Circuit>, over: &Arc<AtomicBool>) -> Patience {
        Patience { circuit: Arc::clone(circuit), over: Arc::clone(over), since: None }
    }

    /// Waits before another attempt; or returns the error if there is to be none. The first one is made at once, by a new producer, and is no
    /// news: a broker that moves a partition is enough to lose the old one.
    pub(super) fn bear(&mut self, trouble: Trouble) -> Result<(), Error> {
        let error = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing(error) => error,
        };
        let Some(since) = self.since else {
            self.since = Some(Instant::now());
            tracing::debug!("another attempt at once: {error}");
            return Ok(());
        };
        let words = error.to_string();
        self.circuit.failed(since, error)?;
        let is_over = || self.over.load(Ordering::Relaxed);
        if self.circuit.wait_unless(is_over) { Ok(()) } else { Err(Error::unavailable("given up, since the job ends", words)) }
    }

    /// Notes that an attempt has succeeded.
    pub(super) fn restore(&mut self) {
        self.since = None;
        self.circuit.succeeded();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_attempt_is_made_at_once_and_later_ones_by_the_circuit() {
        let circuit = own_circuit("sink 's'", Duration::from_millis(50));
        let mut patience = Patience::new(&circuit);
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
        circuit.abandon();
        assert!(patience.bear(trouble()).is_err());
    }
}
