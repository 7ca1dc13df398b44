//! The tables that streams are enriched from: `[table.NAME]`.

use std::fmt;
use std::time::Duration;

use freshet_connectors::TableOptions;
use freshet_connectors::format::{Encoding, Format};
use freshet_dataflows::plan::TablePlan;
use freshet_model::Column;

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
    /// Where it is; may hold a password.
    pub url: String,
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

impl TableSpec {
    /// Returns the table as the planner sees it.
    #[must_use]
    pub fn plan(&self) -> TablePlan {
        TablePlan { name: self.name.clone(), columns: self.columns.clone(), key: self.key.clone() }
    }

    /// Returns what its reader is to know.
    #[must_use]
    pub fn options(&self) -> TableOptions {
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
            .field("url", &redact::url(&self.url))
            .field("columns", &self.columns)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Context<'_> {
    pub(super) fn table(&self, name: &Text, mut written: LookupTable) -> Result<TableSpec, Error> {
        let key = |field: &str| format!("table.{}.{field}", name.get_ref());
        let (columns, fields) = self.columns("table", name, std::mem::take(&mut written.columns))?;
        let url = self.url(&key("url"), &written.url, &SCHEMES)?;
        let encoding = self.encoding(name, &url, &written)?;
        let format = Format { encoding, fields, max_dead_run: None };
        let format = self.checked_format(&key("columns"), name, &columns, format)?;
        let max_rows = match &written.max_rows {
            Some(rows) if !(1..=MOST_ROWS).contains(rows.get_ref()) => {
                let what = format!("'{}' is {}", key("max_rows"), rows.get_ref());
                return Err(self.error_at(&rows.span(), what, format!("use 1 to {MOST_ROWS}")));
            }
            rows => rows.as_ref().map_or(DEFAULT_MAX_ROWS, |rows| *rows.get_ref()),
        };
        Ok(TableSpec {
            relation: self.relation(name, &url, written.table.as_ref())?,
            name: self.checked_name("table", name, name.get_ref())?,
            key: self.table_key(name, &written.key, &columns)?,
            refresh: self.positive(&key("refresh"), written.refresh.as_ref(), DEFAULT_REFRESH)?,
            url,
            columns,
            format,
            max_rows,
        })
    }

    fn relation(&self, name: &Text, url: &str, written: Option<&Text>) -> Result<String, Error> {
        let Some(text) = written else { return Ok(name.get_ref().clone()) };
        let key = format!("table.{}.table", name.get_ref());
        let relation = self.value(&key, text)?;
        if url.starts_with("file://") {
            return Err(self.error(text, format!("'{key}' names a table of a database, and this is a file"), "leave it out"));
        }
        if relation.split('.').any(str::is_empty) || relation.split('.').count() > 2 {
            let what = format!("'{}' cannot be '{key}'", text.get_ref());
            return Err(self.error(text, what, "write its name, or its schema and its name, such as public.users"));
        }
        Ok(relation)
    }

    fn encoding(&self, name: &Text, url: &str, written: &LookupTable) -> Result<Encoding, Error> {
        let key = |field: &str| format!("table.{}.{field}", name.get_ref());
        if !url.starts_with("file://") {
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
        ] {
            assert!(JOB.contains(old), "{old}");
            let error = parse(&JOB.replacen(old, new, 1)).expect_err(expected);
            assert!(error.contains(expected), "{error}\nhas not: {expected}");
        }
    }
}
