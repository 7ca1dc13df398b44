//! Runs timely's workers on the connections of an incarnation, and ends both together.
//!
//! ```text
//! workers run ─▶ all local workers have ended ─▶ Bye to all ─▶ network threads end ─▶ Bye from all ─▶ closed
//!      └── a peer is lost, a worker panics, or the caller gives up: sockets down, workers woken ─────────┘
//! ```
//! A worker's panic is caught inside its thread: it ends the incarnation, and does not poison the queues that the other threads use.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks};
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

use crate::error::{Ended, Lost};
use crate::hush::{self, Hush};
use crate::incarnation::Incarnation;
use crate::links::Links;
use crate::stream::{DataStream, Tally};

/// How long a worker sleeps that has nothing to do, before it looks whether its incarnation goes on.
const LOOK: Duration = Duration::from_millis(50);

/// A cluster whose workers can start; [`run`] starts them.
///
/// Dropping it without that lets all other processes notice the loss of this one.
pub struct Running {
    incarnation: Incarnation,
}

/// Tells from any thread how an incarnation does, and can end it.
#[derive(Clone)]
pub struct Handle {
    links: Arc<Links>,
}

impl Handle {
    /// Tells whether the incarnation has ended otherwise than well: a worker must drop its dataflows and return.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.links.is_over()
    }

    /// Returns the peer that was lost, if one was.
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        match self.links.ended() {
            Some(Ended::PeerLost(lost)) => Some(lost),
            _ => None,
        }
    }

    /// Gives the incarnation up: the other processes notice the loss of this one.
    pub fn abandon(&self, reason: impl Into<String>) {
        self.links.end(Ended::Abandoned(reason.into()));
    }
}

impl Running {
    pub(crate) fn new(incarnation: Incarnation) -> Running {
        Running { incarnation }
    }

    /// Returns what tells how the incarnation does.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { links: Arc::clone(&self.incarnation.links) }
    }

    /// Gives the connections to timely.
    fn builders(&mut self, streams: &Tally) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>), String> {
        let member = &self.incarnation.core.member;
        let (process, workers) = (member.process, member.workers);
        match member.processes() {
            1 if workers == 1 => return CommunicationConfig::Thread.try_build(),
            1 => return CommunicationConfig::Process(workers).try_build(),
            _ => {}
        }
        let data = std::mem::take(&mut self.incarnation.data);
        let mut sockets: Vec<Option<DataStream>> = (0..member.processes()).map(|_| None).collect();
        for (peer, socket) in data {
            sockets[peer] = Some(DataStream::new(socket, Arc::clone(&self.incarnation.links), peer, streams.clone()));
        }
        let inside = ProcessBuilder::new_typed_vector(workers, Hooks::default().refill, None);
        let (builders, threads) = initialize_networking_from_sockets(inside, sockets, process, workers, Hooks::default())
            .map_err(|error| error.to_string())?;
        Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(threads)))
    }
}

/// Runs `work` on every worker of this process until all dataflows of the cluster are complete, and returns what it returned.
///
/// When the incarnation ends before that, `work` has to return soon: it looks at [`Handle::is_over`] as often as it steps its
/// worker, and is woken when it sleeps. One that goes on stepping is brought down after two seconds. `work` ends its dataflows early
/// only after [`Handle::abandon`]: the other processes would wait for them.
///
/// # Errors
/// A peer was lost, a worker panicked, or the incarnation was abandoned. Whatever the outcome, no thread of the incarnation
/// runs any more, and its connections are closed.
pub fn run<T, F>(mut running: Running, work: F) -> Result<Vec<T>, Ended>
where
    T: Send + 'static,
    F: Fn(&mut Worker) -> T + Send + Sync + 'static,
{
    let _hush = Hush::new();
    let links = Arc::clone(&running.incarnation.links);
    let streams = Tally::default();
    let (builders, network) = running.builders(&streams).map_err(Ended::Start)?;
    let of_workers = Arc::clone(&links);
    let begun = timely::execute::execute_from(builders, Box::new(()), WorkerConfig::default(), move |worker| {
        watched(worker, &of_workers, &work)
    });
    let mut results = Vec::new();
    match begun {
        Ok(workers) => results = workers.join(),
        Err(error) => links.end(Ended::Start(error)),
    }
    links.workers_have_ended();
    let results: Vec<T> = results.into_iter().filter_map(Result::ok).flatten().collect();
    if results.len() < running.incarnation.core.member.workers {
        // Whatever the reason was, it has been told before; this is for a worker that failed while it was being dropped.
        links.end(Ended::Panic("a worker's end".to_owned()));
    }
    if !links.is_over() {
        links.say_bye();
    }
    if let Err(panic) = hush::quietly(|| drop(network)) {
        links.end(Ended::Panic(panic));
    }
    links.wait_for_byes();
    drop(running);
    streams.wait();
    links.ended().map_or(Ok(results), Err)
}

/// One worker's life; nothing when it did not end well.
fn watched<T>(worker: &mut Worker, links: &Links, work: &impl Fn(&mut Worker) -> T) -> Option<T> {
    links.wake_at_end(thread::current());
    let live = AssertUnwindSafe(|| {
        let result = work(worker);
        while worker.has_dataflows() && !links.is_over() {
            worker.step_or_park(Some(LOOK));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        result
    });
    match catch_unwind(live) {
        Ok(result) => Some(result),
        Err(panic) => {
            links.end(Ended::Panic(hush::text(&*panic)));
            None
        }
    }
}
