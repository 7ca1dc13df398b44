//! The tables that streams are enriched from: `[table.NAME]`.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use freshet_connectors::format::{Encoding, Format};
use freshet_connectors::{Error as ConnectorError, InlineTable, TableOptions, TableReader, open_table};
use freshet_dataflows::lookup::Lookup;
use freshet_dataflows::plan::TablePlan;
use freshet_model::Column;
use toml::Spanned;

use super::values::Context;
use super::written::{LookupTable, Text};
use super::{Error, suggestion};
use crate::redact;

const SCHEMES: [&str; 3] = ["file", "postgres", "postgresql"];
const DEFAULT_REFRESH: Duration = Duration::from_secs(60);
/// Each process holds the whole table in memory.
const DEFAULT_MAX_ROWS: usize = 1_000_000;
/// A version's rows are counted with 32 bits.
const MOST_ROWS: usize = 1_000_000_000;

/// A table that streams are enriched from.
#[derive(Clone)]
pub struct TableSpec {
    /// The table's name in SQL.
    pub name: String,
    /// Where its rows are.
    pub place: TablePlace,
    /// Its name in the database.
    pub relation: String,
    /// The declared columns, in order.
    pub columns: Vec<Column>,
    /// How the records of a file are written, and where in records the columns are.
    pub format: Format,
    /// Indices of the columns that tell rows apart.
    pub key: Vec<usize>,
    /// How often it is looked whether it has changed.
    pub refresh: Duration,
    /// A table of more rows is refused.
    pub max_rows: usize,
}

/// Where the rows of a table are.
#[derive(Clone)]
pub enum TablePlace {
    /// At a URL, which may hold a password.
    Url(String),
    /// In the job file: records in JSON.
    Here(Vec<String>),
}

impl TablePlace {
    fn is_file(&self) -> bool {
        matches!(self, TablePlace::Url(url) if url.starts_with("file://"))
    }
}

/// Without passwords.
impl fmt::Display for TablePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TablePlace::Url(url) => f.write_str(&redact::url(url)),
            TablePlace::Here(records) => write!(f, "{} rows in the job file", records.len()),
        }
    }
}

impl TableSpec {
    /// Opens the table; of one at a URL nothing is read yet.
    ///
    /// # Errors
    /// The URL is wrong.
    pub fn open(&self) -> Result<Box<dyn TableReader>, ConnectorError> {
        match &self.place {
            TablePlace::Url(url) => open_table(url, self.options()),
            TablePlace::Here(records) => Ok(Box::new(InlineTable::new(self.options(), records.clone()))),
        }
    }

    /// Returns the table as the planner sees it.
    #[must_use]
    pub fn plan(&self) -> TablePlan {
        TablePlan { name: self.name.clone(), columns: self.columns.clone(), key: self.key.clone() }
    }

    /// Returns what its reader is to know.
    fn options(&self) -> TableOptions {
        TableOptions {
            name: self.name.clone(),
            relation: self.relation.clone(),
            columns: self.columns.clone(),
            format: self.format.clone(),
            max_rows: self.max_rows,
        }
    }
}

impl fmt::Debug for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSpec")
            .field("name", &self.name)
            .field("place", &self.place.to_string())
            .field("columns", &self.columns)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Context<'_> {
    pub(super) fn table(&self, name: &Text, mut written: LookupTable) -> Result<TableSpec, Error> {
        let key = |field: &str| format!("table.{}.{field}", name.get_ref());
        let (columns, fields) = self.columns("table", name, std::mem::take(&mut written.columns))?;
        let names = columns.iter().zip(&fields).flat_map(|(column, field)| match field.names.as_slice() {
            [] => vec![column.name.as_str()],
            paths => paths.iter().map(|path| path[0].as_str()).collect(),
        });
        let place = self.table_place(name, &written, &names.collect::<Vec<_>>())?;
        let encoding = self.encoding(name, &place, &written)?;
        let format = Format { encoding, fields, max_dead_run: None };
        let format = self.checked_format(&key("columns"), name, &columns, format)?;
        let max_rows = match &written.max_rows {
            Some(rows) if !(1..=MOST_ROWS).contains(rows.get_ref()) => {
                let what = format!("'{}' is {}", key("max_rows"), rows.get_ref());
                return Err(self.error_at(&rows.span(), what, format!("use 1 to {MOST_ROWS}")));
            }
            rows => rows.as_ref().map_or(DEFAULT_MAX_ROWS, |rows| *rows.get_ref()),
        };
        let table = TableSpec {
            relation: self.relation(name, &place, written.table.as_ref())?,
            name: self.checked_name("table", name, name.get_ref())?,
            key: self.table_key(name, &written.key, &columns)?,
            refresh: self.positive(&key("refresh"), written.refresh.as_ref(), DEFAULT_REFRESH)?,
            place,
            columns,
            format,
            max_rows,
        };
        if let Some(rows) = &written.rows {
            self.check_rows(&table, &rows.span())?;
        }
        Ok(table)
    }

    fn table_place(&self, name: &Text, written: &LookupTable, names: &[&str]) -> Result<TablePlace, Error> {
        let key = |field: &str| format!("table.{}.{field}", name.get_ref());
        let rows = match (&written.url, &written.rows) {
            (Some(url), None) => return self.url(&key("url"), url, &SCHEMES).map(TablePlace::Url),
            (None, Some(rows)) => rows.get_ref(),
            (Some(url), Some(_)) => {
                let what = format!("table '{}' has a url and rows", name.get_ref());
                return Err(self.error(url, what, "leave one of them out"));
            }
            (None, None) => {
                let what = format!("table '{}' has neither a url nor rows", name.get_ref());
                return Err(self.error(name, what, "say where it is: url = \"…\", or write its rows here: rows = [{ … }]"));
            }
        };
        let needless = [
            ("table", &written.table),
            ("format", &written.format),
            ("delimiter", &written.delimiter),
            ("refresh", &written.refresh),
        ];
        if let Some((field, Some(text))) = needless.into_iter().find(|(_, text)| text.is_some()) {
            let what = format!("'{}' has no meaning for a table whose rows stand here", key(field));
            return Err(self.error(text, what, "leave it out"));
        }
        let records = rows.iter().enumerate().map(|(index, row)| self.record(name, names, (index + 1, row)));
        records.collect::<Result<_, _>>().map(TablePlace::Here)
    }

    /// Returns a row as a record in JSON; its values have these names.
    fn record(&self, name: &Text, names: &[&str], (number, row): (usize, &Spanned<toml::Table>)) -> Result<String, Error> {
        if let Some(value) = row.get_ref().keys().find(|value| !names.contains(&value.as_str())) {
            let what = format!("row {number} of table '{}' has '{value}', which no column takes", name.get_ref());
            return Err(self.error_at(&row.span(), what, suggestion(value, names.iter().copied())));
        }
        let key = format!("table.{}.rows", name.get_ref());
        let record = self.json(&key, &row.span(), &toml::Value::Table(row.get_ref().clone()))?;
        Ok(record.to_string())
    }

    /// Returns a value in JSON, with the variables of its texts replaced.
    fn json(&self, key: &str, place: &Range<usize>, value: &toml::Value) -> Result<serde_json::Value, Error> {
        Ok(match value {
            toml::Value::String(text) => self.value(key, &Text::new(place.clone(), text.clone()))?.into(),
            toml::Value::Integer(number) => (*number).into(),
            toml::Value::Float(number) => (*number).into(),
            toml::Value::Boolean(switch) => (*switch).into(),
            toml::Value::Datetime(time) => time.to_string().into(),
            toml::Value::Array(values) => {
                values.iter().map(|value| self.json(key, place, value)).collect::<Result<Vec<_>, _>>()?.into()
            }
            toml::Value::Table(table) => {
                let entries = table.iter().map(|(name, value)| Ok((name.clone(), self.json(key, place, value)?)));
                serde_json::Value::Object(entries.collect::<Result<_, Error>>()?)
            }
        })
    }

    /// Finds out before the job runs whether the rows are those of a table.
    fn check_rows(&self, table: &TableSpec, place: &Range<usize>) -> Result<(), Error> {
        let way_out = "correct the row, or the table's columns and key";
        let read = table.open().and_then(|mut reader| reader.read());
        let rows = read.map_err(|error| match error {
            ConnectorError::Setup { thing, problem, remedy } => self.error_at(place, format!("{thing}: {problem}"), remedy),
            error => self.error_at(place, error.to_string(), way_out),
        })?;
        let lookup = rows.map(|rows| Lookup::new(&rows, &table.key)).transpose();
        lookup.map(drop).map_err(|no_key| self.error_at(place, format!("table '{}': {no_key}", table.name), way_out))
    }

    fn relation(&self, name: &Text, place: &TablePlace, written: Option<&Text>) -> Result<String, Error> {
        let Some(text) = written else { return Ok(name.get_ref().clone()) };
        let key = format!("table.{}.table", name.get_ref());
        let relation = self.value(&key, text)?;
        if place.is_file() {
            return Err(self.error(text, format!("'{key}' names a table of a database, and this is a file"), "leave it out"));
        }
        if relation.split('.').any(str::is_empty) || relation.split('.').count() > 2 {
            let what = format!("'{}' cannot be '{key}'", text.get_ref());
            return Err(self.error(text, what, "write its name, or its schema and its name, such as public.users"));
        }
        Ok(relation)
    }

    fn encoding(&self, name: &Text, place: &TablePlace, written: &LookupTable) -> Result<Encoding, Error> {
        let key = |field: &str| format!("table.{}.{field}", name.get_ref());
        let TablePlace::Url(url) = place else { return Ok(Encoding::Json) };
        if !place.is_file() {
            let Some(text) = written.format.as_ref().or(written.delimiter.as_ref()) else { return Ok(Encoding::Json) };
            return Err(self.error(text, "a format is for a table in a file alone", "leave it out"));
        }
        let is_csv = match &written.format {
            None => url.split('?').next().is_some_and(|path| path.ends_with(".csv")),
            format => self.choice(&key("format"), format.as_ref(), &["json", "csv"])? == 1,
        };
        match is_csv {
            true => Ok(Encoding::Csv { delimiter: self.delimiter(&key("delimiter"), written.delimiter.as_ref())? }),
            false => Ok(Encoding::Json),
        }
    }

    fn table_key(&self, name: &Text, written: &[Text], columns: &[Column]) -> Result<Vec<usize>, Error> {
        let key = format!("table.{}.key", name.get_ref());
        let mut found = Vec::with_capacity(written.len());
        for text in written {
            let column = self.value(&key, text)?;
            match columns.iter().position(|known| known.name == column) {
                Some(index) if found.contains(&index) => {
                    return Err(self.error(text, format!("'{column}' stands twice in '{key}'"), "name each column once"));
                }
                Some(index) => found.push(index),
                None => {
                    let what = format!("'{}' in '{key}' is not a column of table '{}'", text.get_ref(), name.get_ref());
                    return Err(self.error(text, what, suggestion(&column, columns.iter().map(|c| c.name.as_str()))));
                }
            }
        }
        if found.is_empty() {
            let what = format!("table '{}' has no key", name.get_ref());
            return Err(self.error(name, what, "name the columns that tell its rows apart: key = [\"…\"]"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::AsArray;

    use super::*;
    use crate::job::Job;

    const JOB: &str = r#"
[source.clicks]
url = "generator://local/user_activity"
columns = { user_id = "text" }

[sink.s]
url = "console://"
views = ["clicks"]

[table.users]
url = "file://users.csv"
columns = { user_id = "text", segment = "text" }
key = ["user_id"]
"#;

    fn parse(text: &str) -> Result<TableSpec, String> {
        let job = Job::parse(Path::new("x.toml"), text, &|_| None).map_err(|error| error.to_string())?;
        Ok(job.tables.into_iter().next().expect("a table"))
    }

    #[test]
    fn a_table_has_defaults() {
        let table = parse(JOB).expect("a sound job");
        assert_eq!((table.refresh, table.max_rows, table.key.as_slice()), (DEFAULT_REFRESH, 1_000_000, &[0][..]));
        assert!(matches!(table.format.encoding, Encoding::Csv { delimiter: b',' }), "by the file's name");
        let table = JOB.replace("file://users.csv", "postgres://app:hunter2@db/shop");
        let table = parse(&format!("{table}table = \"crm.users\"\nrefresh = \"5s\"\nmax_rows = 7\n")).expect("a sound job");
        assert_eq!((table.relation.as_str(), table.refresh, table.max_rows), ("crm.users", Duration::from_secs(5), 7));
        assert!(!format!("{table:?}").contains("hunter2"), "{table:?}");
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        for (old, new, expected) in [
            ("[\"user_id\"]\n", "[]\n", "table 'users' has no key\n  name the columns"),
            ("key = [\"user_id\"]\n", "", "the key 'key' is missing"),
            ("[\"user_id\"]\n", "[\"user\"]\n", "is not a column of table 'users'\n  did you mean 'user_id'"),
            ("[\"user_id\"]\n", "[\"user_id\", \"user_id\"]\n", "stands twice in 'table.users.key'"),
            ("file://users.csv", "sqlite://users", "unknown scheme 'sqlite' in 'table.users.url'"),
            ("file://users.csv\"", "file://users.csv\"\ntable = \"users\"", "this is a file\n  leave it out"),
            ("file://users.csv\"", "postgres://h/d\"\ntable = \"a.b.c\"", "such as public.users"),
            ("file://users.csv\"", "postgres://h/d\"\nformat = \"csv\"", "a format is for a table in a file alone"),
            ("file://users.csv\"", "file://users.csv\"\nmax_rows = 0", "'table.users.max_rows' is 0"),
            ("file://users.csv\"", "file://users.csv\"\nrefresh = \"0s\"", "'table.users.refresh' is zero"),
            ("table.users", "table.clicks", "'clicks' is a source and a table"),
            ("[sink.s]", "[view.users]\nsql = \"SELECT user_id FROM clicks\"\n[sink.s]", "'users' is a table and a view"),
            ("segment = \"text\"", "segment = \"txt\"", "unknown type 'txt' of column 'segment'"),
            ("url = \"file://users.csv\"", "", "table 'users' has neither a url nor rows\n  say where it is"),
            ("file://users.csv\"", "file://users.csv\"\nrows = []", "table 'users' has a url and rows\n  leave one"),
        ] {
            assert!(JOB.contains(old), "{old}");
            let error = parse(&JOB.replacen(old, new, 1)).expect_err(expected);
            assert!(error.contains(expected), "{error}\nhas not: {expected}");
        }
    }

    fn with_rows(rows: &str) -> String {
        JOB.replace("url = \"file://users.csv\"", rows)
    }

    #[test]
    fn the_rows_of_a_table_may_stand_in_the_job() {
        let rows =
            "rows = [{ user_id = \"a\", segment = 'x \"y\"' }, { segment = \"$$z\", user_id = \"b\" }, { user_id = \"c\" }]";
        let table = parse(&with_rows(rows)).expect("a sound job");
        assert_eq!(table.place.to_string(), "3 rows in the job file");
        let mut reader = table.open().expect("they are here");
        let read = reader.read().expect("they are rows").expect("for the first time");
        let column =
            |index: usize| read.column(index).as_string::<i32>().iter().map(|text| text.unwrap_or("-")).collect::<Vec<_>>();
        assert_eq!((column(0), column(1)), (vec!["a", "b", "c"], vec!["x \"y\"", "$z", "-"]));
        assert!(reader.read().expect("nothing fails").is_none(), "they never change");
        assert_eq!(parse(&with_rows("rows = []")).expect("a table may be empty").place.to_string(), "0 rows in the job file");
    }

    #[test]
    fn a_row_that_is_none_is_found_before_the_job_runs() {
        for (rows, expected) in [
            (
                "[{ user_id = \"a\", segmnt = \"x\" }]",
                "row 1 of table 'users' has 'segmnt', which no column takes\n  did you mean 'segment'",
            ),
            ("[{ user_id = \"a\" }, { user_id = [1] }]", "table 'users': record 2 is no row of it"),
            (
                "[{ user_id = \"a\" }, { user_id = \"a\" }]",
                "table 'users': two rows have the key user_id = 'a'\n  correct the row",
            ),
            ("[{ segment = \"x\" }]", "a row has NULL in 'user_id', a column of its key"),
            ("[{ user_id = \"${NOBODY}\" }]", "NOBODY"),
            ("[]\nrefresh = \"1m\"", "'table.users.refresh' has no meaning for a table whose rows stand here\n  leave it out"),
            ("[]\nformat = \"csv\"", "'table.users.format' has no meaning"),
            ("[]\ntable = \"u\"", "'table.users.table' has no meaning"),
        ] {
            let error = parse(&with_rows(&format!("rows = {rows}"))).expect_err(expected);
            assert!(error.contains(expected), "{error}\nhas not: {expected}");
        }
    }
}
