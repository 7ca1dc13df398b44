//! Rows that are only added: all of them stay, each once, beside views that change in the same commits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use freshet_connectors::postgres::PostgresSink;
use freshet_connectors::sqlite::SqliteSink;
use freshet_connectors::{Past, SinkOptions, TableSink, open_table_sink};
use freshet_model::{Column, ColumnType, Commit, Reason, TableSchema, ViewChanges};

use crate::cluster::Database;
use crate::commits::{Content, commit, hits, key, options, view};
use crate::proxy::Proxy;

fn clicks() -> TableSchema {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
    let columns = vec![column("event_id", ColumnType::Text(Some(10))), column("n", ColumnType::BigInt)];
    TableSchema { name: "clicks".to_owned(), columns, key: Vec::new(), appends: true, time_column: None }
}

/// A commit of these rows, and of one row of the view `v` that tells the epoch.
fn added(epoch: u64, rows: &[(String, i64)]) -> Commit {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(id, _)| id))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, n)| *n))),
    ];
    let table = clicks();
    let upserts = RecordBatch::try_new(table.arrow(), columns).unwrap();
    let changes = ViewChanges { view: 1, upserts, deletes: RecordBatch::new_empty(table.key_arrow()) };
    let mut commit = commit(epoch, &Content::from([(key(0, "/"), hits(epoch as i64))]), &[]);
    commit.views.push(changes);
    commit
}

fn ids(numbers: std::ops::Range<i64>) -> Vec<(String, i64)> {
    numbers.map(|n| (format!("e{n}"), n)).collect()
}

const STATE: &str = "SELECT count(*) || ' ' || count(DISTINCT event_id) || ' ' || coalesce(sum(n), 0) || ' ' || (SELECT coalesce(max(hits), 0) FROM v) FROM clicks";

/// Opens sinks of one place, and asks what an outside reader sees.
struct Place<'a> {
    url: String,
    state: &'a mut dyn FnMut() -> String,
}

impl Place<'_> {
    fn start(&self, options: SinkOptions) -> Box<dyn TableSink> {
        open_table_sink(&self.url, options).unwrap()
    }
}

fn all_rows_stay_once(place: Place<'_>) {
    let tables = [view("v"), clicks()];
    let mut sink = place.start(options(1));
    assert_eq!(sink.prepare(&tables).unwrap(), None);
    // Few and many rows take different ways, and the second epoch brings the first one's rows again.
    assert_eq!(sink.commit(&added(1, &ids(0..10))).unwrap(), []);
    assert_eq!(sink.commit(&added(2, &[ids(0..10), ids(0..10), ids(10..20_000)].concat())).unwrap(), []);
    assert_eq!((place.state)(), "20020 20000 199990090 2");
    drop(sink);
    let mut sink = place.start(options(2));
    assert_eq!(sink.prepare(&tables).unwrap(), Some(2), "a table that holds rows is as good as an empty one");
    assert_eq!(sink.commit(&added(2, &ids(0..10))).unwrap(), [], "the epoch is there");
    sink.commit(&added(3, &ids(0..1))).unwrap();
    assert_eq!((place.state)(), "20021 20000 199990090 3");
    let mut sink = place.start(SinkOptions { past: Past::Forgotten, ..options(3) });
    assert_eq!(sink.prepare(&tables).unwrap(), None);
    sink.commit(&added(1, &ids(0..3))).unwrap();
    assert_eq!((place.state)(), "3 3 3 1");
}

fn rows_that_do_not_fit_are_dead_letters(place: Place<'_>) {
    let mut sink = place.start(options(1));
    sink.prepare(&[view("v"), clicks()]).unwrap();
    let old = ids(0..5);
    sink.commit(&added(1, &old)).unwrap();
    let mut rows = ids(5..6000);
    rows[7].0 = "an id too long".to_owned();
    rows[8].0 = "nul\0".to_owned();
    rows[9].1 = -1;
    let refused = sink.commit(&added(2, &rows)).unwrap();
    let mut reasons: Vec<_> = refused.iter().map(|letter| letter.reason).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, [Reason::NulCharacter, Reason::TooLong, Reason::DoesNotFit]);
    let sum: i64 = (0..6000).sum::<i64>() - 12 - 13 - 14;
    assert_eq!((place.state)(), format!("5997 5997 {sum} 2"), "no other row has gone");
}

fn on_postgres(ddl: &str, test: fn(Place<'_>)) {
    let database = Database::create();
    let mut reader = database.client();
    reader.batch_execute(ddl).unwrap();
    test(Place { url: database.url, state: &mut || reader.query_one(STATE, &[]).unwrap().get(0) });
}

fn on_sqlite(ddl: &str, test: fn(Place<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.db");
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch(ddl).unwrap();
    let url = format!("sqlite://{}", path.display());
    test(Place { url, state: &mut || reader.query_row(STATE, [], |row| row.get(0)).unwrap() });
}

#[test]
fn postgres_keeps_all_rows_once() {
    on_postgres("", all_rows_stay_once);
    on_postgres("CREATE TABLE clicks (id bigserial PRIMARY KEY, n integer, event_id text)", all_rows_stay_once);
}

#[test]
fn sqlite_keeps_all_rows_once() {
    on_sqlite("", all_rows_stay_once);
    on_sqlite("CREATE TABLE clicks (id INTEGER PRIMARY KEY, n BIGINT, event_id TEXT)", all_rows_stay_once);
}

#[test]
fn what_a_table_cannot_hold_is_a_dead_letter_and_nothing_else_goes() {
    let ddl = "CREATE TABLE clicks (event_id varchar(10), n bigint CHECK (n >= 0))";
    on_postgres(ddl, rows_that_do_not_fit_are_dead_letters);
    on_sqlite(ddl, rows_that_do_not_fit_are_dead_letters);
}

#[test]
fn a_table_that_would_refuse_repeats_is_refused_with_the_way_out() {
    let database = Database::create();
    let ddl = "CREATE TABLE clicks (event_id varchar(10) PRIMARY KEY, n bigint)";
    database.client().batch_execute(ddl).unwrap();
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    let from_postgres = sink.prepare(&[clicks()]).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(ddl).unwrap();
    let mut file = SqliteSink::open(&format!("sqlite://{}", path.display()), options(1)).unwrap();
    let from_sqlite = file.prepare(&[clicks()]).unwrap_err().to_string();
    for error in [from_postgres, from_sqlite] {
        assert!(error.contains("table \"clicks\" keeps (event_id) unique"), "{error}");
        assert!(error.contains("declare key = [\"event_id\"]"), "{error}");
    }
    let keyed = TableSchema { key: vec![0], ..clicks() };
    assert_eq!(sink.prepare(std::slice::from_ref(&keyed)).unwrap(), None);
    assert_eq!(file.prepare(&[keyed]).unwrap(), None);
}

#[test]
fn rows_whose_commit_lost_its_reply_are_not_added_again() {
    let database = Database::create();
    let mut reader = database.client();
    let proxy = Proxy::start(database.cluster.port);
    let url = database.url.replace(&database.cluster.port.to_string(), &proxy.port.to_string());
    let tables = [view("v"), clicks()];
    let mut sink = PostgresSink::open(&url, options(1)).unwrap();
    sink.prepare(&tables).unwrap();
    for (epoch, count) in [(1, 10), (2, 7000)] {
        let next = added(epoch, &ids(0..count));
        proxy.armed.store(true, Ordering::SeqCst);
        assert!(sink.commit(&next).unwrap_err().is_transient());
        sink.commit(&next).unwrap();
    }
    proxy.armed.store(true, Ordering::SeqCst);
    let last = added(3, &ids(0..5));
    sink.commit(&last).unwrap_err();
    drop(sink);
    // Now another start finds out.
    let mut sink = PostgresSink::open(&database.url, options(2)).unwrap();
    assert_eq!(sink.prepare(&tables).unwrap(), Some(3));
    sink.commit(&last).unwrap();
    let state: String = reader.query_one(STATE, &[]).unwrap().get(0);
    assert_eq!(state, format!("7015 7000 {} 3", 45 + (0..7000).sum::<i64>() + 10));
}
