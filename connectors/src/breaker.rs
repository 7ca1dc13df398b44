//! A circuit breaker: decides when a system that has failed is tried again, and by whom.
//!
//! ```text
//!     [`FAILURES`] in a row, or [`OPENS_AFTER`]  its pause has passed: one probe
//!   closed ───────────────────────────▶ open ─────────────────────────────▶ half open
//!     ▲                                   ▲                                   │   │
//!     │                                   └────────── the probe failed ───────┘   │
//!     └───────────────────────────────────────────── it succeeded ────────────────┘
//! ```
//! Pure: the time and chance come in, and nothing is waited for here.
//!
//! # Invariants
//! - While it is open nobody tries; while it is half open one does. A probe that is never heard of again holds the others back for
//!   [`PROBE_LIMIT`] at most.
//! - A success closes it, whatever it was.
//! - Each opening waits longer than the one before it, up to the policy's longest pause, until a success.

use std::time::{Duration, Instant};

use crate::retry::Policy;

/// So many failures in a row open the circuit; the first ones are repeated like any passing trouble.
pub const FAILURES: u32 = 3;

/// So does an attempt that fails when the trouble has lasted for so long: one that only times out need not do so three times.
pub const OPENS_AFTER: Duration = Duration::from_secs(5);

/// A probe that has not reported by then counts as lost.
pub const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Whether a system is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It works, as far as is known.
    Closed,
    /// A single attempt finds out.
    HalfOpen,
    /// It is left alone for a while.
    Open,
}

impl State {
    /// Returns the number by which metrics know it.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }

    /// Returns the state with this number.
    #[must_use]
    pub fn numbered(number: u64) -> State {
        match number {
            0 => State::Closed,
            1 => State::HalfOpen,
            _ => State::Open,
        }
    }

    /// Names the state for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half open",
            State::Open => "open",
        }
    }
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Now, by whoever asked.
    Try,
    /// Not before so long; then to be asked again.
    Wait(Duration),
}

/// The breaker of one system.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: Policy,
    state: State,
    /// In a row.
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
    /// Open: when a probe may be made. Half open: when the probe counts as lost. Closed: when the next attempt may be made.
    until: Option<Instant>,
}

impl Breaker {
    /// Begins closed.
    #[must_use]
    pub fn new(policy: Policy) -> Breaker {
        Breaker { policy, state: State::Closed, failures: 0, since: None, until: None }
    }

    /// Gives up what has failed for so long, instead of what the policy says.
    pub fn limit(&mut self, give_up: Duration) {
        self.policy.give_up = Some(give_up);
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns for how long the system has failed.
    #[must_use]
    pub fn lasted(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Says whether an attempt may be made now; if so, whoever asked has to make it, and to report.
    pub fn ask(&mut self, now: Instant) -> Answer {
        let left = self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if !left.is_zero() {
            return Answer::Wait(left);
        }
        self.until = None;
        if self.state != State::Closed {
            self.state = State::HalfOpen;
            self.until = Some(now + PROBE_LIMIT);
        }
        Answer::Try
    }

    /// Notes that an attempt has succeeded.
    pub fn succeeded(&mut self) {
        *self = Breaker::new(self.policy);
    }

    /// Notes that an attempt, or trouble that ended in one, has lasted from `began` until `now` and failed, with `chance` for the pause; tells
    /// whether there is to be another.
    pub fn failed(&mut self, began: Instant, now: Instant, chance: f64) -> bool {
        self.since.get_or_insert(began);
        // Attempts that were under way when it opened say nothing new.
        if self.state != State::Open {
            self.failures = self.failures.saturating_add(1);
            self.until = Some(now + self.policy.pause(self.failures, chance));
            if self.state == State::HalfOpen || self.failures >= FAILURES || self.lasted(now) >= OPENS_AFTER {
                self.state = State::Open;
            }
        }
        !self.policy.gives_up(self.lasted(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(1);

    fn breaker(give_up: Option<Duration>) -> Breaker {
        Breaker::new(Policy { first: FIRST, most: MOST, give_up })
    }

    fn waits(breaker: &mut Breaker, now: Instant) -> u128 {
        match breaker.ask(now) {
            Answer::Try => 0,
            Answer::Wait(left) => left.as_millis(),
        }
    }

    #[test]
    fn three_failures_open_it_and_one_probe_decides() {
        let (mut breaker, mut now) = (breaker(None), Instant::now());
        for (pause, state) in [(100, State::Closed), (200, State::Closed), (400, State::Open)] {
            assert_eq!(breaker.ask(now), Answer::Try);
            assert!(breaker.failed(now, now, 1.0));
            assert_eq!((waits(&mut breaker, now), breaker.state()), (pause, state));
            now += Duration::from_millis(400);
        }
        assert_eq!((breaker.ask(now), breaker.state()), (Answer::Try, State::HalfOpen));
        assert_eq!(breaker.ask(now), Answer::Wait(PROBE_LIMIT), "there is a single probe");
        breaker.failed(now, now, 1.0);
        assert_eq!((waits(&mut breaker, now), breaker.state()), (800, State::Open));
        now += MOST;
        assert_eq!(breaker.ask(now), Answer::Try);
        breaker.succeeded();
        assert_eq!((breaker.ask(now), breaker.state(), breaker.lasted(now)), (Answer::Try, State::Closed, Duration::ZERO));
    }

    #[test]
    fn it_gives_up_when_it_is_told_to() {
        let (mut breaker, now) = (breaker(Some(MOST)), Instant::now());
        assert!(breaker.failed(now, now, 0.0) && breaker.failed(now, now + MOST / 2, 0.0));
        assert!(!breaker.failed(now, now + MOST, 0.0));
    }

    #[test]
    fn an_attempt_that_takes_long_to_fail_opens_it_at_once() {
        let (mut breaker, now) = (breaker(None), Instant::now());
        breaker.failed(now, now + OPENS_AFTER, 0.0);
        assert_eq!(breaker.state(), State::Open);
    }

    /// What happens to a breaker that several threads ask.
    #[derive(Debug, Clone)]
    enum Step {
        Ask,
        Succeed,
        Fail(f64),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Ask),
            1 => Just(Step::Succeed),
            4 => (0.0..1.0).prop_map(Step::Fail),
            3 => (0_u64..2000).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Attempts in flight are counted outside: a failure or success is one's of those.
        #[test]
        fn nobody_tries_while_it_is_open_one_does_while_it_is_half_open_and_no_pause_is_longer_than_the_longest(steps in steps()) {
            let (mut breaker, mut now) = (breaker(None), Instant::now());
            let mut opened: Option<Instant> = None;
            for step in steps {
                let before = breaker.state();
                match step {
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                    Step::Succeed => {
                        breaker.succeeded();
                        prop_assert_eq!((breaker.state(), breaker.ask(now)), (State::Closed, Answer::Try));
                    }
                    Step::Fail(chance) => {
                        prop_assert!(breaker.failed(now, now, chance), "it never gives up");
                        if before != State::Open && breaker.state() == State::Open {
                            opened = Some(now);
                        }
                    }
                    Step::Ask => match breaker.ask(now) {
                        Answer::Wait(left) => {
                            let bound = if before == State::HalfOpen { PROBE_LIMIT } else { MOST };
                            prop_assert!(left <= bound && breaker.state() == before);
                        }
                        Answer::Try => {
                            prop_assert!(breaker.state() != State::Open);
                            if before == State::Open {
                                prop_assert!(now - opened.expect("it has opened") >= FIRST / 2);
                                prop_assert!(matches!(breaker.ask(now), Answer::Wait(_)), "the second to ask waits");
                            }
                        }
                    },
                }
            }
            // Whatever has happened, a try is never further away than a lost probe.
            prop_assert_eq!(breaker.ask(now + PROBE_LIMIT), Answer::Try);
        }
    }
}
