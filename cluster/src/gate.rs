//! Decides which connections are wanted at the moment.
//!
//! A leader that waits for members wants one `Join` from each; everybody who links wants the connections of the incarnation that
//! is being formed, each once. Everything else is refused, also while the cluster runs.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Refusal;
use crate::frame::IncarnationId;
use crate::hello::{Hello, Kind};
use crate::links::{Event, Links};

/// A connection that was let in.
pub(crate) struct Arrival {
    pub(crate) process: usize,
    pub(crate) kind: Kind,
    /// The highest generation that the caller has been part of.
    pub(crate) seen: u64,
    pub(crate) socket: Arc<TcpStream>,
}

/// A place that is kept for a caller until it has heard that it is welcome.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    attempt: u64,
    wanted: Wanted,
}

type Wanted = (usize, Kind);

/// What is let in.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the attempts at forming, so that one that is over cannot change what the next one wants.
    attempt: u64,
    incarnation: Option<IncarnationId>,
    wanted: BTreeSet<Wanted>,
    arrivals: Option<Sender<Event>>,
    links: Option<Arc<Links>>,
}

impl Gate {
    /// Begins an attempt and returns its number; arrivals go to `arrivals`.
    pub(crate) fn open(&self, arrivals: Sender<Event>, links: Arc<Links>) -> u64 {
        let mut state = self.lock();
        *state = State { attempt: state.attempt + 1, arrivals: Some(arrivals), links: Some(links), ..State::default() };
        state.attempt
    }

    /// Ends an attempt, or the incarnation that came of it.
    pub(crate) fn close(&self, attempt: u64) {
        let mut state = self.lock();
        if state.attempt == attempt {
            *state = State { attempt, ..State::default() };
        }
    }

    /// Wants these connections too.
    pub(crate) fn want(&self, wanted: impl IntoIterator<Item = Wanted>) {
        self.lock().wanted.extend(wanted);
    }

    /// Names the incarnation to which connections must belong.
    pub(crate) fn name(&self, incarnation: IncarnationId) {
        self.lock().incarnation = Some(incarnation);
    }

    /// Keeps a place for an authenticated caller, or says why it is not wanted.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<Ticket, Refusal> {
        let mut state = self.lock();
        // Who holds an incarnation that is over may not know it yet: nobody's place is taken in it.
        if state.links.as_ref().is_none_or(|links| links.is_over()) {
            return Err(Refusal::Busy);
        }
        if hello.kind != Kind::Join && state.incarnation != Some(hello.incarnation) {
            return Err(Refusal::Incarnation);
        }
        let wanted = (hello.from as usize, hello.kind);
        if !state.wanted.remove(&wanted) {
            return Err(Refusal::Taken);
        }
        Ok(Ticket { attempt: state.attempt, wanted })
    }

    /// Gives a place back whose caller went away.
    pub(crate) fn release(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.attempt == ticket.attempt {
            state.wanted.insert(ticket.wanted);
        }
    }

    /// Hands a connection over; one whose attempt is over is closed.
    pub(crate) fn enter(&self, ticket: Ticket, seen: u64, socket: Arc<TcpStream>) {
        let state = self.lock();
        let (process, kind) = ticket.wanted;
        if let (true, Some(arrivals)) = (state.attempt == ticket.attempt, &state.arrivals) {
            let _ = arrivals.send(Event::Arrived(Arrival { process, kind, seen, socket }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::error::Ended;
    use crate::member::Timeouts;

    fn open(gate: &Gate) -> (u64, Arc<Links>) {
        let arrivals = mpsc::channel().0;
        let links = Links::new(0, Timeouts::default(), arrivals.clone()).expect("a thread");
        (gate.open(arrivals, Arc::clone(&links)), links)
    }

    fn hello(kind: Kind, from: u32, incarnation: IncarnationId) -> Hello {
        Hello { kind, from, to: 0, processes: 3, workers: 1, job: 0, seen: 0, incarnation, nonce: [0; 32] }
    }

    #[test]
    fn each_wanted_connection_is_let_in_once() {
        let gate = Gate::default();
        let join = hello(Kind::Join, 1, [0; 16]);
        assert_eq!(gate.admit(&join).err(), Some(Refusal::Busy));
        let (attempt, _links) = open(&gate);
        gate.want([(1, Kind::Join)]);
        let ticket = gate.admit(&join).expect("it is wanted");
        assert_eq!(gate.admit(&join).err(), Some(Refusal::Taken));
        gate.release(ticket);
        assert!(gate.admit(&join).is_ok(), "the first one went away");

        gate.name([1; 16]);
        gate.want([(1, Kind::Data)]);
        assert_eq!(gate.admit(&hello(Kind::Data, 1, [2; 16])).err(), Some(Refusal::Incarnation));
        assert!(gate.admit(&hello(Kind::Data, 1, [1; 16])).is_ok());
        assert_eq!(gate.admit(&hello(Kind::Data, 1, [1; 16])).err(), Some(Refusal::Taken));

        gate.close(attempt + 1);
        assert_eq!(gate.admit(&join).err(), Some(Refusal::Taken), "another attempt closes nothing");
        gate.close(attempt);
        assert_eq!(gate.admit(&join).err(), Some(Refusal::Busy));
        gate.release(ticket);
        let (_, links) = open(&gate);
        assert_eq!(gate.admit(&join).err(), Some(Refusal::Taken), "an old ticket opens no place");
        links.end(Ended::Abandoned("the test wants it".to_owned()));
        assert_eq!(gate.admit(&join).err(), Some(Refusal::Busy), "no place is taken in what is over");
    }
}
