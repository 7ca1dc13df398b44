//! The same job with nothing around it: events from the generator, tables in SQLite, a lake and a file, all in one folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use freshet_harness::job::Job;
use freshet_harness::server::wait_for;

const LIMIT: Duration = Duration::from_secs(120);

/// Where the user-activity job keeps its tables when no database is named.
pub(super) const TABLES: &str = "data/freshet.db";

#[test]
fn a_bounded_run_needs_no_services_and_accounts_for_every_event() {
    let job = Job::generated("events=20000&rate=0&span=30m&seed=3");
    job.run().args("-w 2 --bounded").succeed(LIMIT);

    let tables = open(&job.folder().join(TABLES)).expect("the tables are there");
    check(&tables);
    let read: i64 = tables.query_row(&ledger(&tables, "read"), [], |row| row.get(0)).expect("the ledger can be read");
    assert_eq!(read, 20_000);
    assert!(holds_files(&job.folder().join("data/lake")), "the lake holds files");
    let enriched =
        std::fs::read_to_string(job.folder().join("data/enriched_activity.ndjson")).expect("the enriched events are there");
    let accepted: i64 =
        tables.query_row(&ledger(&tables, "read - dead_letters"), [], |row| row.get(0)).expect("the ledger can be read");
    assert_eq!(i64::try_from(enriched.lines().count()), Ok(accepted), "each accepted event is there once");
}

#[test]
fn ctrl_c_drains_what_was_read_and_ends_well() {
    (1..=4).for_each(interrupted);
}

fn interrupted(workers: usize) {
    let job = Job::generated("rate=2000");
    let mut running = job.run().args(&format!("-w {workers}")).start();
    let path = job.folder().join(TABLES);
    let has_rows = || {
        open(&path).and_then(|t| t.query_row("SELECT count(*) FROM page_view_counts", [], |row| row.get::<_, i64>(0)).ok())
            > Some(0)
    };
    assert!(wait_for(LIMIT, || has_rows() || !running.is_running()), "no row came\n{}", running.output());
    assert!(running.is_running(), "an unbounded run goes on\n{}", running.output());

    // Twice at once is one request: some supervisors signal the process, and then its group.
    running.interrupt();
    running.interrupt();
    running.wait(Duration::from_secs(30)).expect_success("a run that was interrupted");
    check(&open(&path).expect("the tables are there"));
}

/// Checks that the file is whole and that views and ledger tell the same.
fn check(tables: &Connection) {
    let whole: String = tables.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("the file can be checked");
    assert_eq!(whole, "ok");
    let sum: i64 = tables.query_row("SELECT sum(view_count) FROM page_view_counts", [], |row| row.get(0)).expect("a table");
    let counted: i64 = tables.query_row(&ledger(tables, "counted"), [], |row| row.get(0)).expect("the ledger can be read");
    assert_eq!(sum, counted, "the ledger counts what the table holds");
    let parts = ledger(tables, "read - counted - filtered - late - dead_letters");
    assert_eq!(tables.query_row(&parts, [], |row| row.get::<_, i64>(0)), Ok(0), "the ledger adds up");
}

/// Asks the ledger of `page_view_counts`, whose table carries a prefix, as SQLite has no schemas.
fn ledger(tables: &Connection, what: &str) -> String {
    let find = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'freshet%ledger'";
    let name: String = tables.query_row(find, [], |row| row.get(0)).expect("there is a ledger");
    format!("SELECT {what} FROM \"{name}\" WHERE view = 'page_view_counts' ORDER BY epoch DESC LIMIT 1")
}

/// Opens tables to look at them; none while they are not there.
pub(super) fn open(path: &Path) -> Option<Connection> {
    let tables = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    tables.busy_timeout(Duration::from_secs(5)).ok()?;
    Some(tables)
}

/// Tells whether there is a file that is not empty somewhere below a folder.
fn holds_files(folder: &Path) -> bool {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if metadata.len() > 0 => return true,
                _ => {}
            }
        }
    }
    false
}
