//! A complete cluster before timely starts: barriers with bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::error::{Error, Lost};
use crate::frame::Frame;
use crate::incarnation::Incarnation;
use crate::links::Event;
use crate::patience::{Patience, Stop};
use crate::run::Running;

/// What a process does while a cluster is formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Process 0 leads.
    Leader {
        /// The number of the incarnation to form, higher than that of all before it.
        generation: u64,
        /// Bytes that every process gets.
        greeting: Vec<u8>,
    },
    /// All others follow.
    Follower,
}

/// A complete cluster whose workers have not started.
///
/// All connections are made, and heartbeats run. Dropping it lets all other processes notice the loss of this one.
pub struct Forming {
    incarnation: Incarnation,
    generation: u64,
    greeting: Vec<u8>,
    /// On the leader, what came for a barrier, process by process.
    parts: BTreeMap<usize, VecDeque<Vec<u8>>>,
}

impl Forming {
    pub(crate) fn new(incarnation: Incarnation, generation: u64, greeting: Vec<u8>) -> Forming {
        Forming { incarnation, generation, greeting, parts: BTreeMap::new() }
    }

    /// Returns the number of this incarnation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the bytes that the leader gave to everybody.
    #[must_use]
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// Sends the leader this process's bytes; on the leader, waits for everybody's and returns them by process.
    ///
    /// # Errors
    /// A peer is lost, or the bytes are more than 64 MB.
    pub fn gather(&mut self, mine: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, Error> {
        point!("cluster::before_gather");
        if self.own() != 0 {
            self.incarnation.links.send(0, &Frame::Gather(mine))?;
            return Ok(None);
        }
        let core = Arc::clone(&self.incarnation.core);
        let mut patience = Patience::endless(&core);
        while let Some(missing) = self.incarnation.others().find(|process| !self.has_part(*process)) {
            let waiting = || format!("process {missing} prepares its part");
            if let Some(Event::Said(process, Frame::Gather(part))) = self.next(&mut patience, &waiting)? {
                self.parts.entry(process).or_default().push_back(part);
            }
        }
        let others = self.parts.values_mut().filter_map(VecDeque::pop_front);
        Ok(Some([mine].into_iter().chain(others).collect()))
    }

    /// Sends the leader's bytes to everybody, and returns them. Whoever waits for them does not stop on request, but as soon as the cluster has begun to run.
    ///
    /// # Errors
    /// A peer is lost, the bytes are more than 64 MB, or there are none on the leader.
    pub fn scatter(&mut self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
        point!("cluster::before_scatter");
        if self.own() == 0 {
            let bytes = bytes.ok_or_else(|| Error::Member("the leader has nothing to scatter".to_owned()))?;
            let frame = Frame::Scatter(bytes);
            self.incarnation.others().try_for_each(|process| self.incarnation.links.send(process, &frame))?;
            let Frame::Scatter(bytes) = frame else { unreachable!("invariant: it was made above") };
            return Ok(bytes);
        }
        let core = Arc::clone(&self.incarnation.core);
        let mut patience = Patience::bound(&core);
        loop {
            let waiting = || "process 0 decides where to begin".to_owned();
            if let Some(Event::Said(0, Frame::Scatter(bytes))) = self.next(&mut patience, &waiting)? {
                return Ok(bytes);
            }
        }
    }

    /// Makes the cluster ready to run; from now on `on_lost` is called when a peer is lost, once, on a thread that must not be held up.
    ///
    /// # Errors
    /// A peer is lost already.
    pub fn start(self, on_lost: impl Fn(Lost) + Send + Sync + 'static) -> Result<Running, Error> {
        point!("cluster::started");
        let data = self.incarnation.data.values().cloned().collect();
        self.incarnation.links.arm(Box::new(on_lost), data)?;
        Ok(Running::new(self.incarnation))
    }

    fn next(&self, patience: &mut Patience<'_>, waiting: &dyn Fn() -> String) -> Result<Option<Event>, Error> {
        self.incarnation.next(patience, waiting).map_err(|stop| match stop {
            Stop::Again => self.incarnation.loss(),
            Stop::Fail(error) => error,
        })
    }

    fn has_part(&self, process: usize) -> bool {
        self.parts.get(&process).is_some_and(|parts| !parts.is_empty())
    }

    fn own(&self) -> usize {
        self.incarnation.core.member.process
    }
}
