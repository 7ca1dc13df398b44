//! Runs a job: opens its state, sources and sinks, builds its dataflow on each worker, and stays until it ends.
//!
//! ```text
//! reader threads ──▶ worker threads (timely) ──▶ committer thread of each table sink
//!  one a source        one dataflow each      ├─▶ appender thread of each batch sink and worker
//!  and worker                                 └─▶ epoch log, saved states, checkpoints
//! ```
//!
//! Threads meet at channels: readers wait while a worker has enough to do, and the sequencer cuts nothing while a sink has too
//! many epochs in hand, so that everything is bounded. A thread that fails says so in [`Shared`], and the incarnation ends: everything
//! of it is dropped, and if the job goes on, the next one begins from the durable state, as after a crash.
//!
//! | file | what |
//! |---|---|
//! | `incarnation` | one passage from the state to the end, alone or in a cluster |
//! | `begin`, `parts`, `change` | what the state says of where to begin, and whether it is of this job |
//! | `connect` | sources and sinks, opened and fenced |
//! | `workers` | the dataflow's ways to the outside |
//! | `tables` | the tables that streams are enriched from, read and shared by workers |
//! | `reader`, `committer`, `appender`, `keep` | the threads |
//! | `reset`, `splice`, `until` | views computed anew before the job goes on |
//! | `ahead` | how far a reader may go while epochs are read again |

mod ahead;
mod appender;
mod begin;
mod change;
mod committer;
mod connect;
mod incarnation;
mod keep;
mod numbers;
mod parts;
mod reader;
mod reset;
mod shared;
mod splice;
mod tables;
mod until;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freshet_connectors::retry::chance;
use freshet_dataflows::plan::Plan;
use freshet_model::Epoch;

pub use shared::Shared;

use crate::exit::Class;
use crate::hosts::Cluster;
use crate::job::{self, Job};
use crate::stats::Stats;
use incarnation::Incarnations;

/// An incarnation that lived for so long begins the pauses anew.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// How a job is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads in this process.
    pub workers: usize,
    /// The number of this process, from 0.
    pub process: usize,
    /// The cluster that this process belongs to; `None` for a single process.
    pub cluster: Option<Cluster>,
    /// Whether to stop at the sources' ends, as they are at the start.
    pub bounded: bool,
    /// Where the job's state is; by default in a folder of the job's name.
    pub state: Option<String>,
    /// Whether to fence off another instance of the job that lives.
    pub takeover: bool,
    /// What is to be forgotten and computed anew.
    pub reset: Reset,
    /// Whether to start again by itself when a system outside was away.
    pub supervise: bool,
}

/// What a start forgets of earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// Nothing: the job goes on.
    Nothing,
    /// The state, and what the sinks hold.
    Everything,
    /// All of these views, which are computed anew from the beginning of the sources to where the job stands.
    Views(Vec<String>),
}

impl Options {
    /// Returns the number of workers of the whole cluster.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.workers * self.cluster.as_ref().map_or(1, |cluster| cluster.hosts.len())
    }
}

/// What a run did.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Records read from all sources.
    pub events: u64,
    /// Seconds from the first reader's start to the last commit.
    pub seconds: f64,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A sink cannot hold what it reads.
    #[error(transparent)]
    Job(#[from] job::Error),
    /// A system outside refused or is missing.
    #[error(transparent)]
    Connector(#[from] freshet_connectors::Error),
    /// The job's durable state cannot be used.
    #[error(transparent)]
    State(#[from] freshet_recovery::Error),
    /// State and sinks contradict each other.
    #[error("{0}; {way_out}", way_out = .0.way_out())]
    Refused(#[from] freshet_protocol::Refusal),
    /// The job is not the one that its state was made by.
    #[error(
        "the job has changed since its state was made: {0}; change it back, give the job another name, or start once with --reset VIEW to compute a view anew, or with --reset to compute everything anew"
    )]
    Changed(String),
    /// The former job has left something to be repeated.
    #[error(
        "the job has changed, and epochs {from} to {to} of the former one would have to be repeated; start the former job once and stop it with Ctrl-C, then start the changed one, or start once with --reset to compute everything anew"
    )]
    Unfinished {
        /// The first epoch that would be repeated.
        from: Epoch,
        /// One that the former job sealed.
        to: Epoch,
    },
    /// Views cannot be computed anew by themselves.
    #[error("--reset {view}: {problem}; {remedy}")]
    Reset {
        /// The view.
        view: String,
        /// What stands in the way.
        problem: String,
        /// The way out.
        remedy: String,
    },
    /// The job was asked to stop while views were computed anew.
    #[error("stopped before the views had been computed anew: nothing has changed; start with --reset and their names once more")]
    Unreset,
    /// The state was written by another version of the program.
    #[error("{0}; start the version that wrote it, or once with --reset to compute everything anew from the sources")]
    OtherVersion(String),
    /// A bounded run of the job has come to its end before.
    #[error("the job has run to the end of its sources and closed all windows; to run it anew, start with --reset")]
    Finished,
    /// What is read again is not what was read before.
    #[error(
        "a source does not bring again what it brought before: {0}; restore it, or start once with --reset to compute everything anew"
    )]
    Diverged(String),
    /// The cluster's processes cannot find each other.
    #[error(transparent)]
    Cluster(freshet_cluster::Error),
    /// Another process of the cluster ended.
    #[error("{0}")]
    PeerLost(String),
    /// A sink did not take what was left in time.
    #[error("what was left could not be committed within {0:?}; nothing is lost: the next start brings it")]
    Drain(Duration),
    /// A worker ended although it should not have.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl From<freshet_cluster::Error> for Error {
    fn from(error: freshet_cluster::Error) -> Error {
        match error {
            freshet_cluster::Error::PeerLost(lost) => Error::PeerLost(lost.to_string()),
            error => Error::Cluster(error),
        }
    }
}

impl Error {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Error::Job(_) | Error::Changed(_) | Error::Unfinished { .. } | Error::Reset { .. } | Error::Finished => Class::Usage,
            Error::Connector(freshet_connectors::Error::Fenced { .. }) | Error::State(freshet_recovery::Error::Fenced { .. }) => {
                Class::Fenced
            }
            Error::State(freshet_recovery::Error::Held { .. }) => Class::Held,
            Error::Connector(_) | Error::State(_) => Class::Outside,
            Error::Cluster(_) | Error::PeerLost(_) => Class::Cluster,
            Error::Drain(_)
            | Error::Unreset
            | Error::Refused(_)
            | Error::OtherVersion(_)
            | Error::Diverged(_)
            | Error::Worker(_) => Class::Runtime,
        }
    }

    /// Tells whether another incarnation may succeed where this one has failed. A system that refuses now may be in the middle of its own start.
    fn may_pass(&self) -> bool {
        matches!(self.class(), Class::Outside | Class::Cluster) || matches!(self, Error::Worker(_))
    }
}

/// Runs a job until its sources end (`bounded`), until `stop` is set and what has been read is committed, or until it fails.
///
/// A process of a cluster that has lost another one begins the next incarnation by itself, and so does one whose source has more partitions
/// than before; other failures that may pass do so if the job is supervised.
///
/// # Errors
/// See [`Error`]. Nothing is half-written: what sinks show is the newest epoch that they committed.
pub fn run(job: Job, plan: Plan, options: Options, stats: Arc<Stats>, stop: Arc<AtomicBool>) -> Result<Summary, Error> {
    let mut incarnations = Incarnations::new(&job, Arc::new(plan), &options, &stats, &stop)?;
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let Err(error) = incarnations.next() else {
            return Ok(Summary { events: stats.records(), seconds: started.elapsed().as_secs_f64() });
        };
        stats.ready.store(false, Ordering::Relaxed);
        let news = match &error {
            Error::PeerLost(_) => Some("waiting for the cluster to be complete again"),
            Error::Connector(freshet_connectors::Error::Grown { .. }) => Some("beginning anew with all of it"),
            _ => None,
        };
        if stop.load(Ordering::Relaxed) || !(news.is_some() || options.supervise && error.may_pass()) {
            return Err(error);
        }
        if let Some(news) = news {
            tracing::warn!("{error}; {news}");
            continue;
        }
        failures = if started.elapsed() > LONG_LIFE { 1 } else { failures + 1 };
        let pause = job.retry.pause(failures, chance());
        tracing::warn!("{error}; starting again in {pause:?}");
        wait(pause, &stop);
    }
}

/// A fail point of the program's own threads.
fn point(name: &'static str) -> Result<(), freshet_connectors::Error> {
    if freshet_points::hit(name) { Err(freshet_connectors::Error::unavailable(name, "fail point")) } else { Ok(()) }
}

/// Waits, but not for longer than it takes to be asked to stop.
fn wait(pause: Duration, stop: &AtomicBool) {
    let until = Instant::now() + pause;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
