//! A table, or a view, of a database, read as a whole by one statement: as it was at one moment.
//!
//! Rows come as JSON, which the server writes of any type, and are read like records in JSON: types, paths into JSON columns and messages are those of
//! files and topics.

use arrow::array::RecordBatch;
use postgres::fallible_iterator::FallibleIterator;

use super::connect::{Place, SqlState};
use super::kind::ident;
use crate::table_reader::Rows;
use crate::{Error, TableOptions, TableReader};

/// A table in PostgreSQL.
pub struct PostgresTable {
    place: Place,
    options: TableOptions,
    /// What has worked once may work again.
    has_connected: bool,
}

impl PostgresTable {
    /// Prepares to read from `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// The URL is not one.
    pub fn open(url: &str, options: TableOptions) -> Result<PostgresTable, Error> {
        Ok(PostgresTable { place: Place::parse(url, &options.thing())?, options, has_connected: false })
    }

    /// The table's name as SQL takes it: each part in quotes.
    fn relation(&self) -> String {
        self.options.relation.split('.').map(ident).collect::<Vec<_>>().join(".")
    }

    /// Returns the fields of a record that the columns are read from, which must be columns of the table.
    fn fields(&self, client: &mut postgres::Client) -> Result<Vec<String>, Error> {
        let sql = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
        let found = client.query(sql, &[&self.relation()]).map_err(|error| self.explain(&error))?;
        let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
        if found.is_empty() {
            let problem = format!("the database has no table {}", self.options.relation);
            return Err(Error::setup(
                &self.place.thing,
                problem,
                "create it, or correct 'table', with its schema if it is not in the search path",
            ));
        }
        let mut fields = Vec::new();
        for (index, column) in self.options.columns.iter().enumerate() {
            let names = self.options.format.fields.get(index).map_or(&[][..], |field| &field.names);
            let candidates: Vec<&String> =
                if names.is_empty() { vec![&column.name] } else { names.iter().filter_map(|path| path.first()).collect() };
            let there: Vec<&String> = candidates.iter().copied().filter(|name| found.contains(name)).collect();
            if there.is_empty() {
                let problem = format!("{} has no column '{}'", self.options.relation, candidates.first().map_or("", |name| name));
                return Err(Error::setup(&self.place.thing, problem, format!("it has {}", found.join(", "))));
            }
            fields.extend(there.into_iter().cloned());
        }
        fields.sort_unstable();
        fields.dedup();
        Ok(fields)
    }

    fn explain(&self, error: &postgres::Error) -> Error {
        if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            let problem = error.as_db_error().map_or_else(String::new, |error| error.message().to_owned());
            return Error::setup(&self.place.thing, problem, "give the user the right to SELECT from it");
        }
        self.place.explain(error)
    }
}

impl TableReader for PostgresTable {
    fn was_read_before(&mut self) {
        self.has_connected = true;
    }

    fn read(&mut self) -> Result<Option<RecordBatch>, Error> {
        // Each time anew: between two readings a connection would only be in the way of whoever stops the server.
        let explain = if self.has_connected { Place::explain_reconnect } else { Place::explain_connect };
        let mut client = self.place.connect_to_read().map_err(|error| explain(&self.place, &error))?;
        self.has_connected = true;
        let fields: Vec<String> = self.fields(&mut client)?.iter().map(|field| ident(field)).collect();
        let sql = format!("SELECT row_to_json(r)::text FROM (SELECT {} FROM {}) AS r", fields.join(", "), self.relation());
        let mut rows = Rows::new(&self.options)?;
        let mut found = client.query_raw(&sql, std::iter::empty::<&str>()).map_err(|error| self.explain(&error))?;
        while let Some(row) = found.next().map_err(|error| self.explain(&error))? {
            rows.push(row.get::<_, &str>(0).as_bytes())?;
        }
        rows.finish().map(Some)
    }
}
