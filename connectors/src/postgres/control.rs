//! Freshet's own tables, in schema `freshet`: which epoch a sink shows, where the records went, and those that do not count.
//!
//! A row of `freshet.progress` belongs to the generation that wrote it last. Every commit first moves its epoch on, *if* generation
//! and epoch are still those that the sink knows; so an older instance of the job cannot write any more once a newer one has begun,
//! and a commit whose reply was lost cannot be applied a second time.

use freshet_model::{Commit, Epoch, Timestamp};
use postgres::{Client, GenericClient, SimpleQueryMessage, Transaction};

use super::kind::{ColumnKind, ident, literal};
use super::rejects::{Cell, DEAD_COLUMNS, LATE_COLUMNS, LEDGER_COUNTS, bigint};

/// Whose rows these are.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) job: String,
    pub(super) sink: String,
    pub(super) generation: i64,
}

/// A row of `freshet.progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) generation: i64,
    /// The newest epoch, if anything has been committed since the generation took over.
    pub(super) epoch: Option<Epoch>,
}

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
        ("late_events", rejects(LATE_COLUMNS)),
        ("dead_letters", rejects(DEAD_COLUMNS)),
    ]
}

fn rejects(columns: &[(&str, Cell)]) -> String {
    let column = |&(name, cell): &(&str, Cell)| format!("{} {} NOT NULL", ident(name), ColumnKind::of_cell(cell).base());
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Makes the rows of a job's sink ours, if no newer generation has them; tells whether it did.
///
/// The new generation reads its sources again, so what its predecessors reported of them is removed.
pub(super) fn take_over(transaction: &mut Transaction<'_>, owner: &Owner) -> Result<bool, postgres::Error> {
    let taken = transaction.execute(
        "INSERT INTO freshet.progress AS p (job, sink, generation, epoch, watermark) VALUES ($1, $2, $3, 0, '-infinity') \
         ON CONFLICT (job, sink) DO UPDATE SET generation = EXCLUDED.generation, epoch = 0, watermark = '-infinity', \
             processing_time = NULL, committed_at = NULL \
         WHERE p.generation <= EXCLUDED.generation",
        &[&owner.job, &owner.sink, &owner.generation],
    )?;
    if taken == 0 {
        return Ok(false);
    }
    for table in ["ledger", "late_events", "dead_letters"] {
        let delete = format!("DELETE FROM freshet.{table} WHERE job = $1 AND sink = $2");
        transaction.execute(&delete, &[&owner.job, &owner.sink])?;
    }
    Ok(true)
}

/// Reads what the database holds.
pub(super) fn read(client: &mut Client, owner: &Owner) -> Result<Option<Held>, postgres::Error> {
    let row = client.query_opt(
        "SELECT generation, CASE WHEN committed_at IS NOT NULL THEN epoch END FROM freshet.progress WHERE job = $1 AND sink = $2",
        &[&owner.job, &owner.sink],
    )?;
    Ok(row.map(|row| Held { generation: row.get(0), epoch: row.get::<_, Option<i64>>(1).map(i64::cast_unsigned) }))
}

/// Begins a transaction, moves the progress on and writes the ledger, in one round trip. Tells whether the progress was still ours.
pub(super) fn begin(client: &mut Client, owner: &Owner, previous: Option<Epoch>, commit: &Commit) -> Result<bool, postgres::Error> {
    let Owner { job, sink, generation } = owner;
    let (job, sink) = (literal(job), literal(sink));
    let mut text = format!(
        "BEGIN; UPDATE freshet.progress SET epoch = {}, watermark = {}, processing_time = {}, \
             committed_at = clock_timestamp() AT TIME ZONE 'UTC' \
         WHERE job = {job} AND sink = {sink} AND generation = {generation} AND epoch = {}",
        bigint(commit.epoch),
        time(commit.watermark),
        time(commit.processing_time),
        bigint(previous.unwrap_or(0)),
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
    let updates: String = LEDGER_COUNTS.map(|count| format!(", {0} = EXCLUDED.{0}", ident(count))).concat();
    format!(
        "INSERT INTO freshet.ledger (job, sink, view, epoch, {columns}) VALUES {} \
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
