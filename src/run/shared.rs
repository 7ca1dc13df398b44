//! What the threads of a process know of each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use freshet_connectors::Error;

use crate::stats::Stats;

/// What the threads of a process know of each other.
pub struct Shared {
    /// The numbers of the process.
    pub stats: Arc<Stats>,
    /// Set when the process has been asked to stop.
    pub stop: Arc<AtomicBool>,
    /// Set when a thread has failed; the others end as they stand.
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Shared {
    pub(super) fn new(stats: Arc<Stats>, stop: Arc<AtomicBool>) -> Shared {
        Shared { stats, stop, failed: AtomicBool::new(false), failure: Mutex::new(None) }
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

    /// Ends the job with an error; the first one is what the user sees.
    pub fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    /// Takes out the error that ended the job.
    #[must_use]
    pub fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
