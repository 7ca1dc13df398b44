//! One view's part of a commit: its prepared statements on one connection, and how rows go through them.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use freshet_model::{DeadLetter, Reason, TableSchema};
use postgres::types::ToSql;
use postgres::{Client, Statement};

use super::connect::{SqlState, is_about_a_row, is_no_value};
use super::encode::{ArrayParam, Values, values, write_copy};
use super::statements::Sql;
use super::tables::Table;
use crate::fault;
use crate::tables::fit::{Fitted, keys_of, select};
use crate::tables::rejects::refused_row;

/// Up to so many rows go as array parameters, more through the staging table. Measured with `benches/copy.rs`: arrays take half the
/// time at 1,000 rows, the same at 10,000, and a tenth to a quarter more at 100,000.
const MAX_ARRAY_ROWS: usize = 5000;
/// No array parameters from so many bytes on: the message that holds them must stay well below a gigabyte.
const MAX_ARRAY_BYTES: usize = 64 << 20;
/// Keys to delete always go as array parameters, so many at a time: looking them up costs far more than sending them.
const MAX_ARRAY_KEYS: usize = 10_000;

/// Writes one view's changes.
pub(super) struct ViewWriter {
    view: TableSchema,
    table: Table,
    index: usize,
    upsert: Statement,
    /// Fills the table itself.
    copy: Statement,
    /// Where many rows go before they are inserted, unless they are new; none where all rows stay.
    staging: Option<Staging>,
    /// By which of the key's columns are NULL; a pattern is prepared when it first occurs.
    deletes: BTreeMap<Vec<bool>, Statement>,
}

/// A staging table.
struct Staging {
    name: String,
    /// Fills it.
    copy: Statement,
    /// Inserts or replaces its rows.
    upsert: Statement,
    guess: Guess,
}

/// Guesses whether all rows of a commit have keys that the table does not have.
///
/// Such rows are copied into the table itself, and not first into another one. A guess that is wrong costs a part of that copy and leaves dead rows in
/// the table, so that after each one twice as many commits go through the staging table unasked.
#[derive(Debug, Default)]
struct Guess {
    /// So many commits are not guessed.
    passed: u32,
    /// So many were not after the last guess that was wrong.
    pause: u32,
}

impl Guess {
    const LONGEST_PAUSE: u32 = 1024;

    /// Guesses.
    fn are_new(&mut self) -> bool {
        let are_new = self.passed == 0;
        self.passed = self.passed.saturating_sub(1);
        are_new
    }

    /// Hears whether the guess was right.
    fn learn(&mut self, was_right: bool) {
        self.pause = if was_right { 0 } else { (self.pause * 2).clamp(1, Guess::LONGEST_PAUSE) };
        self.passed = self.pause;
    }
}

impl ViewWriter {
    /// Creates the staging table of a view, if it needs one, and prepares its statements.
    pub(super) fn prepare(
        client: &mut Client,
        view: &TableSchema,
        table: &Table,
        index: usize,
    ) -> Result<ViewWriter, postgres::Error> {
        let sql = Sql { view, table, index };
        let upsert = client.prepare(&sql.upsert_arrays())?;
        let copy = client.prepare(&sql.copy_table())?;
        let staging = if view.keeps_all() {
            None
        } else {
            client.batch_execute(&sql.create_staging())?;
            let (copy, upsert) = (client.prepare(&sql.copy_staging())?, client.prepare(&sql.upsert_staged())?);
            Some(Staging { name: sql.staging(), copy, upsert, guess: Guess::default() })
        };
        let (view, table) = (view.clone(), table.clone());
        let mut writer = ViewWriter { view, table, index, upsert, copy, staging, deletes: BTreeMap::new() };
        if writer.staging.is_some() {
            writer.delete_statement(client, vec![false; writer.view.key.len()])?;
        }
        Ok(writer)
    }

    /// Applies deletes, then upserts.
    pub(super) fn apply(&mut self, client: &mut Client, changes: &Fitted) -> Result<(), postgres::Error> {
        self.delete(client, &changes.deletes)?;
        self.upsert(client, &changes.upserts)
    }

    /// Applies deletes, then upserts, of which the database has refused some before; adds those to `refused`.
    pub(super) fn apply_carefully(
        &mut self,
        client: &mut Client,
        changes: &Fitted,
        refused: &mut Vec<DeadLetter>,
    ) -> Result<(), postgres::Error> {
        self.delete_carefully(client, &changes.deletes)?;
        for (row, error) in self.by_halves(client, &changes.upserts, Self::upsert)? {
            self.delete_carefully(client, &keys_of(&self.view, &row))?;
            refused.push(refused_row(&self.view, &row, 0, Reason::DoesNotFit, &reason(&error)));
        }
        Ok(())
    }

    /// Deletes keys; one that the database takes for no value is not in it. A refusal for another reason stands.
    fn delete_carefully(&mut self, client: &mut Client, keys: &RecordBatch) -> Result<(), postgres::Error> {
        let refused = self.by_halves(client, keys, Self::delete)?;
        refused.into_iter().try_for_each(|(_, error)| if is_no_value(&error) { Ok(()) } else { Err(error) })
    }

    /// Writes rows, and returns those that the database refuses: each half of a refused batch is tried by itself.
    fn by_halves(
        &mut self,
        client: &mut Client,
        rows: &RecordBatch,
        write: fn(&mut Self, &mut Client, &RecordBatch) -> Result<(), postgres::Error>,
    ) -> Result<Vec<(RecordBatch, postgres::Error)>, postgres::Error> {
        let mut refused = Vec::new();
        let mut waiting = vec![rows.clone()];
        while let Some(rows) = waiting.pop() {
            let Some(error) = unless_refused(client, is_about_a_row, |client| write(self, client, &rows))? else {
                if let Some(staging) = &self.staging {
                    // What has been staged must not be taken again with the next piece.
                    client.batch_execute(&format!("TRUNCATE {}", staging.name))?;
                }
                continue;
            };
            if rows.num_rows() > 1 {
                let half = rows.num_rows() / 2;
                waiting.push(rows.slice(half, rows.num_rows() - half));
                waiting.push(rows.slice(0, half));
            } else {
                refused.push((rows, error));
            }
        }
        Ok(refused)
    }

    /// Inserts or replaces rows.
    fn upsert(&mut self, client: &mut Client, rows: &RecordBatch) -> Result<(), postgres::Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.view.key.is_empty() {
            // Of a view without a key the new row takes the place of the old one, unless all rows stay.
            self.delete(client, &keys_of(&self.view, rows))?;
        } else if self.table.nulls_distinct {
            // No conflict would be found for these.
            let nulls =
                select(&keys_of(&self.view, rows), |row| self.view.key.iter().any(|&column| rows.column(column).is_null(row)));
            self.delete(client, &nulls)?;
        }
        let columns = values(self.table.kinds.iter().copied(), rows);
        if rows.num_rows() <= MAX_ARRAY_ROWS && rows.get_array_memory_size() <= MAX_ARRAY_BYTES {
            return execute(client, &self.upsert, &columns, 0..rows.num_rows());
        }
        let into_table = |client: &mut Client| copy(client, &self.copy, &columns, rows.num_rows()).map(drop);
        let Some(staging) = &mut self.staging else { return into_table(client) };
        if staging.guess.are_new() {
            let are_new = unless_refused(client, may_not_be_new, into_table)?.is_none();
            staging.guess.learn(are_new);
            if are_new {
                return Ok(());
            }
        }
        copy_all(client, &staging.copy, &columns, rows.num_rows())?;
        client.execute(&staging.upsert, &[])?;
        Ok(())
    }

    /// Deletes the rows of keys.
    fn delete(&mut self, client: &mut Client, keys: &RecordBatch) -> Result<(), postgres::Error> {
        if keys.num_rows() == 0 || self.view.keeps_all() {
            return Ok(());
        }
        if keys.columns().iter().all(|column| column.null_count() == 0) {
            return self.delete_pattern(client, vec![false; keys.num_columns()], keys);
        }
        let pattern = |row: usize| keys.columns().iter().map(|column| column.is_null(row)).collect::<Vec<_>>();
        let mut patterns: Vec<_> = (0..keys.num_rows()).map(pattern).collect();
        patterns.sort_unstable();
        patterns.dedup();
        for nulls in patterns {
            let rows = select(keys, |row| pattern(row) == nulls);
            self.delete_pattern(client, nulls, &rows)?;
        }
        Ok(())
    }

    /// Deletes the rows of keys whose NULLs are at the same places.
    fn delete_pattern(&mut self, client: &mut Client, nulls: Vec<bool>, keys: &RecordBatch) -> Result<(), postgres::Error> {
        let kind = |&column: &usize| self.table.kinds[column];
        let columns = values(self.view.key.iter().map(kind), keys);
        let given: Vec<_> = columns.into_iter().zip(&nulls).filter(|&(_, &null)| !null).map(|(values, _)| values).collect();
        let statement = self.delete_statement(client, nulls)?;
        if given.is_empty() {
            client.execute(&statement, &[])?;
            return Ok(());
        }
        for start in (0..keys.num_rows()).step_by(MAX_ARRAY_KEYS) {
            let end = keys.num_rows().min(start + MAX_ARRAY_KEYS);
            execute(client, &statement, &given, start..end)?;
        }
        Ok(())
    }

    fn delete_statement(&mut self, client: &mut Client, nulls: Vec<bool>) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.deletes.get(&nulls) {
            return Ok(statement.clone());
        }
        let sql = Sql { view: &self.view, table: &self.table, index: self.index }.delete(&nulls);
        let statement = client.prepare(&sql)?;
        self.deletes.insert(nulls, statement.clone());
        Ok(statement)
    }
}

/// Executes a statement whose parameters are arrays.
fn execute(
    client: &mut Client,
    statement: &Statement,
    columns: &[Values<'_>],
    rows: std::ops::Range<usize>,
) -> Result<(), postgres::Error> {
    let arrays: Vec<_> = columns.iter().map(|values| ArrayParam { values, rows: rows.clone() }).collect();
    let parameters: Vec<_> = arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
    client.execute(statement, &parameters)?;
    Ok(())
}

/// Copies rows into a table, and returns how many are there now: a trigger of the table may leave some out.
fn copy(client: &mut Client, sql: &Statement, columns: &[Values<'_>], rows: usize) -> Result<u64, postgres::Error> {
    let mut writer = client.copy_in(sql)?;
    let written = write_copy(columns, rows, &mut writer);
    if fault::hit("postgres::mid_copy") {
        drop(writer);
        // The server takes no question while the transaction stands that the cut has broken.
        return client.batch_execute("ROLLBACK; SELECT pg_terminate_backend(pg_backend_pid())").map(|()| 0);
    }
    // A connection that has refused a piece refuses the end too, and says why.
    let copied = writer.finish()?;
    assert!(written.is_ok(), "a COPY that succeeds has taken all rows");
    Ok(copied)
}

/// Copies rows into a table of Freshet's own, which holds all of them then.
pub(super) fn copy_all(client: &mut Client, sql: &Statement, columns: &[Values<'_>], rows: usize) -> Result<(), postgres::Error> {
    let copied = copy(client, sql, columns, rows)?;
    assert_eq!(copied, rows as u64, "a COPY that succeeds holds all rows");
    Ok(())
}

/// Writes; what is refused for a reason that `is_borne` is undone, and the reason returned.
fn unless_refused(
    client: &mut Client,
    is_borne: fn(&postgres::Error) -> bool,
    write: impl FnOnce(&mut Client) -> Result<(), postgres::Error>,
) -> Result<Option<postgres::Error>, postgres::Error> {
    client.batch_execute("SAVEPOINT freshet")?;
    match write(client) {
        Ok(()) => client.batch_execute("RELEASE freshet").map(|()| None),
        Err(error) if is_borne(&error) => client.batch_execute("ROLLBACK TO freshet; RELEASE freshet").map(|()| Some(error)),
        Err(error) => Err(error),
    }
}

/// Tells whether rows cannot be copied into a table because some of their keys are in it, or because it takes no COPY at all.
fn may_not_be_new(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::UNIQUE_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED].contains(code))
}

/// Says why the database refused a row, without the value.
fn reason(error: &postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |db| match db.column() {
            Some(column) => format!("column {column}: {}", db.message()),
            None => db.message().to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_guesses_become_seldom_and_a_right_one_makes_up_for_them() {
        let mut guess = Guess::default();
        let mut guesses = 0;
        for _ in 0..10_000 {
            if guess.are_new() {
                guess.learn(false);
                guesses += 1;
            }
        }
        assert_eq!(guesses, 19, "after 1, 2, 4 … 1024 commits, and then each 1024");
        while !guess.are_new() {}
        guess.learn(true);
        assert!(guess.are_new() && guess.are_new());
    }
}
