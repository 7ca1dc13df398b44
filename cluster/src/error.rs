//! What goes wrong, and what a person or the caller does about it.

use std::fmt;
use std::io;
use std::time::Duration;

/// An error of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The member itself makes no sense.
    #[error("the cluster cannot be formed: {0}")]
    Member(String),
    /// Nobody can be heard at this process's own address.
    #[error("cannot listen at {address}: {source}; the address must be this machine's, and no other process may use it")]
    Bind {
        /// The address as written.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another process does not want this one, and will not want it later either.
    #[error("process {process} at {address} refuses this process: {}", .refusal.text(*.process))]
    Refused {
        /// The process that refuses.
        process: usize,
        /// Where it listens.
        address: String,
        /// Why.
        refusal: Refusal,
    },
    /// Another process has seen a generation that is not lower: something newer leads or has led.
    #[error(
        "generation {generation} is not new: process {process} has seen {seen}; this leader reads an old state, or another one leads"
    )]
    Stale {
        /// The generation offered.
        generation: u64,
        /// The highest one seen.
        seen: u64,
        /// The process that has seen it.
        process: usize,
    },
    /// A peer went away before timely was started; form again, with a higher generation.
    #[error(transparent)]
    PeerLost(#[from] Lost),
    /// The others did not come in time.
    #[error("after {} s the cluster is not complete: {missing}", .waited.as_secs())]
    Timeout {
        /// How long was waited.
        waited: Duration,
        /// What is missing.
        missing: String,
    },
    /// The flag given to the listener was set.
    #[error("stopped while the cluster was being formed")]
    Interrupted,
    /// More bytes than a barrier carries.
    #[error("{0} bytes are too many for one message between processes")]
    TooLarge(usize),
    /// The system refuses a thread, a socket or random numbers.
    #[error("{what}: {source}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::System { what, source }
    }

    /// Makes the error of a fail point.
    pub(crate) fn injected(point: &'static str) -> Error {
        Error::System { what: point, source: io::Error::other("fail point") }
    }
}

/// Says which peer was lost, and how it was noticed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("process {process} is lost: {cause}")]
pub struct Lost {
    /// The peer's index.
    pub process: usize,
    /// How it was noticed.
    pub cause: Cause,
}

/// Says how the loss of a peer was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its connection ended without a good-bye.
    Closed,
    /// It was silent for so long.
    Silent(Duration),
    /// Another process noticed it and ended the incarnation.
    Told {
        /// The process that noticed.
        by: usize,
    },
    /// It has taken this process for lost and gone on without it.
    GaveUp,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Closed => f.write_str("its connection ended"),
            Cause::Silent(silence) => write!(f, "silent for {:.1} s", silence.as_secs_f64()),
            Cause::Told { by } => write!(f, "noticed by process {by}"),
            Cause::GaveUp => f.write_str("it had heard nothing of this process and ended the incarnation"),
        }
    }
}

/// Says how an incarnation ended that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// A peer was lost.
    #[error(transparent)]
    PeerLost(Lost),
    /// A worker of this process panicked, with this text.
    #[error("a worker panicked: {0}")]
    Panic(String),
    /// This process gave the incarnation up, for this reason.
    #[error("given up: {0}")]
    Abandoned(String),
    /// Timely could not be started.
    #[error("the workers cannot be started: {0}")]
    Start(String),
}

/// Says why a caller is not let into the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It speaks another version of this protocol; this is the refusing process's.
    Version(u16),
    /// It does not know the secret.
    Secret,
    /// It runs another job.
    Job,
    /// It has another number of workers than the refusing process, which has these.
    Workers(u32),
    /// It knows another number of processes than the refusing process, which knows these.
    Processes(u32),
    /// Its index is not one that may call here.
    Index,
    /// It wanted another process; this is the index of the one that it reached.
    Misdirected(u32),
    /// A process with its index is a member already.
    Taken,
    /// No cluster is being formed at the moment.
    Busy,
    /// It belongs to another incarnation.
    Incarnation,
}

impl Refusal {
    /// Tells whether the same call may be welcome later.
    pub(crate) fn may_pass(self) -> bool {
        matches!(self, Refusal::Taken | Refusal::Busy | Refusal::Incarnation)
    }

    /// Explains the refusal to the refused process.
    pub(crate) fn text(self, by: usize) -> String {
        match self {
            Refusal::Version(theirs) => {
                format!("it speaks version {theirs} of the cluster's protocol; run the same Freshet everywhere")
            }
            Refusal::Secret => format!("the secret differs from that of process {by}; give all processes the same one"),
            Refusal::Job => format!("the job differs from that of process {by}; give all processes the same job file"),
            Refusal::Workers(theirs) => format!("process {by} has {theirs} workers; give all processes the same -w"),
            Refusal::Processes(theirs) => format!("process {by} counts {theirs} processes; give all the same list of hosts"),
            Refusal::Index => format!("process {by} knows no process of this index; give all the same list of hosts"),
            Refusal::Misdirected(is) => format!("it is process {is}; give all processes the same list of hosts"),
            Refusal::Taken => "a process with this index is a member already; give each process an index of its own".to_owned(),
            Refusal::Busy => "no cluster is being formed at the moment".to_owned(),
            Refusal::Incarnation => "the connection belongs to another incarnation".to_owned(),
        }
    }

    /// Returns the refusal as the refusing process logs it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::Version(_) => "another version of the protocol",
            Refusal::Secret => "a wrong secret",
            Refusal::Job => "another job",
            Refusal::Workers(_) => "another number of workers",
            Refusal::Processes(_) => "another number of processes",
            Refusal::Index => "an unknown process index",
            Refusal::Misdirected(_) => "looking for another process",
            Refusal::Taken => "a second process with the same index",
            Refusal::Busy => "no cluster is being formed",
            Refusal::Incarnation => "a connection of another incarnation",
        }
    }
}
