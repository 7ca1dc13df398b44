//! The tables of views in the file: creates those that are missing, compares those that exist.
//!
//! SQLite cares little for declared types; what counts is the *affinity* that it derives from them, which may change a value as it
//! is stored. A new table has `UNIQUE` over the key's columns; SQLite treats NULLs there as distinct, so rows with a NULL in the key
//! are deleted before they are inserted.

use freshet_model::{Column, ColumnType, TableSchema};
use rusqlite::{Connection, OptionalExtension, params};

use crate::tables::fit::{Bound, Room, TableRoom};
use crate::tables::rejects::Cell;
use crate::tables::{Difference, only_added, staged_view};

/// A table as its view writes into it.
pub(super) struct Table {
    /// What the table can hold.
    pub(super) room: TableRoom,
    pub(super) upsert: String,
    pub(super) delete: String,
}

/// A column as the file has it.
struct Found {
    name: String,
    declared: String,
    not_null: bool,
    has_default: bool,
    in_primary_key: bool,
    generated: bool,
}

/// Creates the table of a view or compares it; differences are added to the list.
pub(super) fn create_or_check(
    connection: &Connection,
    view: &TableSchema,
    differences: &mut Vec<Difference>,
) -> rusqlite::Result<Option<Table>> {
    let kind: Option<String> = connection
        .query_row("SELECT type FROM sqlite_master WHERE name = ?1 AND type IN ('table', 'view')", [&view.name], |row| row.get(0))
        .optional()?;
    let not_null = match kind.as_deref() {
        None => {
            connection.execute_batch(&create_sql(view))?;
            vec![false; view.columns.len()]
        }
        Some("table") => {
            let before = differences.len();
            let not_null = check(connection, view, differences)?;
            if differences.len() > before {
                return Ok(None);
            }
            not_null
        }
        Some(_) => {
            let problem = format!("{} is a view of the database and not a table", view.name);
            differences.push(Difference { problem, fix: format!("DROP VIEW {}", ident(&view.name)) });
            return Ok(None);
        }
    };
    let room = |(column, not_null): (&Column, bool)| Room { bound: bound(column.column_type), not_null };
    let columns = view.columns.iter().zip(not_null).map(room).collect();
    let room = TableRoom { columns, max_key_bytes: None };
    Ok(Some(Table { room, upsert: upsert_sql(view), delete: delete_sql(view) }))
}

/// Makes an empty table beside a view's, for rows that take the place of the view's later.
pub(super) fn stage(connection: &Connection, view: &TableSchema, table: Table) -> rusqlite::Result<Table> {
    let staged = staged_view(view);
    connection.execute_batch(&format!("DROP TABLE IF EXISTS {}; {}", ident(&staged.name), create_sql(&staged)))?;
    Ok(Table { upsert: upsert_sql(&staged), delete: delete_sql(&staged), ..table })
}

/// Puts the rows of a view's staged table in the place of the view's.
pub(super) fn adopt(connection: &Connection, view: &TableSchema) -> rusqlite::Result<()> {
    let (name, staged) = (ident(&view.name), ident(&staged_view(view).name));
    let columns = names(view, 0..view.columns.len());
    connection.execute_batch(&format!(
        "DELETE FROM {name}; INSERT INTO {name} ({columns}) SELECT {columns} FROM {staged}; DROP TABLE {staged}"
    ))
}

fn create_sql(view: &TableSchema) -> String {
    let line = |column: &Column| format!("{} {}", ident(&column.name), declared(column.column_type));
    let mut lines: Vec<_> = view.columns.iter().map(line).collect();
    if !view.key.is_empty() {
        lines.push(format!("UNIQUE ({})", names(view, view.key.iter().copied())));
    }
    format!("CREATE TABLE {} ({})", ident(&view.name), lines.join(", "))
}

fn upsert_sql(view: &TableSchema) -> String {
    let all = 0..view.columns.len();
    let parameters: Vec<_> = all.clone().map(|i| format!("?{}", i + 1)).collect();
    let insert = format!("INSERT INTO {} ({}) VALUES ({})", ident(&view.name), names(view, all.clone()), parameters.join(", "));
    if view.key.is_empty() {
        return insert;
    }
    let set: Vec<_> =
        all.filter(|i| !view.key.contains(i)).map(|i| format!("{0} = excluded.{0}", ident(&view.columns[i].name))).collect();
    let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
    format!("{insert} ON CONFLICT ({}) DO {action}", names(view, view.key.iter().copied()))
}

fn delete_sql(view: &TableSchema) -> String {
    let table = ident(&view.name);
    if view.key.is_empty() {
        // The view's only row.
        return format!("DELETE FROM {table}");
    }
    // IS finds NULLs as well, and uses the index.
    let condition = |(i, &column): (usize, &usize)| format!("{} IS ?{}", ident(&view.columns[column].name), i + 1);
    let conditions: Vec<_> = view.key.iter().enumerate().map(condition).collect();
    format!("DELETE FROM {table} WHERE {}", conditions.join(" AND "))
}

fn names(view: &TableSchema, columns: impl Iterator<Item = usize>) -> String {
    columns.map(|column| ident(&view.columns[column].name)).collect::<Vec<_>>().join(", ")
}

/// Quotes a name for SQL.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the type that a column of a new table is declared with.
fn declared(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::Text(Some(chars)) => format!("VARCHAR({chars})"),
        // A declared DECIMAL would turn the digits into a float.
        ColumnType::Text(None) | ColumnType::Decimal(..) => "TEXT".to_owned(),
        ColumnType::BigInt => "BIGINT".to_owned(),
        ColumnType::Double => "DOUBLE PRECISION".to_owned(),
        ColumnType::Boolean => "BOOLEAN".to_owned(),
        ColumnType::Timestamp => "TIMESTAMP".to_owned(),
    }
}

/// Returns the type that a column of a table of rejects is declared with.
pub(super) fn declared_cell(cell: Cell) -> &'static str {
    match cell {
        Cell::Text => "TEXT",
        Cell::Int => "INTEGER",
        Cell::BigInt => "BIGINT",
        Cell::Time => "TIMESTAMP",
        Cell::Bytes => "BLOB",
    }
}

/// Returns what a column holds.
fn bound(column_type: ColumnType) -> Bound {
    /// The years 0 to 9999, in microseconds since 1970: those that a text of fixed width can name.
    const YEARS: (i64, i64) = (-62_167_219_200_000_000, 253_402_300_799_999_999);
    match column_type {
        ColumnType::Text(chars) => Bound::Text(chars),
        ColumnType::Timestamp => Bound::Time(YEARS.0, YEARS.1),
        ColumnType::Double => Bound::Number,
        _ => Bound::Any,
    }
}

/// Compares a table; returns which of the view's columns must not be NULL.
fn check(connection: &Connection, view: &TableSchema, differences: &mut Vec<Difference>) -> rusqlite::Result<Vec<bool>> {
    let found = columns(connection, &view.name)?;
    let table = ident(&view.name);
    let mut not_null = Vec::with_capacity(view.columns.len());
    for column in &view.columns {
        let wanted = declared(column.column_type);
        let Some(found) = found.iter().find(|found| found.name.eq_ignore_ascii_case(&column.name)) else {
            let problem = format!("table {} has no column {} (wanted: {wanted})", view.name, column.name);
            differences
                .push(Difference { problem, fix: format!("ALTER TABLE {table} ADD COLUMN {} {wanted}", ident(&column.name)) });
            continue;
        };
        not_null.push(found.not_null);
        if found.generated || !keeps(affinity(&found.declared), column.column_type) {
            let what = if found.generated { "generated" } else { &found.declared };
            let problem = format!("column {} of table {} is {what}, wanted: {wanted}", column.name, view.name);
            differences.push(Difference { problem, fix: format!("create {table} anew with this type") });
        }
    }
    for found in &found {
        let known = view.columns.iter().any(|column| column.name.eq_ignore_ascii_case(&found.name));
        if !known && found.not_null && !found.has_default && !found.generated {
            let problem = format!(
                "column {} of table {} is NOT NULL without a default, and the view has no such column",
                found.name, view.name
            );
            differences.push(Difference { problem, fix: format!("ALTER TABLE {table} DROP COLUMN {}", ident(&found.name)) });
        }
    }
    check_key(connection, view, &found, differences)?;
    Ok(not_null)
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Found>> {
    let mut statement = connection.prepare(
        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk > 0, hidden IN (2, 3) FROM pragma_table_xinfo(?1)",
    )?;
    let mut found: Vec<Found> = statement
        .query_map([table], |row| {
            Ok(Found {
                name: row.get(0)?,
                declared: row.get(1)?,
                not_null: row.get(2)?,
                has_default: row.get(3)?,
                in_primary_key: row.get(4)?,
                generated: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    // An INTEGER PRIMARY KEY is the row's number: SQLite would make one up for a NULL, and for a column that is left out.
    if found.iter().filter(|found| found.in_primary_key).count() == 1 {
        for number in found.iter_mut().filter(|found| found.in_primary_key && found.declared.eq_ignore_ascii_case("INTEGER")) {
            number.not_null = true;
            number.has_default = true;
        }
    }
    Ok(found)
}

/// The rule by which SQLite derives an affinity from a declared type (<https://sqlite.org/datatype3.html>, 3.1).
fn affinity(declared: &str) -> &'static str {
    let declared = declared.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
    match () {
        () if has(&["INT"]) => "INTEGER",
        () if has(&["CHAR", "CLOB", "TEXT"]) => "TEXT",
        () if declared.is_empty() || has(&["BLOB"]) => "BLOB",
        () if has(&["REAL", "FLOA", "DOUB"]) => "REAL",
        () => "NUMERIC",
    }
}

/// Tells whether a column of this affinity stores values of the type as they are.
fn keeps(affinity: &str, column_type: ColumnType) -> bool {
    let keeping: &[&str] = match column_type {
        // A text of digits would become a number.
        ColumnType::Text(_) | ColumnType::Decimal(..) => &["TEXT"],
        ColumnType::BigInt | ColumnType::Boolean => &["INTEGER", "NUMERIC"],
        ColumnType::Double => &["REAL"],
        ColumnType::Timestamp => &["TEXT", "NUMERIC"],
    };
    affinity == "BLOB" || keeping.contains(&affinity)
}

/// Looks for an index that makes exactly the key unique.
fn check_key(
    connection: &Connection,
    view: &TableSchema,
    found: &[Found],
    differences: &mut Vec<Difference>,
) -> rusqlite::Result<()> {
    let table = ident(&view.name);
    if view.keeps_all() {
        let known = |name: &String| view.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        let unique = unique_keys(connection, view, found)?.into_iter().find(|key| key.iter().all(known));
        differences.extend(unique.map(|key| only_added(&table, view, &key)));
        return Ok(());
    }
    if view.key.is_empty() {
        let several: bool =
            connection.query_row(&format!("SELECT count(*) > 1 FROM (SELECT 1 FROM {table} LIMIT 2)"), [], |row| row.get(0))?;
        if several {
            let problem = format!("table {} has several rows, but the view has no key and so one row at most", view.name);
            differences.push(Difference { problem, fix: format!("DELETE FROM {table}, or group the view by a column") });
        }
        return Ok(());
    }
    let sorted = |mut names: Vec<String>| {
        names.iter_mut().for_each(|name| name.make_ascii_lowercase());
        names.sort_unstable();
        names
    };
    let wanted = sorted(view.key.iter().map(|&column| view.columns[column].name.clone()).collect());
    if !unique_keys(connection, view, found)?.into_iter().any(|key| sorted(key) == wanted) {
        let key = names(view, view.key.iter().copied());
        let problem = format!("table {} has no primary key or unique index over exactly ({key})", view.name);
        differences.push(Difference {
            problem,
            fix: format!("CREATE UNIQUE INDEX {} ON {table} ({key})", ident(&format!("{}_key", view.name))),
        });
    }
    Ok(())
}

/// Lists the columns of each key and unique index of a table.
fn unique_keys(connection: &Connection, view: &TableSchema, found: &[Found]) -> rusqlite::Result<Vec<Vec<String>>> {
    let primary: Vec<_> = found.iter().filter(|found| found.in_primary_key).map(|found| found.name.clone()).collect();
    let mut keys: Vec<Vec<String>> = if primary.is_empty() { Vec::new() } else { vec![primary] };
    let mut indexes = connection.prepare("SELECT name FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial")?;
    let mut index_columns = connection.prepare("SELECT coalesce(name, '') FROM pragma_index_info(?1)")?;
    for index in indexes.query_map([&view.name], |row| row.get::<_, String>(0))? {
        let columns = index_columns.query_map(params![index?], |row| row.get(0))?;
        keys.push(columns.collect::<Result<_, _>>()?);
    }
    Ok(keys)
}
