//! The breaker of one system as threads share it: waits, tells of each change, and lets go when nobody needs the system any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::breaker::{Answer, Breaker, State};
use crate::retry::{Policy, chance};

/// A thread that waits looks so often whether it still has to.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be seen of a circuit from outside.
#[derive(Debug, Default)]
pub struct Gauge {
    /// The state's [number](State::number).
    pub state: AtomicU64,
    /// How often it has opened.
    pub opened: AtomicU64,
    /// Attempts that had to be made again.
    pub retries: AtomicU64,
}

impl Gauge {
    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> State {
        State::numbered(self.state.load(Ordering::Relaxed))
    }
}

/// The circuit of one system.
#[derive(Debug)]
pub struct Circuit {
    thing: String,
    /// What happens as long as it is open, for the log.
    meanwhile: &'static str,
    breaker: Mutex<Breaker>,
    gauge: Arc<Gauge>,
    abandoned: AtomicBool,
}

impl Circuit {
    /// Makes a closed circuit for which the sources wait while it is open; `thing` is named in the log.
    #[must_use]
    pub fn new(thing: &str, policy: Policy, gauge: Arc<Gauge>) -> Arc<Circuit> {
        Circuit::with_meanwhile(thing, policy, gauge, "the sources wait")
    }

    /// The same, where something else happens `meanwhile`.
    #[must_use]
    pub fn with_meanwhile(thing: &str, policy: Policy, gauge: Arc<Gauge>, meanwhile: &'static str) -> Arc<Circuit> {
        gauge.state.store(State::Closed.number(), Ordering::Relaxed);
        let breaker = Mutex::new(Breaker::new(policy));
        Arc::new(Circuit { thing: thing.to_owned(), meanwhile, breaker, gauge, abandoned: AtomicBool::new(false) })
    }

    /// Waits until an attempt may be made, and tells whether to make it: not once the circuit has been abandoned.
    #[must_use]
    pub fn wait(&self) -> bool {
        self.wait_unless(|| false)
    }

    /// The same for one who may not need the system any more before the others do.
    #[must_use]
    pub fn wait_unless(&self, is_over: impl Fn() -> bool) -> bool {
        loop {
            if is_over() || self.abandoned.load(Ordering::Relaxed) {
                return false;
            }
            match self.ask() {
                Answer::Try => return true,
                Answer::Wait(left) => std::thread::sleep(left.min(LOOK)),
            }
        }
    }

    /// Tells at once whether an attempt may be made, for one who has other things to do meanwhile; whoever is told so has to make it.
    #[must_use]
    pub fn may_try(&self) -> bool {
        !self.abandoned.load(Ordering::Relaxed) && self.ask() == Answer::Try
    }

    /// Notes that an attempt has succeeded.
    pub fn succeeded(&self) {
        let mut breaker = self.breaker();
        let (before, lasted) = (breaker.state(), breaker.lasted(Instant::now()));
        breaker.succeeded();
        if before != State::Closed {
            self.tell(State::Closed);
            tracing::info!("{}: circuit closed: works again after {:.1} s", self.thing, lasted.as_secs_f64());
        }
    }

    /// Notes that an attempt, or trouble that ended in one, which `began` then, has failed.
    ///
    /// # Errors
    /// The error itself if nobody need try again: it is one that does not pass, or it has been borne for long enough.
    pub fn failed(&self, began: Instant, error: Error) -> Result<(), Error> {
        let mut breaker = self.breaker();
        if !error.is_transient() {
            return Err(error);
        }
        let (before, now) = (breaker.state(), Instant::now());
        let again = breaker.failed(began, now, chance());
        let (after, lasted) = (breaker.state(), breaker.lasted(now));
        self.tell(after);
        drop(breaker);
        if !again || self.abandoned.load(Ordering::Relaxed) {
            return Err(given_up(error, lasted));
        }
        self.gauge.retries.fetch_add(1, Ordering::Relaxed);
        match (before, after) {
            (State::Closed, State::Open) => {
                self.gauge.opened.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{error}; circuit open: tried again by single probes, and {}", self.meanwhile);
            }
            (State::HalfOpen, State::Open) => {
                tracing::warn!("{error}; circuit open again, after {} s", lasted.as_secs());
            }
            _ => tracing::debug!("{error}; tried again"),
        }
        Ok(())
    }

    /// Gives up what has failed for so long, instead of what the policy says.
    pub fn limit(&self, give_up: Duration) {
        self.breaker().limit(give_up);
    }

    /// Lets go of all who wait: nobody needs the system any more.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    fn ask(&self) -> Answer {
        let mut breaker = self.breaker();
        let answer = breaker.ask(Instant::now());
        self.tell(breaker.state());
        answer
    }

    fn tell(&self, state: State) {
        let before = self.gauge.state.swap(state.number(), Ordering::Relaxed);
        if state == State::HalfOpen && before == State::Open.number() {
            tracing::info!("{}: circuit half open: one attempt finds out whether it works again", self.thing);
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn given_up(error: Error, lasted: Duration) -> Error {
    match error {
        Error::Unavailable { thing, problem } => {
            Error::unavailable(thing, format!("{problem}; given up after {} s", lasted.as_secs()))
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(give_up: Option<Duration>) -> (Arc<Circuit>, Arc<Gauge>) {
        let gauge = Arc::new(Gauge::default());
        let policy = Policy { first: Duration::from_millis(10), most: Duration::from_millis(50), give_up };
        (Circuit::new("sink 's'", policy, Arc::clone(&gauge)), gauge)
    }

    fn trouble() -> Error {
        Error::unavailable("sink 's'", "no answer")
    }

    #[test]
    fn threads_that_wait_for_an_open_circuit_send_one_probe() {
        let (circuit, gauge) = circuit(None);
        for _ in 0..3 {
            assert!(circuit.wait());
            circuit.failed(Instant::now(), trouble()).expect("it is tried again");
        }
        assert_eq!((gauge.state(), gauge.opened.load(Ordering::Relaxed)), (State::Open, 1));
        let probes = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    if circuit.wait() && probes.fetch_add(1, Ordering::Relaxed) == 0 {
                        std::thread::sleep(Duration::from_millis(100));
                        assert_eq!((gauge.state(), probes.load(Ordering::Relaxed)), (State::HalfOpen, 1));
                        circuit.succeeded();
                    }
                });
            }
        });
        assert_eq!((gauge.state(), probes.load(Ordering::Relaxed)), (State::Closed, 4), "after the success all may");
    }

    #[test]
    fn what_does_not_pass_and_what_has_lasted_is_returned_and_who_waits_is_let_go() {
        let (circuit, _) = circuit(Some(Duration::from_millis(30)));
        assert!(circuit.failed(Instant::now(), Error::setup("sink 's'", "no table", "make it")).is_err());
        circuit.failed(Instant::now(), trouble()).expect("it is tried again");
        std::thread::sleep(Duration::from_millis(40));
        let error = circuit.failed(Instant::now(), trouble()).expect_err("it has lasted").to_string();
        assert!(error.contains("given up after 0 s"), "{error}");
        circuit.abandon();
        assert!(!circuit.wait() && !circuit.may_try());
    }
}
