//! The control connections of one incarnation, and its end.
//!
//! Each connection has a thread that reads it; one more thread beats for all of them (`pulse`). Until the links are *bound*
//! a connection may end without consequences: its process may come again. From then on the end of one that did not say
//! good-bye is the end of the incarnation: everybody is told, every socket shut down, every worker woken.
//!
//! The end has one owner, [`Links::end`], and happens once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crate::error::{Cause, Ended, Error, Lost};
use crate::frame::{Frame, MAX_FRAME_BYTES};
use crate::gate::Arrival;
use crate::line::Line;
use crate::member::Timeouts;
use crate::pulse;

/// Telling the others that all is over may take so long.
const LAST_WORD: Duration = Duration::from_millis(50);
/// When the data connection of a peer ends, its control connection has so long to say why.
const VERDICT: Duration = Duration::from_millis(20);
/// After good-byes the other sides have so long to close.
const FAREWELL: Duration = Duration::from_secs(1);

/// Called once when a peer is lost.
pub(crate) type OnLost = Box<dyn FnOnce(Lost) + Send>;

/// What happens while a cluster is being formed.
pub(crate) enum Event {
    /// The gate has let a connection in.
    Arrived(Arrival),
    /// A process said something.
    Said(usize, Frame),
    /// A connection that was not bound has ended.
    Gone(usize),
    /// The incarnation has ended.
    Over,
}

/// The control connections of one incarnation.
pub(crate) struct Links {
    own: usize,
    pub(crate) timeouts: Timeouts,
    events: Sender<Event>,
    over: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<usize, Arc<Line>>,
    threads: Vec<JoinHandle<()>>,
    /// Threads that still read.
    readers: usize,
    bound: bool,
    /// Who has said good-bye: it may still wait for ours, and be silent until then.
    byes: BTreeSet<usize>,
    said_bye: bool,
    ended: Option<Ended>,
    on_lost: Option<OnLost>,
    data: Vec<Arc<TcpStream>>,
    workers: Vec<Thread>,
    workers_joined: bool,
    closing: bool,
}

impl Links {
    /// Begins without any connection.
    pub(crate) fn new(own: usize, timeouts: Timeouts, events: Sender<Event>) -> Result<Arc<Links>, Error> {
        let (state, changed, over) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let links = Arc::new(Links { own, timeouts, events, over, state, changed });
        let of_thread = Arc::clone(&links);
        links.spawn("freshet:pulse".to_owned(), move || pulse::beat(&of_thread))?;
        Ok(links)
    }

    fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = thread::Builder::new().name(name).spawn(body).map_err(Error::system("a thread"))?;
        self.lock().threads.push(thread);
        Ok(())
    }

    /// Takes a connection over and begins to read it.
    pub(crate) fn add(self: &Arc<Links>, process: usize, socket: Arc<TcpStream>) -> Result<(), Error> {
        let line = Arc::new(Line::new(socket, self.timeouts.lost_after).map_err(Error::system("a time limit for writing"))?);
        {
            let mut state = self.lock();
            state.lines.insert(process, Arc::clone(&line));
            state.readers += 1;
        }
        let links = Arc::clone(self);
        self.spawn(format!("freshet:link-{process}"), move || {
            links.listen(process, &line);
            links.lock().readers -= 1;
            links.changed.notify_all();
        })
    }

    /// Reads one connection to its end.
    fn listen(&self, process: usize, line: &Arc<Line>) {
        loop {
            match line.read() {
                Ok(Frame::Beat) => {}
                Ok(Frame::Bye) => {
                    self.lock().byes.insert(process);
                    self.changed.notify_all();
                }
                Ok(Frame::End { lost }) => self.told(process, lost as usize),
                Ok(frame) => drop(self.events.send(Event::Said(process, frame))),
                Err(error) => {
                    tracing::debug!("the connection with process {process} ended: {error}");
                    return self.gone(process, line);
                }
            }
        }
    }

    fn told(&self, by: usize, lost: usize) {
        let lost = match lost {
            lost if lost == by => Lost { process: by, cause: Cause::Closed },
            lost if lost == self.own => Lost { process: by, cause: Cause::GaveUp },
            process => Lost { process, cause: Cause::Told { by } },
        };
        self.end(Ended::PeerLost(lost));
    }

    fn gone(&self, process: usize, line: &Arc<Line>) {
        let mut state = self.lock();
        if state.closing || state.ended.is_some() || state.byes.contains(&process) {
            return;
        }
        if state.bound {
            drop(state);
            self.end(Ended::PeerLost(Lost { process, cause: Cause::Closed }));
        } else if state.lines.get(&process).is_some_and(|current| Arc::ptr_eq(current, line)) {
            state.lines.remove(&process);
            let _ = self.events.send(Event::Gone(process));
        }
    }

    /// Notes that a process has been silent for too long.
    pub(crate) fn silent(&self, process: usize, line: &Line, silence: Duration) {
        if self.lock().bound {
            self.end(Ended::PeerLost(Lost { process, cause: Cause::Silent(silence) }));
        } else {
            line.shutdown(Shutdown::Both);
        }
    }

    /// Notes that a data connection has ended or failed before its time.
    pub(crate) fn data_ended(&self, process: usize) {
        let state = self.lock();
        let timed = self.changed.wait_timeout_while(state, VERDICT, |state| state.ended.is_none());
        drop(timed);
        self.end(Ended::PeerLost(Lost { process, cause: Cause::Closed }));
    }

    /// Makes the loss of any of these connections the end; tells whether all of them are here.
    pub(crate) fn bind(&self, processes: impl IntoIterator<Item = usize>) -> bool {
        let mut state = self.lock();
        state.bound = true;
        processes.into_iter().all(|process| state.lines.contains_key(&process))
    }

    /// Sends a frame; a peer that does not take it is lost.
    pub(crate) fn send(&self, process: usize, frame: &Frame) -> Result<(), Error> {
        let bytes = match frame {
            Frame::Go { greeting: bytes, .. } | Frame::Gather(bytes) | Frame::Scatter(bytes) => bytes.len(),
            _ => 0,
        };
        if bytes > MAX_FRAME_BYTES - 64 {
            return Err(Error::TooLarge(bytes));
        }
        let line = self.lock().lines.get(&process).cloned();
        let lost = Lost { process, cause: Cause::Closed };
        if line.is_none_or(|line| line.write(frame).is_err()) {
            self.end(Ended::PeerLost(lost.clone()));
        }
        match self.ended() {
            None => Ok(()),
            Some(Ended::PeerLost(lost)) => Err(lost.into()),
            Some(_) => Err(lost.into()),
        }
    }

    /// Ends the incarnation, once: what comes later is only an echo of it.
    pub(crate) fn end(&self, how: Ended) {
        let (lines, data, workers, on_lost) = {
            let mut state = self.lock();
            if state.ended.is_some() || state.closing {
                return;
            }
            state.ended = Some(how.clone());
            self.over.store(true, Ordering::SeqCst);
            (state.lines.clone(), std::mem::take(&mut state.data), std::mem::take(&mut state.workers), state.on_lost.take())
        };
        self.changed.notify_all();
        workers.iter().for_each(Thread::unpark);
        let lost = match &how {
            Ended::PeerLost(lost) => lost.process,
            _ => self.own,
        };
        for (_, line) in lines.iter().filter(|(process, _)| **process != lost) {
            line.hurry(LAST_WORD);
            let _ = line.write_if_free(&Frame::End { lost: lost as u32 });
        }
        lines.values().for_each(|line| line.shutdown(Shutdown::Both));
        for socket in data {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let (Ended::PeerLost(lost), Some(on_lost)) = (how, on_lost) {
            on_lost(lost);
        }
        let _ = self.events.send(Event::Over);
    }

    /// Returns how the incarnation ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.lock().ended.clone()
    }

    /// Tells whether the incarnation has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Names what to call at a loss, and the connections to end with it.
    pub(crate) fn arm(&self, on_lost: OnLost, data: Vec<Arc<TcpStream>>) -> Result<(), Error> {
        let mut state = self.lock();
        match &state.ended {
            Some(Ended::PeerLost(lost)) => Err(lost.clone().into()),
            _ => {
                (state.on_lost, state.data) = (Some(on_lost), data);
                Ok(())
            }
        }
    }

    /// Wakes this thread when the incarnation ends.
    pub(crate) fn wake_at_end(&self, worker: Thread) {
        self.lock().workers.push(worker);
    }

    /// Says that no worker runs any more.
    pub(crate) fn workers_have_ended(&self) {
        self.lock().workers_joined = true;
        self.changed.notify_all();
    }

    /// Waits until no worker runs any more; tells whether that came in time.
    pub(crate) fn wait_for_workers(&self, limit: Duration) -> bool {
        let wait = self.changed.wait_timeout_while(self.lock(), limit, |state| !state.workers_joined);
        wait.unwrap_or_else(PoisonError::into_inner).0.workers_joined
    }

    /// Says good-bye to everybody.
    pub(crate) fn say_bye(&self) {
        let lines = {
            let mut state = self.lock();
            state.said_bye = true;
            state.lines.clone()
        };
        for (process, line) in lines {
            if line.write(&Frame::Bye).is_err() && !self.lock().byes.contains(&process) {
                self.end(Ended::PeerLost(Lost { process, cause: Cause::Closed }));
            }
        }
    }

    /// Waits until everybody has said good-bye, or one is lost.
    pub(crate) fn wait_for_byes(&self) {
        let is_open = |state: &mut State| state.ended.is_none() && state.byes.len() < state.lines.len();
        drop(self.changed.wait_while(self.lock(), is_open));
    }

    /// Returns the connections.
    pub(crate) fn lines(&self) -> Vec<(usize, Arc<Line>)> {
        self.lock().lines.iter().map(|(process, line)| (*process, Arc::clone(line))).collect()
    }

    /// Tells whether a process has said good-bye, so that nothing more is expected of it.
    pub(crate) fn has_left(&self, process: usize) -> bool {
        self.lock().byes.contains(&process)
    }

    /// Tells whether this process has said good-bye, so that nobody expects anything more of it.
    pub(crate) fn has_said_bye(&self) -> bool {
        self.lock().said_bye
    }

    /// Sleeps; tells whether the connections are still of use afterwards.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        let wait = self.changed.wait_timeout_while(self.lock(), duration, |state| !state.closing && state.ended.is_none());
        let state = wait.unwrap_or_else(PoisonError::into_inner).0;
        !state.closing && state.ended.is_none()
    }

    /// Closes all connections and waits for all threads.
    ///
    /// After good-byes from everybody the other sides get the time to close too, so that no last word is cut off.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        let in_peace = state.ended.is_none() && state.bound && state.byes.len() == state.lines.len();
        state.closing = true;
        self.changed.notify_all();
        if in_peace {
            state.lines.values().for_each(|line| line.shutdown(Shutdown::Write));
            let wait = self.changed.wait_timeout_while(state, FAREWELL, |state| state.readers > 0);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        for (_, line) in std::mem::take(&mut state.lines) {
            line.shutdown(Shutdown::Both);
        }
        for socket in std::mem::take(&mut state.data) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        state.on_lost = None;
        state.workers.clear();
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
