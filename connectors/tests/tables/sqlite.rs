//! What SQLite's tables look like, which are refused, and what happens to rows that do not fit.

use freshet_connectors::sqlite::SqliteSink;
use freshet_connectors::{Error, TableSink};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::commits::{Content, START, Values, commit, hits, key, options, view};

/// Reads the view's table.
pub(crate) fn content(connection: &Connection) -> Content {
    let mut statement = connection.prepare("SELECT window_start, page, hits, amount, open, ratio FROM v").unwrap();
    let rows = statement.query_map([], |row| {
        let micros = row.get::<_, Option<String>>(0)?.map(|text| {
            let time: jiff::civil::DateTime = text.parse().unwrap();
            jiff::tz::Offset::UTC.to_timestamp(time).unwrap().as_microsecond()
        });
        let amount = row.get::<_, Option<String>>(3)?.map(|text| text.replace('.', "").parse().unwrap());
        Ok(((micros, row.get(1)?), Values { hits: row.get(2)?, amount, open: row.get(4)?, ratio: row.get(5)? }))
    });
    let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    let count = rows.len();
    let content: Content = rows.into_iter().collect();
    assert_eq!(content.len(), count, "each key is there once");
    content
}

struct File {
    folder: TempDir,
}

impl File {
    fn new() -> File {
        File { folder: tempfile::tempdir().unwrap() }
    }

    fn sink(&self, generation: u64) -> Result<SqliteSink, Error> {
        SqliteSink::open(&format!("sqlite://{}", self.folder.path().join("f.db").display()), options(generation))
    }

    fn reader(&self) -> Connection {
        Connection::open(self.folder.path().join("f.db")).unwrap()
    }
}

fn text(connection: &Connection, sql: &str) -> String {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn values_are_stored_as_people_read_them() {
    let file = File::new();
    let mut sink = file.sink(1).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    let mut rows = Content::from([(key(0, "/a"), hits(-3))]);
    rows.insert((Some(START - 1), None), Values { hits: None, amount: Some(-5), open: None, ratio: None });
    sink.commit(&commit(1, &rows, &[])).unwrap();
    let all = "SELECT group_concat(concat_ws('|', window_start, page, hits, amount, open, round(ratio, 2)), ' ; ') FROM v ORDER BY window_start";
    assert_eq!(text(&file.reader(), all), "2025-12-31 23:59:59.999999|-0.05 ; 2026-01-01 00:00:00.000000|/a|-3|-0.15|0|-1.0");
    let progress = "SELECT concat_ws(' ', job, generation, epoch, watermark, length(committed_at)) FROM freshet_progress";
    assert_eq!(text(&file.reader(), progress), "it's a job 1 1 2026-01-01 00:00:00.000001 26");
    assert_eq!(
        text(&file.reader(), "SELECT concat_ws(' ', view, epoch, read, counted, filtered) FROM freshet_ledger"),
        "v 1 10 9 1"
    );
}

#[test]
fn an_older_generation_cannot_write_any_more() {
    let file = File::new();
    let (mut old, mut new) = (file.sink(1).unwrap(), file.sink(2).unwrap());
    old.prepare(&[view("v")]).unwrap();
    old.commit(&commit(1, &Content::from([(key(0, "/"), hits(1))]), &[])).unwrap();
    new.prepare(&[view("v")]).unwrap();
    let error = old.commit(&commit(2, &Content::from([(key(0, "/"), hits(2))]), &[])).unwrap_err();
    assert!(matches!(&error, Error::Fenced { problem, .. } if problem.contains("a newer start of job")), "{error}");
    assert!(matches!(old.prepare(&[view("v")]), Err(Error::Fenced { .. })));
    new.commit(&commit(2, &Content::from([(key(0, "/"), hits(3))]), &[])).unwrap();
    assert_eq!(content(&file.reader())[&key(0, "/")], hits(3));
}

#[test]
fn all_that_does_not_fit_is_told_at_once_and_nothing_is_created() {
    let file = File::new();
    let ddl =
        "CREATE TABLE v (window_start TEXT, page INTEGER, hits BIGINT, amount DECIMAL(12,2), open BOOLEAN, extra TEXT NOT NULL)";
    file.reader().execute_batch(ddl).unwrap();
    let error = file.sink(1).unwrap().prepare(&[view("other"), view("v")]).unwrap_err().to_string();
    for part in [
        "column page of table v is INTEGER, wanted: VARCHAR(20)",
        "column amount of table v is DECIMAL(12,2), wanted: TEXT",
        "table v has no column ratio",
        "column extra of table v is NOT NULL without a default",
        "no primary key or unique index over exactly (\"window_start\", \"page\")",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert_eq!(text(&file.reader(), "SELECT group_concat(name) FROM sqlite_master"), "v");
}

#[test]
fn a_row_that_the_table_cannot_hold_becomes_a_dead_letter_and_its_old_row_goes() {
    let file = File::new();
    let ddl = "CREATE TABLE v (window_start TEXT, page TEXT, hits BIGINT CHECK (hits <> 13), amount TEXT, open INT, ratio REAL, \
               PRIMARY KEY (page, window_start))";
    file.reader().execute_batch(ddl).unwrap();
    let mut sink = file.sink(1).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    let old: Content = ["/a", "/13", "/nan"].iter().map(|page| (key(0, page), hits(1))).collect();
    sink.commit(&commit(1, &old, &[])).unwrap();
    let mut rows =
        Content::from([(key(0, "/a"), hits(2)), (key(0, "/13"), hits(13)), (key(0, "a page with too long a name"), hits(1))]);
    rows.insert(key(0, "/nan"), Values { ratio: Some(f64::NAN), ..hits(1) });
    let refused = sink.commit(&commit(2, &rows, &[])).unwrap();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert_eq!(content(&file.reader()), Content::from([(key(0, "/a"), hits(2))]));
    let letters =
        "SELECT group_concat(reason || ' ' || partition, ', ') FROM (SELECT * FROM freshet_dead_letters ORDER BY reason)";
    assert_eq!(text(&file.reader(), letters), "does_not_fit -1, does_not_fit -1, too_long -1");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let file = File::new();
    let path = file.folder.path().join("f.db");
    std::fs::write(&path, "not a database, but long enough to be looked at ".repeat(40)).unwrap();
    let error = file.sink(1).err().unwrap().to_string();
    assert!(error.contains("not a database") && error.contains("f.db"), "{error}");
    let below = SqliteSink::open(&format!("sqlite://{}/x.db", path.display()), options(1)).err().unwrap().to_string();
    assert!(below.contains("cannot create the folder"), "{below}");
    assert!(SqliteSink::open("sqlite://", options(1)).is_err());
}

#[test]
fn a_locked_file_may_be_free_later() {
    let file = File::new();
    let mut sink = file.sink(1).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    let other = file.reader();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let first = commit(1, &Content::from([(key(0, "/"), hits(1))]), &[]);
    assert!(sink.commit(&first).unwrap_err().is_transient());
    other.execute_batch("ROLLBACK").unwrap();
    sink.commit(&first).unwrap();
    assert_eq!(content(&file.reader()).len(), 1);
}
