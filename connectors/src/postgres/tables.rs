//! The tables of views: creates those that are missing, compares those that exist.
//!
//! A new table has `UNIQUE NULLS NOT DISTINCT` over the key's columns and not a primary key, since a view's key may be NULL (events
//! without a page, say), which a primary key forbids. An existing table may have either. Where NULLs count as distinct (a plain
//! unique index, or any before PostgreSQL 15), rows with a NULL in the key are deleted before they are inserted.

use freshet_model::{Column, ColumnType, TableSchema};
use postgres::GenericClient;

use super::kind::{ColumnKind, ident};
use crate::tables::fit::{Room, TableRoom};
use crate::tables::{Difference, only_added, staged_view};

/// An entry of a btree index holds 2704 bytes, its header included. A longer key may be compressed enough to fit, or not.
const MAX_KEY_BYTES: usize = 2670;
/// The server cuts longer names off.
const MAX_NAME_BYTES: usize = 63;
/// From this version on a unique index can treat NULLs as equal.
const NULLS_NOT_DISTINCT_VERSION: i32 = 150_000;

/// A table as its view writes into it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Qualified and quoted.
    pub(super) name: String,
    /// The types of the view's columns in the table, in the view's order.
    pub(super) kinds: Vec<ColumnKind>,
    /// What the table can hold.
    pub(super) room: TableRoom,
    /// Whether two rows with the same NULL in their keys do not conflict.
    pub(super) nulls_distinct: bool,
}

/// A column as the catalog has it.
struct Found {
    name: String,
    declared: String,
    kind: Option<ColumnKind>,
    not_null: bool,
    /// Whether an insert may leave it out.
    filled: bool,
    generated: bool,
}

/// Creates the table of a view or compares it; differences are added to the list.
pub(super) fn create_or_check(
    client: &mut impl GenericClient,
    view: &TableSchema,
    differences: &mut Vec<Difference>,
) -> Result<Option<Table>, postgres::Error> {
    let before = differences.len();
    check_view(view, differences);
    if differences.len() > before {
        return Ok(None);
    }
    let version: i32 = client.query_one("SELECT current_setting('server_version_num')::int", &[])?.get(0);
    let nulls_equal = version >= NULLS_NOT_DISTINCT_VERSION;
    let name = qualified(&view.name);
    let found = client.query_opt("SELECT oid, relkind::text FROM pg_class WHERE oid = to_regclass($1)", &[&name])?;
    let Some(row) = found else {
        return create(client, view, &name, nulls_equal, differences);
    };
    let (oid, relation): (u32, String) = (row.get(0), row.get(1));
    if !["r", "p"].contains(&relation.as_str()) {
        let problem = format!("{name} is not a table");
        differences.push(Difference { problem, fix: "name a table, or drop it and let Freshet create one".to_owned() });
        return Ok(None);
    }
    let table = check(client, view, Existing { name, oid, nulls_equal }, differences)?;
    Ok((differences.len() == before).then_some(table))
}

/// Makes an empty table beside a view's, of the same columns and indexes, for rows that take the place of the view's later.
pub(super) fn stage(
    client: &mut impl GenericClient,
    view: &TableSchema,
    table: Table,
    differences: &mut Vec<Difference>,
) -> Result<Option<Table>, postgres::Error> {
    let staged = staged_view(view).name;
    let own = staged.rsplit('.').next().unwrap_or(&staged);
    if own.len() > MAX_NAME_BYTES {
        let problem = format!("the name of view {} is too long to compute it anew beside its table", view.name);
        differences.push(Difference { problem, fix: "compute the whole job anew with --reset alone".to_owned() });
        return Ok(None);
    }
    let name = qualified(&staged);
    client.batch_execute(&format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (LIKE {} INCLUDING ALL)", table.name))?;
    Ok(Some(Table { name, ..table }))
}

/// Puts the rows of a view's staged table in the place of the view's.
pub(super) fn adopt(client: &mut impl GenericClient, view: &TableSchema, table: &Table) -> Result<(), postgres::Error> {
    let staged = qualified(&staged_view(view).name);
    let columns = view.columns.iter().map(|column| ident(&column.name)).collect::<Vec<_>>().join(", ");
    let name = &table.name;
    client.batch_execute(&format!(
        "DELETE FROM {name}; INSERT INTO {name} ({columns}) SELECT {columns} FROM {staged}; DROP TABLE {staged}"
    ))
}

/// Refuses what no table could hold.
fn check_view(view: &TableSchema, differences: &mut Vec<Difference>) {
    for column in &view.columns {
        if matches!(column.column_type, ColumnType::Decimal(_, ..0)) {
            let problem = format!("column {} of view {} is {}: a negative scale", column.name, view.name, column.column_type);
            differences.push(Difference { problem, fix: "cast it to a decimal with scale 0 or more".to_owned() });
        }
    }
}

/// Quotes a name that may have a schema before a dot.
fn qualified(name: &str) -> String {
    name.split_once('.').map_or_else(|| ident(name), |(schema, table)| format!("{}.{}", ident(schema), ident(table)))
}

fn create(
    client: &mut impl GenericClient,
    view: &TableSchema,
    name: &str,
    nulls_equal: bool,
    differences: &mut Vec<Difference>,
) -> Result<Option<Table>, postgres::Error> {
    if let Some((schema, _)) = view.name.split_once('.') {
        let exists: bool = client.query_one("SELECT to_regnamespace($1) IS NOT NULL", &[&ident(schema)])?.get(0);
        if !exists {
            let fix = format!("CREATE SCHEMA {}", ident(schema));
            differences.push(Difference { problem: format!("schema {schema} of table {name} does not exist"), fix });
            return Ok(None);
        }
    }
    let kinds: Vec<_> = view.columns.iter().map(|column| ColumnKind::created_for(column.column_type)).collect();
    let mut lines: Vec<_> =
        view.columns.iter().zip(&kinds).map(|(c, kind)| format!("{} {}", ident(&c.name), kind.ddl())).collect();
    if !view.key.is_empty() {
        lines.push(format!("UNIQUE {}({})", if nulls_equal { "NULLS NOT DISTINCT " } else { "" }, key_list(view)));
    }
    client.batch_execute(&format!("CREATE TABLE {name} ({})", lines.join(", ")))?;
    let not_null = vec![false; kinds.len()];
    Ok(Some(table(view, name.to_owned(), kinds, &not_null, !nulls_equal)))
}

fn key_list(view: &TableSchema) -> String {
    view.key.iter().map(|&column| ident(&view.columns[column].name)).collect::<Vec<_>>().join(", ")
}

fn table(view: &TableSchema, name: String, kinds: Vec<ColumnKind>, not_null: &[bool], nulls_distinct: bool) -> Table {
    let room =
        |((column, kind), &not_null): ((&Column, &ColumnKind), &bool)| Room { bound: kind.bound(column.column_type), not_null };
    let columns = view.columns.iter().zip(&kinds).zip(not_null).map(room).collect();
    let max_key_bytes = (!view.key.is_empty()).then_some(MAX_KEY_BYTES);
    Table { name, kinds, room: TableRoom { columns, max_key_bytes }, nulls_distinct }
}

/// A table that was there before.
struct Existing {
    name: String,
    oid: u32,
    nulls_equal: bool,
}

fn check(
    client: &mut impl GenericClient,
    view: &TableSchema,
    existing: Existing,
    differences: &mut Vec<Difference>,
) -> Result<Table, postgres::Error> {
    let found = columns(client, existing.oid)?;
    let mut kinds = Vec::with_capacity(view.columns.len());
    let mut not_null = Vec::with_capacity(view.columns.len());
    for column in &view.columns {
        match found.iter().find(|found| found.name == column.name) {
            Some(found) => {
                differences.extend(check_column(&existing.name, column, found));
                kinds.push(found.kind.unwrap_or(ColumnKind::created_for(column.column_type)));
                not_null.push(found.not_null);
            }
            None => {
                let kind = ColumnKind::created_for(column.column_type);
                let problem = format!("table {} has no column {} (wanted: {})", existing.name, column.name, kind.ddl());
                let fix = format!("ALTER TABLE {} ADD COLUMN {} {}", existing.name, ident(&column.name), kind.ddl());
                differences.push(Difference { problem, fix });
                kinds.push(kind);
                not_null.push(false);
            }
        }
    }
    differences.extend(found.iter().filter_map(|found| check_extra(&existing.name, view, found)));
    let nulls_distinct = check_key(client, view, &existing, differences)?;
    Ok(table(view, existing.name, kinds, &not_null, nulls_distinct))
}

fn columns(client: &mut impl GenericClient, oid: u32) -> Result<Vec<Found>, postgres::Error> {
    let rows = client.query(
        "SELECT attname::text, format_type(atttypid, atttypmod), atttypid, atttypmod, attnotnull, \
                atthasdef OR attidentity <> '', attgenerated <> '' OR attidentity = 'a' \
         FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &[&oid],
    )?;
    let found = rows.iter().map(|row| Found {
        name: row.get(0),
        declared: row.get(1),
        kind: ColumnKind::from_catalog(row.get(2), row.get(3)),
        not_null: row.get(4),
        filled: row.get(5),
        generated: row.get(6),
    });
    Ok(found.collect())
}

/// Compares a column that both sides have.
fn check_column(table: &str, column: &Column, found: &Found) -> Option<Difference> {
    let name = ident(&column.name);
    if found.generated {
        let problem = format!("column {} of table {table} is generated always, and cannot be written", column.name);
        let fix = format!("ALTER TABLE {table} DROP COLUMN {name}");
        return Some(Difference { problem, fix });
    }
    if found.kind.is_some_and(|kind| kind.takes(column.column_type)) {
        return None;
    }
    let wanted = ColumnKind::created_for(column.column_type).ddl();
    let problem = format!("column {} of table {table} is {}, wanted: {wanted}", column.name, found.declared);
    let fix = format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE {wanted} USING {name}::{wanted}");
    Some(Difference { problem, fix })
}

/// Finds a column that the view does not have and no insert may leave out.
fn check_extra(table: &str, view: &TableSchema, found: &Found) -> Option<Difference> {
    let known = view.columns.iter().any(|column| column.name == found.name);
    (!known && found.not_null && !found.filled).then(|| Difference {
        problem: format!(
            "column {} of table {table} is NOT NULL without a default, and view {} has no such column",
            found.name, view.name
        ),
        fix: format!("ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL", ident(&found.name)),
    })
}

/// Looks for an index that makes exactly the key unique; returns whether it treats NULLs as distinct.
fn check_key(
    client: &mut impl GenericClient,
    view: &TableSchema,
    existing: &Existing,
    differences: &mut Vec<Difference>,
) -> Result<bool, postgres::Error> {
    let name = &existing.name;
    if view.keeps_all() {
        differences.extend(unique_columns(client, view, existing)?.map(|columns| only_added(name, view, &columns)));
        return Ok(false);
    }
    if view.key.is_empty() {
        // Such a view has one row, which replaces what the table held: so the table must not hold anything else.
        let several: bool =
            client.query_one(&format!("SELECT count(*) > 1 FROM (SELECT 1 FROM {name} LIMIT 2) AS t"), &[])?.get(0);
        if several {
            let problem = format!("table {name} has several rows, but view {} has no key and so one row at most", view.name);
            differences.push(Difference { problem, fix: format!("TRUNCATE {name}, or group the view by a column") });
        }
        return Ok(false);
    }
    // Through JSON, since the column `indnullsnotdistinct` does not exist before PostgreSQL 15.
    let rows = client.query(
        "SELECT array(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])), \
                coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) \
         FROM pg_index i WHERE indrelid = $1 AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL",
        &[&existing.oid],
    )?;
    let mut wanted: Vec<&str> = view.key.iter().map(|&column| view.columns[column].name.as_str()).collect();
    wanted.sort_unstable();
    let covering = rows.iter().filter(|row| {
        let mut columns: Vec<String> = row.get(0);
        columns.sort_unstable();
        columns == wanted
    });
    let nulls_distinct = covering.map(|row| !row.get::<_, bool>(1)).min();
    if nulls_distinct.is_none() {
        let problem = format!("table {name} has no primary key or unique index over exactly ({})", key_list(view));
        let nulls = if existing.nulls_equal { " NULLS NOT DISTINCT" } else { "" };
        differences.push(Difference { problem, fix: format!("CREATE UNIQUE INDEX ON {name} ({}){nulls}", key_list(view)) });
    }
    Ok(nulls_distinct.unwrap_or(true))
}

/// Finds columns of the view that an index of the table keeps unique, so that it would refuse a second row of the same values.
fn unique_columns(
    client: &mut impl GenericClient,
    view: &TableSchema,
    existing: &Existing,
) -> Result<Option<Vec<String>>, postgres::Error> {
    let rows = client.query(
        "SELECT array(SELECT coalesce(a.attname::text, '') FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(attnum, at) \
                      LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.at) \
         FROM pg_index i WHERE indrelid = $1 AND indisunique ORDER BY NOT indisprimary, indexrelid",
        &[&existing.oid],
    )?;
    // A column that the view does not have (a serial number, say) makes each row another.
    let known = |name: &String| view.columns.iter().any(|column| column.name == *name);
    Ok(rows.iter().map(|row| row.get::<_, Vec<String>>(0)).find(|columns| columns.iter().all(known)))
}
