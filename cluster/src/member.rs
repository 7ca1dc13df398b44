//! What a process knows of its cluster before it has spoken with anybody.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;

/// Describes one process of a cluster.
#[derive(Debug, Clone)]
pub struct Member {
    /// This process's index; process 0 leads.
    pub process: usize,
    /// Where each process listens, as `host:port`, in the order of their indices.
    pub addresses: Vec<String>,
    /// What all processes of the cluster know and nobody else.
    pub secret: Secret,
    /// A hash of the job; only processes with the same one form a cluster.
    pub job: u64,
    /// Timely workers in each process; the same number everywhere.
    pub workers: usize,
    /// How long things may take.
    pub timeouts: Timeouts,
}

impl Member {
    /// Checks what does not depend on other processes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let processes = self.addresses.len().max(1);
        let wrong = |what: String| Err(Error::Member(what));
        if self.process >= processes {
            return wrong(format!("process {} of {processes}; count from 0", self.process));
        }
        if self.workers == 0 || u32::try_from(self.workers.saturating_mul(processes)).is_err() {
            return wrong(format!("{} workers in each process; give a number between 1 and some hundreds", self.workers));
        }
        if self.timeouts.heartbeat.is_zero() || self.timeouts.lost_after < self.timeouts.heartbeat * 2 {
            return wrong("lost_after is shorter than two heartbeats; make it at least so long".to_owned());
        }
        Ok(())
    }

    pub(crate) fn processes(&self) -> usize {
        self.addresses.len().max(1)
    }
}

/// Says how long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Each process says so often that it lives.
    pub heartbeat: Duration,
    /// A process that has been silent for so long is lost.
    pub lost_after: Duration,
    /// How long to wait for the others; `None` is for ever.
    pub join: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { heartbeat: Duration::from_millis(500), lost_after: Duration::from_secs(3), join: None }
    }
}

/// Holds the shared secret; `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Holds the bytes of a secret.
    pub fn new(bytes: impl AsRef<[u8]>) -> Secret {
        Secret(bytes.as_ref().into())
    }

    /// Returns what processes use that only speak within one machine: it keeps mistakes out, not people.
    #[must_use]
    pub fn of_this_machine() -> Secret {
        Secret::new("freshet on one machine")
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(process: usize, workers: usize) -> Member {
        let addresses = vec!["a:1".to_owned(), "b:1".to_owned()];
        Member { process, addresses, secret: Secret::new("hush"), job: 1, workers, timeouts: Timeouts::default() }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert!(!format!("{:?}", member(0, 1)).contains("hush"));
    }

    #[test]
    fn mistakes_are_found() {
        assert!(member(1, 1).check().is_ok());
        assert!(member(2, 1).check().is_err());
        assert!(member(0, 0).check().is_err());
        let mut hasty = member(0, 1);
        hasty.timeouts.lost_after = Duration::from_millis(600);
        assert!(hasty.check().is_err());
    }
}
