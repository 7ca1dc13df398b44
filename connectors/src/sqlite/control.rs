//! Freshet's own tables in the file: which epoch it shows, where the records went, and those that do not count.
//!
//! As in PostgreSQL, a commit first moves the epoch on if generation and epoch are still those that the sink knows, and adds its numbers to the ledger.

use freshet_model::{Commit, Epoch};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::bind::time_text;
use super::tables::{declared_cell, ident};
use crate::tables::rejects::{Cell, DEAD_ADDED, DEAD_COLUMNS, LATE_ADDED, LATE_COLUMNS, LEDGER_COUNTS, bigint, declared};
use crate::tables::{Held, Owner};

/// The table of late events.
pub(super) const LATE_EVENTS: &str = "freshet_late_events";
/// The table of dead letters.
pub(super) const DEAD_LETTERS: &str = "freshet_dead_letters";

/// Creates the control tables that are missing.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    let counts: String = LEDGER_COUNTS.iter().map(|count| format!("{} BIGINT NOT NULL, ", ident(count))).collect();
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS freshet_progress (job TEXT, sink TEXT, generation BIGINT NOT NULL, epoch BIGINT NOT NULL, \
             watermark TIMESTAMP NOT NULL, processing_time TIMESTAMP, committed_at TIMESTAMP, PRIMARY KEY (job, sink)); \
         CREATE TABLE IF NOT EXISTS freshet_ledger (job TEXT, sink TEXT, view TEXT, epoch BIGINT NOT NULL, {counts} \
             PRIMARY KEY (job, sink, view)); \
         CREATE TABLE IF NOT EXISTS {LATE_EVENTS} ({}); \
         CREATE TABLE IF NOT EXISTS {DEAD_LETTERS} ({});",
        declared(LATE_COLUMNS, LATE_ADDED, declared_column),
        declared(DEAD_COLUMNS, DEAD_ADDED, declared_column)
    ))?;
    add_columns(connection, LATE_EVENTS, LATE_ADDED)?;
    add_columns(connection, DEAD_LETTERS, DEAD_ADDED)
}

/// Adds the columns that a table of rejects lacks because an earlier version made it.
fn add_columns(connection: &Connection, table: &str, columns: &[(&str, Cell)]) -> rusqlite::Result<()> {
    let mut known = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let known = known.query_map([table], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    for &(name, cell) in columns.iter().filter(|(name, _)| !known.iter().any(|known| known == name)) {
        connection.execute(&format!("ALTER TABLE {table} ADD COLUMN {}", declared_column(name, cell)), [])?;
    }
    Ok(())
}

fn declared_column(name: &str, cell: Cell) -> String {
    format!("{} {}", ident(name), declared_cell(cell))
}

/// Reads what the file holds.
pub(super) fn read(connection: &Connection, owner: &Owner) -> rusqlite::Result<Option<Held>> {
    // Before the first commit the epoch is 0 and nobody has committed it.
    let sql =
        "SELECT generation, CASE WHEN committed_at IS NOT NULL THEN epoch END FROM freshet_progress WHERE job = ?1 AND sink = ?2";
    let held = |row: &Row<'_>| Ok(Held { generation: row.get(0)?, epoch: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned) });
    connection.query_row(sql, params![owner.job, owner.sink], held).optional()
}

/// Writes our generation into the row of a job's sink, which has no newer one.
pub(super) fn take_over(connection: &Connection, owner: &Owner) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO freshet_progress (job, sink, generation, epoch, watermark) VALUES (?1, ?2, ?3, 0, '-infinity') \
         ON CONFLICT (job, sink) DO UPDATE SET generation = excluded.generation",
        params![owner.job, owner.sink, owner.generation],
    )?;
    Ok(())
}

/// Removes all that the file holds of a job's sink: the views' rows, and what was reported of them.
pub(super) fn forget<'a>(connection: &Connection, owner: &Owner, views: impl Iterator<Item = &'a str>) -> rusqlite::Result<()> {
    for view in views {
        connection.execute(&format!("DELETE FROM {}", ident(view)), [])?;
    }
    for table in ["freshet_ledger", LATE_EVENTS, DEAD_LETTERS] {
        connection.execute(&format!("DELETE FROM {table} WHERE job = ?1 AND sink = ?2"), params![owner.job, owner.sink])?;
    }
    let nothing = "UPDATE freshet_progress SET epoch = 0, watermark = '-infinity', processing_time = NULL, committed_at = NULL \
                   WHERE job = ?1 AND sink = ?2";
    connection.execute(nothing, params![owner.job, owner.sink])?;
    Ok(())
}

/// Makes what was reported of these views under the name of a staged job that of the job itself, and removes all else of the staged one.
pub(super) fn adopt(
    connection: &Connection,
    owner: &Owner,
    staged: &Owner,
    views: &[String],
    epoch: Option<Epoch>,
) -> rusqlite::Result<()> {
    let (job, sink, from) = (&owner.job, &owner.sink, &staged.job);
    for table in ["freshet_ledger", LATE_EVENTS] {
        for view in views {
            let forget = format!("DELETE FROM {table} WHERE job = ?1 AND sink = ?2 AND view = ?3");
            connection.execute(&forget, params![job, sink, view])?;
            let take = format!("UPDATE {table} SET job = ?1 WHERE job = ?4 AND sink = ?2 AND view = ?3");
            connection.execute(&take, params![job, sink, view, from])?;
        }
    }
    for view in views {
        let date = "UPDATE freshet_ledger SET epoch = ?4 WHERE job = ?1 AND sink = ?2 AND view = ?3";
        connection.execute(date, params![job, sink, view, bigint(epoch.unwrap_or(0))])?;
    }
    for table in ["freshet_ledger", LATE_EVENTS, DEAD_LETTERS, "freshet_progress"] {
        connection.execute(&format!("DELETE FROM {table} WHERE job = ?1 AND sink = ?2"), params![from, sink])?;
    }
    Ok(())
}

/// Moves the progress on and writes the ledger; tells whether the progress was still ours.
pub(super) fn advance(
    connection: &Connection,
    owner: &Owner,
    previous: Option<Epoch>,
    commit: &Commit,
) -> rusqlite::Result<bool> {
    let Owner { job, sink, generation, .. } = owner;
    let mut update = connection.prepare_cached(
        "UPDATE freshet_progress SET epoch = ?1, watermark = ?2, processing_time = ?3, \
             committed_at = strftime('%Y-%m-%d %H:%M:%f000', 'now') \
         WHERE job = ?4 AND sink = ?5 AND generation = ?6 AND CASE WHEN committed_at IS NOT NULL THEN epoch END IS ?7",
    )?;
    let (watermark, processing_time) = (time_text(commit.watermark.0), time_text(commit.processing_time.0));
    let previous = previous.map(bigint);
    let moved = update.execute(params![bigint(commit.epoch), &*watermark, &*processing_time, job, sink, generation, previous])?;
    if moved == 1 {
        write_ledger(connection, owner, commit)?;
    }
    Ok(moved == 1)
}

fn write_ledger(connection: &Connection, owner: &Owner, commit: &Commit) -> rusqlite::Result<()> {
    let columns = LEDGER_COUNTS.map(ident).join(", ");
    let updates: String = LEDGER_COUNTS.map(|count| format!(", {0} = {0} + excluded.{0}", ident(count))).concat();
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO freshet_ledger (job, sink, view, epoch, {columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (job, sink, view) DO UPDATE SET epoch = excluded.epoch{updates}"
    ))?;
    for row in &commit.ledger {
        let [read, counted, filtered, late, dead] = [row.read, row.counted, row.filtered, row.late, row.dead_letters].map(bigint);
        insert.execute(params![owner.job, owner.sink, row.view, bigint(commit.epoch), read, counted, filtered, late, dead])?;
    }
    Ok(())
}
