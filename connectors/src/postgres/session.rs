//! One connection with all that was prepared on it. Any failure drops it, and with it whatever was not committed.

use arrow::array::RecordBatch;
use freshet_model::{Commit, DeadLetter, Epoch, TableSchema};
use postgres::{Client, Statement};

use super::connect::is_about_a_row;
use super::control;
use super::encode::values;
use super::kind::{ColumnKind, ident};
use super::tables::Table;
use super::writer::{ViewWriter, copy_all};
use crate::fault;
use crate::tables::fit::Fitted;
use crate::tables::rejects::{Cell, DEAD_COLUMNS, LATE_COLUMNS, dated, dead_rows, late_rows};
use crate::tables::{Held, Owner};

/// A connection that can commit.
pub(super) struct Session {
    client: Client,
    writers: Vec<ViewWriter>,
    late: Statement,
    dead: Statement,
}

/// What became of a transaction before its COMMIT.
pub(super) enum Attempt {
    /// Everything is in place; these rows were refused by the database and left out.
    Ready(Vec<DeadLetter>),
    /// The progress is not where the sink left it; nothing has been written.
    Fenced,
}

impl Session {
    /// Prepares what commits need.
    pub(super) fn prepare(mut client: Client, owner: &Owner, views: &[(TableSchema, Table)]) -> Result<Session, postgres::Error> {
        control::mark_session(&mut client, owner)?;
        let mut writers = Vec::with_capacity(views.len());
        for (index, (view, table)) in views.iter().enumerate() {
            writers.push(ViewWriter::prepare(&mut client, view, table, index)?);
        }
        let late = client.prepare(&copy_rejects("late_events", LATE_COLUMNS))?;
        let dead = client.prepare(&copy_rejects("dead_letters", DEAD_COLUMNS))?;
        Ok(Session { client, writers, late, dead })
    }

    /// Reads what the database holds.
    pub(super) fn held(&mut self, owner: &Owner) -> Result<Option<Held>, postgres::Error> {
        control::read(&mut self.client, owner)
    }

    /// Writes all of a commit into a transaction that is left open. `fitted` has the commit's views, in their order.
    pub(super) fn write(
        &mut self,
        owner: &Owner,
        previous: Option<Epoch>,
        commit: &Commit,
        fitted: &[Fitted],
    ) -> Result<Attempt, postgres::Error> {
        match self.try_write(owner, previous, commit, fitted, false) {
            Err(error) if is_about_a_row(&error) => {
                self.rollback()?;
                self.try_write(owner, previous, commit, fitted, true)
            }
            result => result,
        }
    }

    fn try_write(
        &mut self,
        owner: &Owner,
        previous: Option<Epoch>,
        commit: &Commit,
        fitted: &[Fitted],
        carefully: bool,
    ) -> Result<Attempt, postgres::Error> {
        if !control::begin(&mut self.client, owner, previous, commit)? {
            self.rollback()?;
            return Ok(Attempt::Fenced);
        }
        break_at("postgres::after_compare_and_set", &mut self.client)?;
        let mut refused = Vec::new();
        for (changes, fitted) in commit.views.iter().zip(fitted) {
            let writer = &mut self.writers[changes.view];
            if carefully {
                writer.apply_carefully(&mut self.client, fitted, &mut refused)?;
            } else {
                writer.apply(&mut self.client, fitted)?;
            }
        }
        if commit.late().next().is_some() {
            self.copy(&self.late.clone(), LATE_COLUMNS, &late_rows(&owner.job, &owner.sink, commit))?;
        }
        let dead = dated(commit, fitted.iter().flat_map(|fitted| &fitted.refused).chain(&refused));
        if !dead.is_empty() {
            let rows = dead_rows(&owner.job, &owner.sink, &dead, owner.max_payload_bytes);
            self.copy(&self.dead.clone(), DEAD_COLUMNS, &rows)?;
        }
        Ok(Attempt::Ready(refused))
    }

    /// Makes what was written visible.
    pub(super) fn commit(&mut self) -> Result<(), postgres::Error> {
        self.client.batch_execute("COMMIT")
    }

    fn rollback(&mut self) -> Result<(), postgres::Error> {
        self.client.batch_execute("ROLLBACK")
    }

    fn copy(&mut self, statement: &Statement, columns: &[(&str, Cell)], rows: &RecordBatch) -> Result<(), postgres::Error> {
        let values = values(columns.iter().map(|&(_, cell)| ColumnKind::of_cell(cell)), rows);
        copy_all(&mut self.client, statement, &values, rows.num_rows())
    }
}

/// A fail point: the server ends the session there.
pub(super) fn break_at(point: &str, client: &mut Client) -> Result<(), postgres::Error> {
    if fault::hit(point) { client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())") } else { Ok(()) }
}

fn copy_rejects(table: &str, columns: &[(&str, Cell)]) -> String {
    let names: Vec<_> = columns.iter().map(|&(name, _)| ident(name)).collect();
    format!("COPY freshet.{table} ({}) FROM STDIN (FORMAT binary)", names.join(", "))
}
