//! How the rows of a commit go into the file: one prepared statement for upserts and one for deletes.

use arrow::array::RecordBatch;
use freshet_model::{DeadLetter, Reason, TableSchema};
use rusqlite::{Connection, Error, ErrorCode};

use super::bind::Rows;
use super::tables::{Table, ident};
use crate::tables::fit::{Fitted, keys_of, select};
use crate::tables::rejects::{Cell, refused_row};

/// Applies one view's deletes, then its upserts; rows that a constraint or trigger refuses are added to `refused`.
pub(super) fn apply(
    transaction: &Connection,
    view: &TableSchema,
    table: &Table,
    changes: &Fitted,
    refused: &mut Vec<DeadLetter>,
) -> rusqlite::Result<()> {
    delete(transaction, table, &changes.deletes)?;
    let rows = &changes.upserts;
    if view.keeps_all() {
        // Nothing has to make way.
    } else if view.key.is_empty() && rows.num_rows() > 0 {
        delete(transaction, table, &keys_of(view, &rows.slice(0, 1)))?;
    } else if view.key.iter().any(|&column| rows.column(column).null_count() > 0) {
        // No conflict would be found for these.
        let nulls = select(&keys_of(view, rows), |row| view.key.iter().any(|&column| rows.column(column).is_null(row)));
        delete(transaction, table, &nulls)?;
    }
    let mut statement = transaction.prepare_cached(&table.upsert)?;
    let values = Rows::of(rows);
    for row in 0..rows.num_rows() {
        let Err(error) = values.execute(row, &mut statement) else { continue };
        if !is_about_a_row(&error) || transaction.is_autocommit() {
            // A trigger may have rolled the whole transaction back; then nothing may be written any more.
            return Err(error);
        }
        if !view.keeps_all() {
            delete(transaction, table, &keys_of(view, &rows.slice(row, 1)))?;
        }
        refused.push(refused_row(view, rows, row, Reason::DoesNotFit, &error.to_string()));
    }
    Ok(())
}

fn delete(transaction: &Connection, table: &Table, keys: &RecordBatch) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(&table.delete)?;
    let values = Rows::of(keys);
    (0..keys.num_rows()).try_for_each(|row| values.execute(row, &mut statement).map(drop))
}

/// Appends rows to a table of rejects.
pub(super) fn append(
    transaction: &Connection,
    table: &str,
    columns: &[(&str, Cell)],
    rows: &RecordBatch,
) -> rusqlite::Result<()> {
    if rows.num_rows() == 0 {
        return Ok(());
    }
    let names: Vec<_> = columns.iter().map(|&(name, _)| ident(name)).collect();
    let parameters: Vec<_> = (1..=columns.len()).map(|i| format!("?{i}")).collect();
    let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), parameters.join(", "));
    let mut statement = transaction.prepare_cached(&sql)?;
    let values = Rows::of(rows);
    (0..rows.num_rows()).try_for_each(|row| values.execute(row, &mut statement).map(drop))
}

fn is_about_a_row(error: &Error) -> bool {
    let codes = [ErrorCode::ConstraintViolation, ErrorCode::TypeMismatch, ErrorCode::TooBig];
    error.sqlite_error_code().is_some_and(|code| codes.contains(&code))
}
