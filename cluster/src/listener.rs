//! Hears whoever calls at this process's address, for as long as the process lives.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::forming::{Forming, Role};
use crate::gate::Gate;
use crate::limit::Limit;
use crate::member::Member;
use crate::{follow, greeting, lead};

/// So many unknown callers are heard at once; one more takes the place of the oldest.
const MAX_STRANGERS: usize = 64;
/// Greeting a caller needs little stack.
const STACK_BYTES: usize = 256 << 10;
/// After an error of the system, such as too many open files.
const RECOVERY: Duration = Duration::from_millis(50);

/// What the listener and the incarnations share.
pub(crate) struct Core {
    pub(crate) member: Member,
    pub(crate) gate: Gate,
    pub(crate) limit: Limit,
    /// The highest generation that this process has been part of.
    pub(crate) seen: AtomicU64,
    strangers: Mutex<VecDeque<Arc<TcpStream>>>,
    stop: OnceLock<Arc<AtomicBool>>,
    closing: AtomicBool,
}

impl Core {
    /// Tells whether forming shall be given up.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get().is_some_and(|stop| stop.load(Ordering::SeqCst))
    }

    /// Takes a caller off the list of unknown ones; false when it has been sent away.
    pub(crate) fn forget(&self, socket: &Arc<TcpStream>) -> bool {
        let mut strangers = self.strangers();
        let before = strangers.len();
        strangers.retain(|stranger| !Arc::ptr_eq(stranger, socket));
        strangers.len() < before
    }

    fn strangers(&self) -> MutexGuard<'_, VecDeque<Arc<TcpStream>>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens at a process's own address and refuses whatever does not belong there.
///
/// It outlives the incarnations that [`Listener::form`] makes one after another. In a job of one process it listens nowhere.
pub struct Listener {
    core: Arc<Core>,
    accepting: Option<(TcpListener, JoinHandle<()>)>,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// The member makes no sense, or the address cannot be had.
    pub fn bind(member: &Member) -> Result<Listener, Error> {
        member.check()?;
        let core = Arc::new(Core {
            member: member.clone(),
            gate: Gate::default(),
            limit: Limit::default(),
            seen: AtomicU64::new(0),
            strangers: Mutex::default(),
            stop: OnceLock::new(),
            closing: AtomicBool::new(false),
        });
        let accepting = match member.addresses.get(member.process) {
            Some(address) if member.processes() > 1 => Some(accept(&core, address)?),
            _ => None,
        };
        Ok(Listener { core, accepting })
    }

    /// Gives up forming, with [`Error::Interrupted`], once the flag is set; only the first flag given counts.
    #[must_use]
    pub fn stopped_by(self, stop: Arc<AtomicBool>) -> Listener {
        let _ = self.core.stop.set(stop);
        self
    }

    /// Forms an incarnation of the cluster: waits until every process of it is here and connected with every other.
    ///
    /// What is lost on the way comes again: this returns when the cluster is complete, or when waiting is of no use.
    ///
    /// # Errors
    /// The time for joining is over, another process refuses this one, or the generation is not higher than all before it.
    pub fn form(&mut self, role: Role) -> Result<Forming, Error> {
        match (role, self.core.member.process) {
            (Role::Leader { generation, greeting }, 0) => lead::lead(&self.core, generation, greeting),
            (Role::Follower, process) if process > 0 => follow::follow(&self.core),
            (_, process) => Err(Error::Member(format!("process {process} in the wrong role; process 0 leads"))),
        }
    }
}

#[cfg(test)]
impl Listener {
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some((socket, thread)) = self.accepting.take() else { return };
        self.core.closing.store(true, Ordering::SeqCst);
        for stranger in self.core.strangers().iter() {
            let _ = stranger.shutdown(Shutdown::Both);
        }
        // A call of our own ends the waiting for one.
        let woken = socket.local_addr().and_then(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)));
        if woken.is_ok() {
            let _ = thread.join();
        }
    }
}

fn accept(core: &Arc<Core>, address: &str) -> Result<(TcpListener, JoinHandle<()>), Error> {
    let failed = |source| Error::Bind { address: address.to_owned(), source };
    let addresses: Vec<_> = address.to_socket_addrs().map_err(failed)?.collect();
    let socket = TcpListener::bind(&addresses[..]).map_err(failed)?;
    let (own, core) = (socket.try_clone().map_err(failed)?, Arc::clone(core));
    let hear = move || {
        while !core.closing.load(Ordering::SeqCst) {
            match own.accept() {
                // The call that wakes this thread at its end is nobody's.
                Ok(_) if core.closing.load(Ordering::SeqCst) => return,
                Ok((stranger, _)) => hear(&core, stranger),
                Err(error) => {
                    warn(&core, "cannot accept connections", &error.to_string());
                    thread::sleep(RECOVERY);
                }
            }
        }
    };
    let thread = thread::Builder::new().name("freshet:accept".to_owned()).spawn(hear).map_err(Error::system("a thread"))?;
    Ok((socket, thread))
}

/// Greets a caller on a thread of its own, so that nobody has to wait for a silent one.
fn hear(core: &Arc<Core>, stranger: TcpStream) {
    let stranger = Arc::new(stranger);
    {
        let mut strangers = core.strangers();
        if strangers.len() == MAX_STRANGERS
            && let Some(oldest) = strangers.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both);
            warn(core, "too many unknown callers at once", "the oldest was sent away");
        }
        strangers.push_back(Arc::clone(&stranger));
    }
    let (greeted, of_thread) = (Arc::clone(&stranger), Arc::clone(core));
    let greet = move || {
        greeting::greet(&of_thread, &greeted);
        of_thread.forget(&greeted);
    };
    let builder = thread::Builder::new().name("freshet:greet".to_owned()).stack_size(STACK_BYTES);
    if let Err(error) = builder.spawn(greet) {
        core.forget(&stranger);
        warn(core, "cannot greet a caller", &error.to_string());
    }
}

fn warn(core: &Core, what: &'static str, detail: &str) {
    if let Some(kept_back) = core.limit.allows(what, Instant::now()) {
        tracing::warn!(kept_back, "{what}: {detail}");
    }
}
