//! Views as tables of an SQLite file: one transaction a commit, which also names its epoch.
//!
//! ```text
//! open      the file and its folder                             here
//! prepare   one transaction: control tables, the views' tables
//!           (created, or compared), and the job's generation    control.rs, tables.rs
//! commit    rows that do not fit become dead letters            tables/ (shared with PostgreSQL)
//!           progress moves on if it is ours; ledger; views;
//!           late events, dead letters                           control.rs, writer.rs, bind.rs
//! ```
//! The same rules hold as for PostgreSQL (see [`crate::postgres`]), with the control tables called `freshet_progress`,
//! `freshet_ledger`, `freshet_late_events` and `freshet_dead_letters`, as SQLite has no schemas.
//!
//! How values are stored, for people and programs that read the file:
//! - timestamps as text of a fixed width, `2026-01-29 09:31:03.027000` (UTC), which sorts as time does; `-infinity` and `infinity`,
//!   in control tables only, sort before and after all of them. Years 0 to 9999;
//! - decimals as text with all digits of their scale; booleans as 0 and 1; doubles as such, but NaN, which SQLite would turn into
//!   NULL, does not fit.
//!
//! The file is in WAL mode, so readers do not wait for commits, and a killed process loses nothing that was committed. `synchronous = FULL` keeps that
//! true when the power fails; it costs one wait for the disk a commit (1.3 ms where this was measured,
//! against 0.01 ms without), which does not grow with the rows.
//!
//! Nobody can end the transaction of another process: one that is stopped (SIGSTOP) in the middle of a commit keeps the file locked until it goes on or
//! is killed, and a newer start gets [`Error::Unavailable`] for so long.

mod archive;
mod bind;
mod control;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use freshet_model::{Commit, DeadLetter, Epoch, TableSchema};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::open::path_of;
use crate::tables::rejects::{DEAD_COLUMNS, LATE_COLUMNS, dated, dead_rows, late_rows};
use crate::tables::{Owner, SetUp, does_not_fit};
use crate::{Error, SinkOptions, TableSink, fault};
pub(crate) use archive::SqliteArchive;
use tables::Table;

/// How long a commit waits for another writer to finish.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A sink that keeps views in an SQLite file.
pub struct SqliteSink {
    thing: String,
    owner: Owner,
    connection: Connection,
    views: Vec<(TableSchema, Table)>,
    /// The newest epoch that is in the file.
    committed: Option<Epoch>,
}

impl SqliteSink {
    /// Opens `sqlite://data/freshet.db` (relative) or `sqlite:///var/lib/freshet.db`; the file and its folder are created.
    ///
    /// # Errors
    /// The folder cannot be written, or the file is not a database.
    pub fn open(url: &str, options: SinkOptions) -> Result<SqliteSink, Error> {
        let path = PathBuf::from(path_of(url));
        let thing = format!("sink '{}' (sqlite {})", options.name, path.display());
        if path.file_name().is_none() {
            return Err(Error::setup(thing, "its url names no file", "write sqlite://data/freshet.db"));
        }
        let owner = Owner::of(&thing, &options)?;
        create_folder(&path, &thing)?;
        let connection = connect(&path).map_err(|error| explain(&thing, &error))?;
        Ok(SqliteSink { thing, owner, connection, views: Vec::new(), committed: None })
    }

    /// Keeps so much of each dead letter's record, instead of its beginning.
    #[must_use]
    pub fn keeping(mut self, max_payload_bytes: usize) -> SqliteSink {
        self.owner.max_payload_bytes = max_payload_bytes;
        self
    }

    /// Says why the progress is not what this instance has left.
    fn not_ours(&self) -> Error {
        let held = match control::read(&self.connection, &self.owner) {
            Ok(held) => held,
            Err(error) => return explain(&self.thing, &error),
        };
        if let Some(Err(fenced)) = held.map(|held| self.owner.check(&self.thing, &held)) {
            return fenced;
        }
        let problem = format!("freshet_progress of job '{}' was changed by another program", self.owner.job);
        Error::setup(&self.thing, problem, "leave the tables that begin with freshet_ alone, and restart the job")
    }

    /// Creates or compares all tables, fences older generations and returns the newest epoch that they have left, in one transaction.
    fn set_up(&self, views: &[TableSchema]) -> Result<SetUp<Table>, Error> {
        let explain = |error: rusqlite::Error| explain(&self.thing, &error);
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate).map_err(explain)?;
        control::create(&transaction).map_err(explain)?;
        let mut differences = Vec::new();
        let mut prepared = Vec::with_capacity(views.len());
        for view in views {
            let mut table = tables::create_or_check(&transaction, view, &mut differences).map_err(explain)?;
            if self.owner.is_staging()
                && let Some(own) = table.take()
            {
                table = Some(tables::stage(&transaction, view, own).map_err(explain)?);
            }
            prepared.extend(table.map(|table| (view.clone(), table)));
        }
        if !differences.is_empty() {
            return Err(does_not_fit(&self.thing, &differences));
        }
        let held = control::read(&transaction, &self.owner).map_err(explain)?;
        held.map_or(Ok(()), |held| self.owner.check(&self.thing, &held))?;
        fault::point("sqlite::fence", &self.thing)?;
        control::take_over(&transaction, &self.owner).map_err(explain)?;
        fault::point("sqlite::progress_read", &self.thing)?;
        let mut epoch = held.and_then(|held| held.epoch);
        if self.owner.forgets(held.as_ref()) {
            let emptied = views.iter().filter(|_| !self.owner.is_staging()).map(|view| view.name.as_str());
            control::forget(&transaction, &self.owner, emptied).map_err(explain)?;
            epoch = None;
        } else {
            self.adopt(&transaction, views, epoch).map_err(explain)?;
        }
        transaction.commit().map_err(explain)?;
        Ok(SetUp { views: prepared, held: epoch })
    }

    /// Takes over what a run has staged for this one, if it is still there.
    fn adopt(&self, transaction: &Connection, views: &[TableSchema], epoch: Option<Epoch>) -> rusqlite::Result<()> {
        let Some((staged, names)) = self.owner.predecessor() else { return Ok(()) };
        if control::read(transaction, &staged)?.is_none_or(|held| held.generation != staged.generation) {
            return Ok(());
        }
        for view in views.iter().filter(|view| names.contains(&view.name)) {
            tables::adopt(transaction, view)?;
        }
        control::adopt(transaction, &self.owner, &staged, names, epoch)
    }

    /// Applies a commit; `None` when the progress was not ours.
    fn apply(&mut self, commit: &Commit) -> rusqlite::Result<Option<Vec<DeadLetter>>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !control::advance(&transaction, &self.owner, self.committed, commit)? {
            return Ok(None);
        }
        let mut refused = Vec::new();
        for changes in &commit.views {
            let (view, table) = &self.views[changes.view];
            let mut fitted = table.room.fit(view, &changes.upserts, &changes.deletes);
            refused.append(&mut fitted.refused);
            writer::apply(&transaction, view, table, &fitted, &mut refused)?;
        }
        let Owner { job, sink, max_payload_bytes, .. } = &self.owner;
        writer::append(&transaction, control::LATE_EVENTS, LATE_COLUMNS, &late_rows(job, sink, commit))?;
        let dead = dead_rows(job, sink, &dated(commit, &refused), *max_payload_bytes);
        writer::append(&transaction, control::DEAD_LETTERS, DEAD_COLUMNS, &dead)?;
        if fault::hit("sqlite::before_commit") {
            return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR), None));
        }
        transaction.commit()?;
        Ok(Some(refused))
    }
}

impl TableSink for SqliteSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        // Upserts, deletes and what goes with them stay prepared for all views.
        self.connection.set_prepared_statement_cache_capacity(16 + 4 * views.len());
        let SetUp { views, held } = self.set_up(views)?;
        self.views = views;
        self.committed = held;
        Ok(held)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        if self.committed.is_some_and(|committed| commit.epoch <= committed) {
            return Ok(Vec::new());
        }
        let applied = self.apply(commit).map_err(|error| explain(&self.thing, &error))?;
        let refused = applied.ok_or_else(|| self.not_ours())?;
        self.committed = Some(commit.epoch);
        Ok(refused)
    }
}

fn create_folder(path: &Path, thing: &str) -> Result<(), Error> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        let problem = format!("cannot create the folder {}: {error}", folder.display());
        Error::setup(thing, problem, "create it, or choose a path that can be written")
    })
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Says why SQLite refused.
fn explain(thing: &str, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::unavailable(thing, "the file is locked by another program that writes it")
        }
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => Error::unavailable(thing, error.to_string()),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            Error::setup(thing, error.to_string(), "let this user write the file and its folder, or choose another path")
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::setup(thing, error.to_string(), "move the file away, or choose another path; a new database is created")
        }
        _ => Error::setup(thing, error.to_string(), "restart the job, which creates and checks its tables"),
    }
}
