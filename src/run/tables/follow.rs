//! Reads tables on process 0, and makes a durable version of each change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use freshet_connectors::circuit::Circuit;
use freshet_connectors::retry::Policy;
use freshet_connectors::{Error as ConnectorError, TableReader};
use freshet_dataflows::epochs::Version;
use freshet_dataflows::lookup::Lookup;
use freshet_model::{Timestamp, ipc};
use freshet_recovery::State;

use super::{Shelf, Tables, load};
use crate::job::{Job, TableSpec};
use crate::run::{Error, Shared};
use crate::stats::TableStats;

/// A thread that waits looks so often whether it is still needed.
const LOOK: Duration = Duration::from_millis(50);
/// So many numbers may be taken by a leader that was replaced and does not know it yet.
const MAX_TAKEN: u64 = 100;

/// What follows the tables of a job, each of which has been read once.
#[derive(Default)]
pub(in crate::run) struct Followers(Vec<(Follower, Box<dyn TableReader>)>);

/// What follows one table.
struct Follower {
    /// Index of the table.
    index: usize,
    shelf: Arc<Shelf>,
    refresh: Duration,
    circuit: Arc<Circuit>,
    /// Where versions are kept; `None` for a job that keeps no state.
    state: Option<Arc<State>>,
    /// The greatest number that a version has.
    number: Version,
    /// The rows that the table had when it was read last.
    known: Option<Arc<Lookup>>,
    /// Whether it was away when the job began.
    is_awaited: bool,
    shared: Arc<Shared>,
}

/// Reads all tables, also those that no stream reads yet, so that each has a version before the job begins. `anew` says that the versions of former runs count for nothing.
pub(in crate::run) fn read(
    job: &Job,
    tables: &Tables,
    state: Option<&Arc<State>>,
    anew: bool,
    shared: &Arc<Shared>,
) -> Result<Followers, Error> {
    let mut followers = Vec::new();
    for (index, (spec, shelf)) in job.tables.iter().zip(&tables.shelves).enumerate() {
        let mut follower = Follower::new(index, spec, job.retry, shelf, state, shared);
        follower.recall(anew)?;
        let mut reader = spec.open()?;
        if follower.known.is_some() {
            reader.was_read_before();
        }
        let began = Instant::now();
        follower.begin(began, reader.read())?;
        followers.push((follower, reader));
    }
    Ok(Followers(followers))
}

impl Followers {
    /// Starts the threads that read the tables again and again.
    pub(in crate::run) fn start(self, tables: &Arc<Tables>) {
        for (follower, reader) in self.0 {
            let (shared, tables) = (Arc::clone(&follower.shared), Arc::clone(tables));
            let name = format!("table {}", follower.shelf.plan.name);
            shared.spawn(&name, move || follower.run(reader, &tables));
        }
    }
}

impl Follower {
    fn new(
        index: usize,
        spec: &TableSpec,
        policy: Policy,
        shelf: &Arc<Shelf>,
        state: Option<&Arc<State>>,
        shared: &Arc<Shared>,
    ) -> Follower {
        let (shelf, state, shared) = (Arc::clone(shelf), state.cloned(), Arc::clone(shared));
        // The job goes on with the version that it has, for as long as it takes.
        let policy = Policy { first: policy.first.min(spec.refresh), most: policy.most.min(spec.refresh), give_up: None };
        let stats = &shared.stats.tables[index];
        let circuit =
            Circuit::with_meanwhile(&stats.thing(), policy, Arc::clone(&stats.circuit), "its last version stays in force");
        Follower { index, shelf, refresh: spec.refresh, circuit, state, number: 0, known: None, is_awaited: false, shared }
    }

    /// Finds the newest version of former runs, which is in force as long as nothing else is known.
    fn recall(&mut self, anew: bool) -> Result<(), Error> {
        let Some(state) = &self.state else { return Ok(()) };
        self.number = state.files().versions(&self.shelf.plan.name)?.last().copied().unwrap_or(0);
        if anew || self.number == 0 {
            return Ok(());
        }
        match load(state.files(), &self.shelf.plan, self.number) {
            Ok(lookup) => {
                let lookup = Arc::new(lookup);
                self.show(self.number, &lookup);
                self.known = Some(lookup);
            }
            // If an epoch names it, whoever needs it says so.
            Err(error @ (Error::OtherVersion(_) | Error::State(freshet_recovery::Error::Damaged(_)))) => {
                tracing::warn!("{error}; a new version is made of the table");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes in the first reading. A job that goes on does so with the version that it has, if the table is away, which is asked for again at once.
    fn begin(&mut self, began: Instant, read: Read) -> Result<(), Error> {
        let outcome = match read {
            Err(error) if self.known.is_some() && error.is_transient() => {
                self.is_awaited = true;
                tracing::warn!("{error}; version {} stays in force", self.number);
                self.count_failure();
                self.circuit.failed(began, error).map_err(Error::from)
            }
            read => read.map_err(Error::from).and_then(|rows| self.take(rows)),
        };
        match outcome {
            Err(error @ Error::Connector(_)) if self.known.is_some() => {
                self.tell(&error, &mut String::new());
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Reads the table again and again.
    fn run(mut self, reader: Box<dyn TableReader>, tables: &Tables) {
        let is_over = {
            let shared = Arc::clone(&self.shared);
            move || tables.over.load(Ordering::Relaxed) || shared.has_failed()
        };
        let Some((ask, answers)) = self.start_reading(reader) else { return };
        let mut told = String::new();
        while std::mem::take(&mut self.is_awaited) || wait(self.refresh, &is_over) {
            match self.read_again(&ask, &answers, &is_over) {
                Ok(true) if told.is_empty() => {}
                Ok(true) => {
                    tracing::info!("{} can be read again", self.stats().thing());
                    told.clear();
                }
                Ok(false) => return,
                Err(error) if may_pass(&error) => self.tell(&error, &mut told),
                Err(error) => return self.shared.fail(error),
            }
        }
    }

    /// Reads the table, again and again while it is away; tells whether anybody still needs it.
    fn read_again(&mut self, ask: &Sender<()>, answers: &Receiver<Read>, is_over: &impl Fn() -> bool) -> Result<bool, Error> {
        while self.circuit.wait_unless(is_over) && ask.send(()).is_ok() {
            let began = Instant::now();
            let Some(read) = answer(answers, is_over) else { break };
            match read {
                Ok(rows) => {
                    self.circuit.succeeded();
                    return self.take(rows).map(|()| true);
                }
                Err(error) => {
                    self.circuit.failed(began, error)?;
                    self.count_failure();
                }
            }
        }
        Ok(false)
    }

    /// Says once that the table cannot be taken in, and why.
    fn tell(&self, error: &Error, told: &mut String) {
        self.count_failure();
        let text = error.to_string();
        if text != *told {
            tracing::warn!("{text}; version {} stays in force", self.number);
            *told = text;
        }
    }

    fn count_failure(&self) {
        self.stats().failures.fetch_add(1, Ordering::Relaxed);
    }

    fn stats(&self) -> &TableStats {
        &self.shared.stats.tables[self.index]
    }

    /// Starts a thread that reads the table when it is asked to. Nobody waits for it at the end: a database that hangs must not hold up the job.
    fn start_reading(&self, mut reader: Box<dyn TableReader>) -> Option<(Sender<()>, Receiver<Read>)> {
        let (ask, asked) = bounded(1);
        let (answer, answers) = bounded(1);
        let name = format!("read {}", self.shelf.plan.name);
        let read = move || {
            for () in asked {
                if answer.send(reader.read()).is_err() {
                    return;
                }
            }
        };
        match thread::Builder::new().name(name.clone()).spawn(read) {
            Ok(_) => Some((ask, answers)),
            Err(error) => {
                self.shared.fail(Error::Worker(format!("thread '{name}' cannot be started: {error}")));
                None
            }
        }
    }

    /// Takes in what has been read; if it differs from what was known, it becomes a version.
    fn take(&mut self, rows: Option<RecordBatch>) -> Result<(), Error> {
        let now = Timestamp::now().0;
        if let Some(rows) = rows {
            let lookup = Lookup::new(&rows, &self.shelf.plan.key).map_err(|no_key| self.no_key(&no_key))?;
            if self.known.as_ref().is_none_or(|known| known.rows() != lookup.rows()) {
                let lookup = Arc::new(lookup);
                self.number = self.keep(&lookup)?;
                self.show(self.number, &lookup);
                self.known = Some(lookup);
                self.stats().changed.store(now, Ordering::Relaxed);
            }
        }
        self.stats().checked.store(now, Ordering::Relaxed);
        Ok(())
    }

    fn no_key(&self, no_key: &freshet_dataflows::lookup::NoKey) -> ConnectorError {
        ConnectorError::setup(
            self.stats().thing(),
            no_key.to_string(),
            "a key has each row once: correct the table, or its key in the job",
        )
    }

    /// Makes a version durable, and returns its number.
    fn keep(&self, lookup: &Lookup) -> Result<Version, Error> {
        let Some(state) = &self.state else { return Ok(self.number + 1) };
        let strange = |error: arrow::error::ArrowError| Error::Worker(format!("a table cannot be encoded: {error}"));
        let bytes = ipc::bytes_of(lookup.rows()).map_err(strange)?;
        let name = &self.shelf.plan.name;
        for number in self.number + 1..=self.number + MAX_TAKEN {
            if state.put_version(name, number, &bytes)? {
                return Ok(number);
            }
        }
        Err(Error::Worker(format!("the next {MAX_TAKEN} versions of table '{name}' are there already")))
    }

    /// Lets the sequencer name a version, and operators find it.
    fn show(&self, number: Version, lookup: &Arc<Lookup>) {
        self.shelf.add(number, Arc::clone(lookup));
        self.shelf.newest.store(number, Ordering::Release);
        let (stats, rows) = (self.stats(), lookup.rows().num_rows());
        stats.version.store(number, Ordering::Relaxed);
        stats.rows.store(rows as u64, Ordering::Relaxed);
        tracing::info!("{}: version {number}, {rows} rows", stats.thing());
    }
}

/// Tells whether the next reading may succeed where one has failed: the table is corrected, or the state is there again.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::State(error) => error.is_transient(),
        error => matches!(error, Error::Connector(_)),
    }
}

/// What a reading brings.
type Read = Result<Option<RecordBatch>, ConnectorError>;

/// Waits for what has been asked for; `None` if nobody needs it any more.
fn answer(answers: &Receiver<Read>, is_over: &impl Fn() -> bool) -> Option<Read> {
    loop {
        match answers.recv_timeout(LOOK) {
            Ok(read) => return Some(read),
            Err(RecvTimeoutError::Timeout) if !is_over() => {}
            Err(_) => return None,
        }
    }
}

/// Waits, and tells whether to go on.
fn wait(pause: Duration, is_over: &impl Fn() -> bool) -> bool {
    let until = Instant::now() + pause;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if is_over() {
            return false;
        }
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(LOOK));
    }
}
