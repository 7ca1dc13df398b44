//! The job's processes: started together, and started again when they end, as a service manager does.

use std::fs::OpenOptions;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use freshet_harness::server::wait_for;

use crate::stage::Stage;

/// Exit code of a wrong command line or job file.
pub(crate) const USAGE: i32 = 2;
/// Exit code of an instance that a newer one has replaced.
pub(crate) const FENCED: i32 = 5;
/// Exit code of a start while another instance has the job.
pub(crate) const HELD: i32 = 6;
/// A process that ended by itself is started again after this pause, one that was killed at once.
const BACKOFF: Duration = Duration::from_millis(200);

/// How many processes with how many workers each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) processes: usize,
    pub(crate) workers: usize,
}

/// One place of the cluster, and the process that fills it.
struct Slot {
    child: Option<Child>,
    ended: Instant,
    pause: Duration,
}

struct Crew {
    slots: Vec<Slot>,
    lines: Vec<Command>,
    /// Whether processes that end are started again.
    keep_up: bool,
    /// Whether a fail point was set at the start.
    may_fail: bool,
    /// How each process ended that nobody asked to.
    ends: Vec<ExitStatus>,
}

/// Keeps the job's processes up.
pub(crate) struct Supervisor {
    crew: Arc<Mutex<Crew>>,
    pub(crate) size: Size,
}

impl Supervisor {
    /// Watches over no process yet.
    pub(crate) fn new(size: Size) -> Supervisor {
        let crew = Crew { slots: Vec::new(), lines: Vec::new(), may_fail: false, keep_up: false, ends: Vec::new() };
        let crew = Arc::new(Mutex::new(crew));
        let watched = Arc::downgrade(&crew);
        std::thread::spawn(move || {
            while let Some(crew) = watched.upgrade() {
                lock(&crew).watch();
                drop(crew);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        Supervisor { crew, size }
    }

    /// Starts all processes, with `extra` arguments and environment for this first time.
    pub(crate) fn start(&mut self, stage: &Stage, failpoints: Option<&str>) {
        let mut crew = lock(&self.crew);
        crew.lines = (0..self.size.processes).map(|process| line(stage, self.size, process)).collect();
        crew.slots = Vec::new();
        for at in 0..self.size.processes {
            let mut first = line(stage, self.size, at);
            failpoints.into_iter().for_each(|points| {
                first.env("FAILPOINTS", points);
            });
            crew.slots.push(Slot { child: Some(spawn(&mut first)), ended: Instant::now(), pause: BACKOFF });
        }
        (crew.keep_up, crew.may_fail) = (true, failpoints.is_some());
    }

    /// Asks all processes to drain and end; returns what went wrong, if anything, after which they are dead anyway.
    pub(crate) fn drain(&mut self, limit: Duration) -> Result<(), String> {
        lock(&self.crew).keep_up = false;
        self.signal("TERM", |_| true);
        let gone = wait_for(limit, || lock(&self.crew).slots.iter_mut().all(Slot::has_ended));
        let mut crew = lock(&self.crew);
        let codes: Vec<_> = crew.slots.iter_mut().map(Slot::end).collect();
        crew.slots.clear();
        if !gone {
            return Err(format!("did not end within {limit:?} of SIGTERM"));
        }
        // A point may be passed for the first time while the process drains.
        let is_well = |status: &ExitStatus| status.success() || crew.may_fail && status.code().is_some();
        match codes.iter().flatten().find(|status| !is_well(status)) {
            Some(status) => Err(format!("SIGTERM: {status}")),
            None => Ok(()),
        }
    }

    /// Sends a signal to the processes that `which` picks; returns to how many.
    pub(crate) fn signal(&self, signal: &str, which: impl Fn(usize) -> bool) -> usize {
        let mut crew = lock(&self.crew);
        let picked = crew.slots.iter_mut().enumerate().filter(|(at, _)| which(*at));
        picked.filter_map(|(_, slot)| (!slot.has_ended()).then_some(slot)).filter(|slot| slot.send(signal)).count()
    }

    /// Watches over another process in place of all that there are; returns how the first of those ends within `limit`.
    pub(crate) fn replace(&mut self, child: Child, limit: Duration) -> Option<ExitStatus> {
        let mut old = {
            let mut crew = lock(&self.crew);
            let new = Slot { child: Some(child), ended: Instant::now(), pause: BACKOFF };
            std::mem::replace(&mut crew.slots, vec![new])
        };
        let first = old.first_mut()?;
        wait_for(limit, || first.has_ended());
        let status = first.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        old.iter_mut().for_each(|slot| {
            slot.end();
        });
        status
    }

    /// Tells whether all processes run.
    pub(crate) fn is_up(&self) -> bool {
        let mut crew = lock(&self.crew);
        !crew.slots.is_empty() && crew.slots.iter_mut().all(|slot| !slot.has_ended())
    }

    /// Tells whether some process will not be started again, because it said that it must not be.
    pub(crate) fn given_up(&self) -> Option<String> {
        let crew = lock(&self.crew);
        let last = crew.ends.last().filter(|status| is_final(status))?;
        Some(format!("a process gave up: {last}"))
    }

    /// Returns how processes ended since the last call, those aside that were killed.
    pub(crate) fn take_ends(&self) -> Vec<ExitStatus> {
        std::mem::take(&mut lock(&self.crew).ends)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let mut crew = lock(&self.crew);
        crew.keep_up = false;
        crew.slots.iter_mut().for_each(|slot| {
            slot.end();
        });
    }
}

impl Crew {
    fn watch(&mut self) {
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if let Some(status) = slot.child.as_mut().and_then(|child| child.try_wait().ok().flatten()).filter(|_| self.keep_up) {
                // A killed process has no exit code; it did not ask for a pause either.
                slot.pause = if status.code().is_none() { Duration::ZERO } else { BACKOFF };
                (slot.child, slot.ended) = (None, Instant::now());
                self.ends.push(status);
                if is_final(&status) {
                    slot.pause = Duration::MAX;
                }
            }
            if self.keep_up && slot.child.is_none() && slot.ended.elapsed() >= slot.pause {
                slot.child = Some(spawn(&mut self.lines[at]));
            }
        }
    }
}

impl Slot {
    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn send(&self, signal: &str) -> bool {
        let Some(child) = &self.child else { return false };
        let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Ends it if it has not ended, and returns how it did.
    fn end(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let _ = child.kill();
        child.wait().ok()
    }
}

/// Tells whether a service manager must not start the process again.
fn is_final(status: &ExitStatus) -> bool {
    matches!(status.code(), Some(USAGE | FENCED))
}

fn lock(crew: &Mutex<Crew>) -> MutexGuard<'_, Crew> {
    crew.lock().unwrap_or_else(PoisonError::into_inner)
}

fn line(stage: &Stage, size: Size, process: usize) -> Command {
    let mut command = stage.command("run");
    command.args(["-w", &size.workers.to_string()]);
    if size.processes > 1 {
        command.args(["-n", &size.processes.to_string(), "-p", &process.to_string(), "--cluster"]);
        command.arg(stage.cluster_file(size.processes));
    }
    let log = OpenOptions::new().create(true).append(true).open(stage.log()).expect("the folder can be written");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log can be opened twice")).stderr(log);
    command
}

/// Begins the command line of a second instance of the job.
pub(crate) fn second(stage: &Stage, size: Size, arguments: &[&str]) -> Child {
    spawn(line(stage, size, 0).args(arguments))
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}
