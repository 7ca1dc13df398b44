//! The SQL of one view's table: upserts and deletes, from array parameters or from a staging table.
//!
//! ```text
//! few rows    INSERT INTO t … SELECT * FROM unnest($1::text[], …) ON CONFLICT (key) DO UPDATE …       one round trip
//! many rows   COPY t …                                             where all rows stay, or are new    one
//!             COPY pg_temp.staging … ; INSERT INTO t … SELECT * FROM staging ON CONFLICT …            three
//! keys        DELETE FROM t USING unnest(…) WHERE t.a = d.a AND t.b IS NULL                           one for each pattern of NULLs
//! ```
//! `IS NOT DISTINCT FROM` would be shorter than the patterns, but PostgreSQL cannot look it up in an index.

use freshet_model::TableSchema;

use super::kind::{ColumnKind, ident};
use super::tables::Table;

/// Writes the SQL of one view.
pub(super) struct Sql<'a> {
    pub(super) view: &'a TableSchema,
    pub(super) table: &'a Table,
    /// The view's number, from which the staging table has its name.
    pub(super) index: usize,
}

impl Sql<'_> {
    /// Inserts or replaces rows given as one array a column.
    pub(super) fn upsert_arrays(&self) -> String {
        self.upsert(&format!("unnest({})", arrays(self.table.kinds.iter().copied())))
    }

    /// Inserts or replaces the rows of the staging table.
    pub(super) fn upsert_staged(&self) -> String {
        self.upsert(&self.staging())
    }

    fn upsert(&self, rows: &str) -> String {
        let columns = self.names(0..self.view.columns.len());
        format!("INSERT INTO {} ({columns}) SELECT * FROM {rows}{}", self.table.name, self.on_conflict())
    }

    fn on_conflict(&self) -> String {
        if self.view.key.is_empty() {
            return String::new();
        }
        let set: Vec<_> = (0..self.view.columns.len())
            .filter(|column| !self.view.key.contains(column))
            .map(|column| format!("{0} = EXCLUDED.{0}", self.name(column)))
            .collect();
        let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
        format!(" ON CONFLICT ({}) DO {action}", self.names(self.view.key.iter().copied()))
    }

    /// Creates the staging table, whose rows last until the commit.
    pub(super) fn create_staging(&self) -> String {
        let column = |(i, kind): (usize, &ColumnKind)| format!("c{i} {}", kind.base());
        let columns: Vec<_> = self.table.kinds.iter().enumerate().map(column).collect();
        format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS freshet_staging_{} ({}) ON COMMIT DELETE ROWS",
            self.index,
            columns.join(", ")
        )
    }

    /// Fills the staging table.
    pub(super) fn copy_staging(&self) -> String {
        format!("COPY {} FROM STDIN (FORMAT binary)", self.staging())
    }

    /// Fills the table itself, where no row takes another's place.
    pub(super) fn copy_table(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.table.name, self.names(0..self.view.columns.len()))
    }

    /// Names the staging table.
    pub(super) fn staging(&self) -> String {
        format!("pg_temp.freshet_staging_{}", self.index)
    }

    /// Deletes the rows of keys whose columns are NULL where the pattern says so; the others are given as one array each.
    pub(super) fn delete(&self, nulls: &[bool]) -> String {
        let key = || self.view.key.iter().zip(nulls);
        let given: Vec<_> = key().filter(|&(_, &null)| !null).map(|(&column, _)| column).collect();
        let mut conditions: Vec<_> =
            given.iter().enumerate().map(|(i, &column)| format!("t.{} = d.k{i}", self.name(column))).collect();
        conditions.extend(key().filter(|&(_, &null)| null).map(|(&column, _)| format!("t.{} IS NULL", self.name(column))));
        let table = &self.table.name;
        if conditions.is_empty() {
            // No key: the view's only row.
            return format!("DELETE FROM {table}");
        }
        let conditions = conditions.join(" AND ");
        if given.is_empty() {
            return format!("DELETE FROM {table} AS t WHERE {conditions}");
        }
        let names: Vec<_> = (0..given.len()).map(|i| format!("k{i}")).collect();
        let keys = arrays(given.iter().map(|&column| self.table.kinds[column]));
        format!("DELETE FROM {table} AS t USING unnest({keys}) AS d({}) WHERE {conditions}", names.join(", "))
    }

    fn name(&self, column: usize) -> String {
        ident(&self.view.columns[column].name)
    }

    fn names(&self, columns: impl Iterator<Item = usize>) -> String {
        columns.map(|column| self.name(column)).collect::<Vec<_>>().join(", ")
    }
}

fn arrays(kinds: impl Iterator<Item = ColumnKind>) -> String {
    kinds.enumerate().map(|(i, kind)| format!("${}::{}[]", i + 1, kind.base())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use freshet_model::{Column, ColumnType};

    use super::*;
    use crate::tables::fit::TableRoom;

    fn check(key: Vec<usize>, test: impl Fn(&Sql<'_>)) {
        let columns = [("a", ColumnType::Timestamp), ("b", ColumnType::Text(Some(9))), ("n", ColumnType::BigInt)];
        let columns = columns.map(|(name, column_type)| Column { name: name.to_owned(), column_type }).to_vec();
        let view = TableSchema { name: "v".to_owned(), columns, key, appends: false, time_column: None };
        let kinds = vec![ColumnKind::Timestamptz, ColumnKind::Text(Some(9)), ColumnKind::Int4];
        let room = TableRoom { columns: Vec::new(), max_key_bytes: None };
        let table = Table { name: "\"v\"".to_owned(), kinds, room, nulls_distinct: false };
        test(&Sql { view: &view, table: &table, index: 3 });
    }

    #[test]
    fn upserts_update_only_what_is_not_the_key() {
        check(vec![0, 1], |sql| {
            assert_eq!(
                sql.upsert_arrays(),
                "INSERT INTO \"v\" (\"a\", \"b\", \"n\") SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::integer[]) \
                 ON CONFLICT (\"a\", \"b\") DO UPDATE SET \"n\" = EXCLUDED.\"n\""
            );
        });
        check(vec![0, 1, 2], |sql| assert!(sql.upsert_staged().ends_with("(\"a\", \"b\", \"n\") DO NOTHING")));
        check(vec![], |sql| assert!(sql.upsert_staged().ends_with("FROM pg_temp.freshet_staging_3")));
    }

    #[test]
    fn deletes_look_each_pattern_of_nulls_up_by_index() {
        check(vec![1, 0], |sql| {
            let text = "DELETE FROM \"v\" AS t USING unnest($1::timestamptz[]) AS d(k0) WHERE t.\"a\" = d.k0 AND t.\"b\" IS NULL";
            assert_eq!(sql.delete(&[true, false]), text);
            assert_eq!(sql.delete(&[true, true]), "DELETE FROM \"v\" AS t WHERE t.\"b\" IS NULL AND t.\"a\" IS NULL");
        });
        check(vec![], |sql| assert_eq!(sql.delete(&[]), "DELETE FROM \"v\""));
    }
}
