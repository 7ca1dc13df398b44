//! Freshet's own tables, in schema `freshet`: which epoch a sink shows, where the records went, and those that do not count.
//!
//! A row of `freshet.progress` belongs to the generation that wrote it last. Every commit first moves its epoch on, *if* generation
//! and epoch are still those that the sink knows; so an older instance of the job cannot write any more once a newer one has begun,
//! and a commit whose reply was lost cannot be applied a second time. A new generation goes on from the epoch that is there: rows, ledger, late
//! events and dead letters of its predecessors stay. A commit adds its own numbers to the ledger.

use freshet_model::{Commit, Epoch, Timestamp};
use postgres::{Client, GenericClient, SimpleQueryMessage, Transaction};

use super::kind::{ColumnKind, ident, literal};
use crate::tables::rejects::{Cell, DEAD_ADDED, DEAD_COLUMNS, LATE_ADDED, LATE_COLUMNS, LEDGER_COUNTS, bigint, declared};
use crate::tables::{Held, Owner};

/// Creates the control tables that are missing.
pub(super) fn create(transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
    // Two jobs that start at once must not both create; and IF NOT EXISTS would ask for rights that are not needed later.
    transaction.batch_execute("SELECT pg_advisory_xact_lock(hashtext('freshet'))")?;
    let exists: bool = transaction.query_one("SELECT to_regnamespace('freshet') IS NOT NULL", &[])?.get(0);
    if !exists {
        transaction.batch_execute("CREATE SCHEMA freshet")?;
    }
    for (table, ddl) in definitions() {
        let exists: bool = transaction.query_one("SELECT to_regclass($1) IS NOT NULL", &[&format!("freshet.{table}")])?.get(0);
        if !exists {
            transaction.batch_execute(&format!("CREATE TABLE freshet.{table} ({ddl})"))?;
        }
    }
    add_columns(transaction, "late_events", LATE_ADDED)?;
    add_columns(transaction, "dead_letters", DEAD_ADDED)
}

/// Adds the columns that a table of rejects lacks because an earlier version made it.
fn add_columns(transaction: &mut Transaction<'_>, table: &str, columns: &[(&str, Cell)]) -> Result<(), postgres::Error> {
    let known = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
    let known = transaction.query(known, &[&format!("freshet.{table}")])?;
    for &(name, cell) in columns {
        if !known.iter().any(|row| row.get::<_, &str>(0) == name) {
            transaction.batch_execute(&format!("ALTER TABLE freshet.{table} ADD COLUMN {}", declared_column(name, cell)))?;
        }
    }
    Ok(())
}

fn definitions() -> [(&'static str, String); 4] {
    let counts: String = LEDGER_COUNTS.iter().map(|count| format!("{} bigint NOT NULL, ", ident(count))).collect();
    [
        (
            "progress",
            "job text, sink text, generation bigint NOT NULL, epoch bigint NOT NULL, watermark timestamp NOT NULL, \
             processing_time timestamp, committed_at timestamp, PRIMARY KEY (job, sink)"
                .to_owned(),
        ),
        ("ledger", format!("job text, sink text, view text, epoch bigint NOT NULL, {counts}PRIMARY KEY (job, sink, view)")),
        ("late_events", declared(LATE_COLUMNS, LATE_ADDED, declared_column)),
        ("dead_letters", declared(DEAD_COLUMNS, DEAD_ADDED, declared_column)),
    ]
}

fn declared_column(name: &str, cell: Cell) -> String {
    format!("{} {}", ident(name), ColumnKind::of_cell(cell).base())
}

/// Names a sink of a job for the lock that its sessions share.
fn lock_name(owner: &Owner) -> String {
    format!("freshet {} {}", owner.job, owner.sink)
}

/// Marks a session as one that writes the rows of a job's sink, until it ends.
pub(super) fn mark_session(client: &mut Client, owner: &Owner) -> Result<(), postgres::Error> {
    client.execute("SELECT pg_advisory_lock_shared(hashtextextended($1, 0))", &[&lock_name(owner)])?;
    Ok(())
}

/// Ends the transactions of earlier instances, which would keep their locks for as long as such an instance hangs or is cut off.
///
/// Sessions without a transaction are left alone: their next one finds that the progress is not theirs any more.
pub(super) fn end_predecessors(transaction: &mut Transaction<'_>, owner: &Owner) -> Result<(), postgres::Error> {
    transaction.execute(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND a.datname = current_database() AND a.usename = current_user \
           AND l.database = a.datid AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended($1, 0) \
           AND l.pid <> pg_backend_pid() AND a.state <> 'idle'",
        &[&lock_name(owner)],
    )?;
    Ok(())
}

/// Locks the row of a job's sink until the transaction ends, and reads it; makes one that nobody has had if there is none.
pub(super) fn lock(transaction: &mut Transaction<'_>, owner: &Owner) -> Result<Option<Held>, postgres::Error> {
    transaction.execute(
        "INSERT INTO freshet.progress (job, sink, generation, epoch, watermark) VALUES ($1, $2, -1, 0, '-infinity') \
         ON CONFLICT (job, sink) DO NOTHING",
        &[&owner.job, &owner.sink],
    )?;
    query(transaction, owner, " FOR UPDATE")
}

/// Writes our generation into the row, which is locked and has no newer one.
pub(super) fn take_over(transaction: &mut Transaction<'_>, owner: &Owner) -> Result<(), postgres::Error> {
    let update = "UPDATE freshet.progress SET generation = $3 WHERE job = $1 AND sink = $2";
    transaction.execute(update, &[&owner.job, &owner.sink, &owner.generation])?;
    Ok(())
}

/// Removes all that the database holds of a job's sink: the views' rows, and what was reported of them.
pub(super) fn forget<'a>(
    transaction: &mut Transaction<'_>,
    owner: &Owner,
    tables: impl Iterator<Item = &'a str>,
) -> Result<(), postgres::Error> {
    // Not TRUNCATE, which readers in the middle of a query would see as an empty table.
    for table in tables {
        transaction.execute(&format!("DELETE FROM {table}"), &[])?;
    }
    for table in ["ledger", "late_events", "dead_letters"] {
        let delete = format!("DELETE FROM freshet.{table} WHERE job = $1 AND sink = $2");
        transaction.execute(&delete, &[&owner.job, &owner.sink])?;
    }
    let nothing = "UPDATE freshet.progress SET epoch = 0, watermark = '-infinity', processing_time = NULL, committed_at = NULL \
                   WHERE job = $1 AND sink = $2";
    transaction.execute(nothing, &[&owner.job, &owner.sink])?;
    Ok(())
}

/// Makes what was reported of these views under the name of a staged job that of the job itself, and removes all else of the staged one.
pub(super) fn adopt(
    transaction: &mut Transaction<'_>,
    owner: &Owner,
    staged: &Owner,
    views: &[String],
    epoch: Option<Epoch>,
) -> Result<(), postgres::Error> {
    let (job, sink, from) = (&owner.job, &owner.sink, &staged.job);
    for table in ["ledger", "late_events"] {
        let forget = format!("DELETE FROM freshet.{table} WHERE job = $1 AND sink = $2 AND view = ANY ($3)");
        transaction.execute(&forget, &[job, sink, &views])?;
        let take = format!("UPDATE freshet.{table} SET job = $1 WHERE job = $4 AND sink = $2 AND view = ANY ($3)");
        transaction.execute(&take, &[job, sink, &views, from])?;
    }
    let date = "UPDATE freshet.ledger SET epoch = $4 WHERE job = $1 AND sink = $2 AND view = ANY ($3)";
    transaction.execute(date, &[job, sink, &views, &bigint(epoch.unwrap_or(0))])?;
    for table in ["ledger", "late_events", "dead_letters", "progress"] {
        transaction.execute(&format!("DELETE FROM freshet.{table} WHERE job = $1 AND sink = $2"), &[from, sink])?;
    }
    Ok(())
}

/// Reads what the database holds.
pub(super) fn read(client: &mut impl GenericClient, owner: &Owner) -> Result<Option<Held>, postgres::Error> {
    query(client, owner, "")
}

fn query(client: &mut impl GenericClient, owner: &Owner, locking: &str) -> Result<Option<Held>, postgres::Error> {
    // Before the first commit the epoch is 0 and nobody has committed it.
    let sql = format!(
        "SELECT generation, CASE WHEN committed_at IS NOT NULL THEN epoch END FROM freshet.progress WHERE job = $1 AND sink = $2{locking}"
    );
    let row = client.query_opt(&sql, &[&owner.job, &owner.sink])?;
    Ok(row.map(|row| Held { generation: row.get(0), epoch: row.get::<_, Option<i64>>(1).map(i64::cast_unsigned) }))
}

/// Begins a transaction, moves the progress on and writes the ledger, in one round trip. Tells whether the progress was still ours.
pub(super) fn begin(
    client: &mut Client,
    owner: &Owner,
    previous: Option<Epoch>,
    commit: &Commit,
) -> Result<bool, postgres::Error> {
    let Owner { job, sink, generation, .. } = owner;
    let (job, sink) = (literal(job), literal(sink));
    let mut text = format!(
        "BEGIN; UPDATE freshet.progress SET epoch = {}, watermark = {}, processing_time = {}, \
             committed_at = clock_timestamp() AT TIME ZONE 'UTC' \
         WHERE job = {job} AND sink = {sink} AND generation = {generation} AND {}",
        bigint(commit.epoch),
        time(commit.watermark),
        time(commit.processing_time),
        previous
            .map_or("committed_at IS NULL".to_owned(), |epoch| format!("epoch = {} AND committed_at IS NOT NULL", bigint(epoch))),
    );
    if !commit.ledger.is_empty() {
        text.push_str("; ");
        text.push_str(&ledger(&job, &sink, commit));
    }
    let replies = client.simple_query(&text)?;
    let mut counts = replies.iter().filter_map(|reply| match reply {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    });
    // The first reply is BEGIN's.
    Ok(counts.nth(1) == Some(1))
}

fn ledger(job: &str, sink: &str, commit: &Commit) -> String {
    let rows: Vec<_> = commit
        .ledger
        .iter()
        .map(|row| {
            let counts = [row.read, row.counted, row.filtered, row.late, row.dead_letters].map(|count| bigint(count).to_string());
            format!("({job}, {sink}, {}, {}, {})", literal(&row.view), bigint(commit.epoch), counts.join(", "))
        })
        .collect();
    let columns = LEDGER_COUNTS.map(ident).join(", ");
    let updates: String = LEDGER_COUNTS.map(|count| format!(", {0} = held.{0} + EXCLUDED.{0}", ident(count))).concat();
    format!(
        "INSERT INTO freshet.ledger AS held (job, sink, view, epoch, {columns}) VALUES {} \
         ON CONFLICT (job, sink, view) DO UPDATE SET epoch = EXCLUDED.epoch{updates}",
        rows.join(", ")
    )
}

/// Writes a time as an SQL literal; the two ends are infinite.
fn time(time: Timestamp) -> String {
    match time {
        Timestamp::MIN => "'-infinity'::timestamp".to_owned(),
        Timestamp::MAX => "'infinity'::timestamp".to_owned(),
        // Exact, where to_timestamp of a float would not be.
        Timestamp(micros) => format!("'1970-01-01'::timestamp + {micros} * interval '1 microsecond'"),
    }
}
