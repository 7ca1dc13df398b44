//! What the threads of a process know of each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use freshet_connectors::circuit::{Circuit, Gauge};
use freshet_connectors::retry::Policy;

use super::Error;
use crate::stats::Stats;

/// What the threads of a process know of each other, in one incarnation of the job.
pub struct Shared {
    /// The numbers of the process.
    pub stats: Arc<Stats>,
    /// Set when the process has been asked to stop.
    pub stop: Arc<AtomicBool>,
    /// Set when a thread has failed; the others end as they stand.
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    circuits: Mutex<Vec<Arc<Circuit>>>,
}

impl Shared {
    pub(super) fn new(stats: Arc<Stats>, stop: Arc<AtomicBool>) -> Shared {
        let (failure, threads, circuits) = (Mutex::new(None), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        Shared { stats, stop, failed: AtomicBool::new(false), failure, threads, circuits }
    }

    /// Tells whether the process has been asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tells whether a thread has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Ends the incarnation with an error; the first one is what the user sees.
    pub(super) fn fail(&self, error: impl Into<Error>) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.into());
        self.failed.store(true, Ordering::Release);
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|circuit| circuit.abandon());
    }

    /// Makes the circuit of a system that `thing` names, which is let go of when the incarnation fails; it is seen by its gauge.
    pub(super) fn circuit(&self, thing: &str, policy: Policy, gauge: &Arc<Gauge>) -> Arc<Circuit> {
        let circuit = Circuit::new(thing, policy, Arc::clone(gauge));
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&circuit));
        circuit
    }

    /// Takes out the error that ended the incarnation.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Starts a thread that [`join`](Self::join) waits for; a thread that panics ends the incarnation.
    pub(super) fn spawn(self: &Arc<Self>, name: &str, work: impl FnOnce() + Send + 'static) {
        let (shared, owned) = (Arc::clone(self), name.to_owned());
        let guarded = move || {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
                shared.fail(Error::Worker(format!("thread '{owned}' panicked")));
            }
        };
        match thread::Builder::new().name(name.to_owned()).spawn(guarded) {
            Ok(thread) => self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread),
            Err(error) => self.fail(Error::Worker(format!("thread '{name}' cannot be started: {error}"))),
        }
    }

    /// Waits until all threads have ended.
    pub(super) fn join(&self) {
        loop {
            let thread = self.threads.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(thread) = thread else { return };
            // What it had to say, it has said by `fail`.
            let _ = thread.join();
        }
    }
}
