//! One incarnation on its way: its connections and what happens on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use crate::error::{Cause, Ended, Error, Lost};
use crate::gate::Arrival;
use crate::hello::Kind;
use crate::links::{Event, Links};
use crate::listener::Core;
use crate::patience::{LOOK, Patience, Stop};

/// An incarnation that is being formed, or runs; dropping it ends it for everybody.
pub(crate) struct Incarnation {
    pub(crate) core: Arc<Core>,
    pub(crate) links: Arc<Links>,
    /// The connections for timely, by process.
    pub(crate) data: BTreeMap<usize, Arc<TcpStream>>,
    /// Which connections the gate has let in.
    pub(crate) arrived: BTreeSet<(usize, Kind)>,
    attempt: u64,
    events: Receiver<Event>,
}

impl Incarnation {
    /// Begins an attempt, with an open gate that wants nothing yet.
    pub(crate) fn begin(core: &Arc<Core>) -> Result<Incarnation, Error> {
        let (sender, events) = mpsc::channel();
        let links = Links::new(core.member.process, core.member.timeouts, sender.clone())?;
        let attempt = core.gate.open(sender, Arc::clone(&links));
        Ok(Incarnation { core: Arc::clone(core), links, data: BTreeMap::new(), arrived: BTreeSet::new(), attempt, events })
    }

    /// Waits for what happens next; `None` when a line about what is `missing` was logged.
    pub(crate) fn next(&self, patience: &mut Patience<'_>, missing: &dyn Fn() -> String) -> Result<Option<Event>, Stop> {
        loop {
            match self.events.recv_timeout(LOOK) {
                Ok(Event::Over) => return Err(Stop::Again),
                Ok(event) => return Ok(Some(event)),
                Err(RecvTimeoutError::Disconnected) => return Err(Stop::Again),
                Err(RecvTimeoutError::Timeout) if patience.look(missing)? => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Takes over a connection that the gate has let in.
    pub(crate) fn enter(&mut self, arrival: Arrival) -> Result<(), Error> {
        self.arrived.insert((arrival.process, arrival.kind));
        match arrival.kind {
            Kind::Data => drop(self.data.insert(arrival.process, arrival.socket)),
            Kind::Control | Kind::Join => self.links.add(arrival.process, arrival.socket)?,
        }
        Ok(())
    }

    /// Says why the incarnation is over.
    pub(crate) fn loss(&self) -> Error {
        match self.links.ended() {
            Some(Ended::PeerLost(lost)) => lost.into(),
            _ => Lost { process: self.core.member.process, cause: Cause::Closed }.into(),
        }
    }

    /// Returns the indices of all other processes.
    pub(crate) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.core.member.process;
        (0..self.core.member.processes()).filter(move |process| *process != own)
    }
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        self.core.gate.close(self.attempt);
        self.links.close();
    }
}
