//! Looks at the database all the time, as a dashboard would: what must be equal at every instant, and what must never go back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::{Client, IsolationLevel, NoTls, Row};

use crate::stage::JOB;

/// So long between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Only the first sentences are kept.
const MAX_SENTENCES: usize = 20;

const PROGRESS: &str = "SELECT generation, epoch, (extract(epoch FROM committed_at) * 1000000)::bigint FROM freshet.progress
     WHERE job = $1 AND committed_at IS NOT NULL";
const LEDGER: &str =
    "SELECT view, epoch, read, counted, filtered, late, dead_letters FROM freshet.ledger WHERE job = $1 ORDER BY view";
const VIEWS: &str = "SELECT coalesce(sum(view_count), 0)::bigint FROM page_view_counts";

/// What the database said of the job's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    pub(crate) generation: i64,
    pub(crate) epoch: i64,
    /// When that epoch was committed, in microseconds of the machine's clock.
    pub(crate) committed_micros: i64,
}

/// What a reader has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often it has looked and seen everything.
    pub(crate) looks: u64,
    /// The newest progress.
    pub(crate) progress: Option<Progress>,
    /// Records that the newest look accounts for.
    pub(crate) read: i64,
    /// How many looks showed something that must not be.
    pub(crate) torn: u64,
    /// What the first of them showed.
    pub(crate) sentences: Vec<String>,
}

/// A thread that looks.
pub(crate) struct Reader {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts to look.
    pub(crate) fn start(url: &str) -> Reader {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (into, told, url) = (Arc::clone(&seen), Arc::clone(&stop), url.to_owned());
        let thread = std::thread::spawn(move || {
            let mut client = None;
            while !told.load(Ordering::SeqCst) {
                client = client.or_else(|| Client::connect(&url, NoTls).ok());
                // The server may be away, or the tables not there yet; then the next look is as good.
                if client.as_mut().is_some_and(|client| look(client, &into).is_err()) {
                    client = client.filter(|client| !client.is_closed());
                }
                std::thread::sleep(PAUSE);
            }
        });
        Reader { seen, stop, thread: Some(thread) }
    }

    /// Returns the newest progress.
    pub(crate) fn progress(&self) -> Progress {
        lock(&self.seen).progress.unwrap_or_default()
    }

    /// Returns how many records the newest look accounts for.
    pub(crate) fn read(&self) -> i64 {
        lock(&self.seen).read
    }

    /// Returns how many looks there were, and takes away what must not have been seen since the last call.
    pub(crate) fn take_torn(&self) -> (u64, u64, Vec<String>) {
        let mut seen = lock(&self.seen);
        (seen.looks, std::mem::take(&mut seen.torn), std::mem::take(&mut seen.sentences))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It panics at most with the message that it has printed.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads everything in one snapshot and compares it.
fn look(client: &mut Client, seen: &Mutex<Seen>) -> Result<(), postgres::Error> {
    let mut snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start()?;
    let Some(row) = snapshot.query_opt(PROGRESS, &[&JOB])? else { return Ok(()) };
    let progress = Progress { generation: row.get(0), epoch: row.get(1), committed_micros: row.get(2) };
    let ledger: Vec<Account> = snapshot.query(LEDGER, &[&JOB])?.iter().map(Account::of).collect();
    let views: i64 = snapshot.query_one(VIEWS, &[])?.get(0);
    snapshot.rollback()?;

    let mut seen = lock(seen);
    let wrong = compare(&seen, progress, &ledger, views);
    seen.looks += 1;
    seen.progress = Some(progress);
    seen.read = ledger.first().map_or(0, |account| account.read);
    if !wrong.is_empty() {
        seen.torn += 1;
        let room = MAX_SENTENCES.saturating_sub(seen.sentences.len());
        seen.sentences.extend(wrong.into_iter().take(room));
    }
    Ok(())
}

/// A row of the ledger.
struct Account {
    view: String,
    epoch: i64,
    read: i64,
    counted: i64,
    parts: i64,
}

impl Account {
    fn of(row: &Row) -> Account {
        let [read, counted, filtered, late, dead] = std::array::from_fn(|i| row.get::<_, i64>(i + 2));
        Account { view: row.get(0), epoch: row.get(1), read, counted, parts: counted + filtered + late + dead }
    }
}

/// Says what must not be seen in one snapshot, or after what was seen before.
fn compare(before: &Seen, now: Progress, ledger: &[Account], views: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(old) = before.progress.filter(|old| now.epoch < old.epoch || now.generation < old.generation) {
        let pair = |p: Progress| format!("epoch {} of generation {}", p.epoch, p.generation);
        wrong.push(format!("the progress went back from {} to {}", pair(old), pair(now)));
    }
    for account in ledger {
        if account.read != account.parts {
            wrong.push(format!("{}: {} records read, but {} accounted for", account.view, account.read, account.parts));
        }
        if account.epoch > now.epoch {
            wrong.push(format!("{}: the ledger is at epoch {}, the progress at {}", account.view, account.epoch, now.epoch));
        }
        if account.read != ledger[0].read {
            wrong.push(format!("{} has read {} records, {} {}", account.view, account.read, ledger[0].view, ledger[0].read));
        }
        if account.view == "page_view_counts" && account.counted != views {
            wrong.push(format!("page_view_counts: the ledger counts {}, the table {views}", account.counted));
        }
    }
    if ledger.first().is_some_and(|account| account.read < before.read) {
        wrong.push(format!("the records read went back from {} to {}", before.read, ledger[0].read));
    }
    wrong
}
