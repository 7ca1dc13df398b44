//! Runs a job: opens its sources and sinks, builds its dataflow on each worker, and stays until it ends.
//!
//! ```text
//! reader threads ──▶ worker threads (timely) ──▶ committer thread of each table sink
//!  one a source        one dataflow each      └─▶ appender thread of each batch sink and worker
//!  and worker
//! ```
//!
//! Threads meet at channels: readers wait while a worker has enough to do, and the sequencer cuts nothing while a sink has too
//! many epochs in hand, so that everything is bounded. A thread that fails says so in [`Shared`], and the process ends.

mod appender;
mod committer;
mod connect;
mod numbers;
mod reader;
mod shared;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use freshet_dataflows::plan::Plan;

pub use shared::Shared;

use crate::exit::Class;
use crate::job::{self, Job};
use crate::stats::Stats;

/// How a job is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads in this process.
    pub workers: usize,
    /// The number of this process, from 0.
    pub process: usize,
    /// The addresses of the cluster's processes; empty for a single process.
    pub hosts: Vec<String>,
    /// Whether to stop at the sources' ends, as they are at the start.
    pub bounded: bool,
}

impl Options {
    /// Returns the number of workers of the whole cluster.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.workers * self.hosts.len().max(1)
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
    /// The cluster's processes cannot find each other.
    #[error("the cluster cannot be formed: {0}")]
    Cluster(String),
    /// Another process of the cluster ended.
    #[error("another process of the cluster was lost; start all of them again")]
    PeerLost,
    /// A worker ended although it should not have.
    #[error("a worker failed: {0}")]
    Worker(String),
}

impl Error {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Error::Job(_) => Class::Usage,
            Error::Connector(_) | Error::Cluster(_) => Class::Outside,
            Error::PeerLost => Class::Lost,
            Error::Worker(_) => Class::Runtime,
        }
    }
}

/// Runs a job until its sources end (`bounded`), until `stop` is set and what has been read is committed, or until it fails.
///
/// # Errors
/// See [`Error`]. Nothing is half-written: what sinks show is the newest epoch that they committed.
pub fn run(job: Job, plan: Plan, options: Options, stats: Arc<Stats>, stop: Arc<AtomicBool>) -> Result<Summary, Error> {
    let shared = Arc::new(Shared::new(stats, stop));
    let connected = connect::connect(&job, Arc::new(plan), &options, &shared)?;
    shared.stats.ready.store(true, Ordering::Relaxed);
    let started = std::time::Instant::now();
    workers::run(connected, &options, &shared)?;
    Ok(Summary { events: shared.stats.records(), seconds: started.elapsed().as_secs_f64() })
}
