//! What PostgreSQL's tables look like, which are refused, and what happens to rows that do not fit.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use freshet_connectors::TableSink;
use freshet_connectors::postgres::PostgresSink;
use freshet_model::{Column, ColumnType, Commit, DeadLetter, Reason, TableSchema, Timestamp, ViewChanges};
use postgres::Client;

use crate::cluster::{Cluster, Database};
use crate::commits::{Content, START, Values, commit, hits, key, options, view};

/// Reads the view's table.
pub(crate) fn content(client: &mut Client) -> Content {
    let sql = "SELECT (extract(epoch FROM window_start) * 1000000)::bigint, page, hits::bigint, (amount * 100)::bigint, open, ratio FROM v";
    let rows = client.query(sql, &[]).unwrap();
    let content: Content = rows
        .iter()
        .map(|row| {
            let amount = row.get::<_, Option<i64>>(3).map(i128::from);
            ((row.get(0), row.get(1)), Values { hits: row.get(2), amount, open: row.get(4), ratio: row.get(5) })
        })
        .collect();
    assert_eq!(content.len(), rows.len(), "each key is there once");
    content
}

fn prepared(database: &Database) -> PostgresSink {
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    sink
}

fn text(client: &mut Client, sql: &str) -> String {
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_missing_table_is_created_with_the_views_types() {
    let database = Database::create();
    prepared(&database);
    let types = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) \
                 FROM pg_attribute WHERE attrelid = 'v'::regclass AND attnum > 0";
    assert_eq!(
        text(&mut database.client(), types),
        "window_start timestamp without time zone, page character varying(20), hits bigint, amount numeric(12,2), \
         open boolean, ratio double precision"
    );
    // A second time it is found and fits.
    prepared(&database);
}

#[test]
fn all_that_does_not_fit_is_told_at_once_and_nothing_is_created() {
    let database = Database::create();
    let mut client = database.client();
    let ddl = "CREATE TABLE v (window_start timestamp(3), page integer, hits integer, amount numeric(12,1), open boolean, \
               extra text NOT NULL, filled text NOT NULL DEFAULT '')";
    client.batch_execute(ddl).unwrap();
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    let error = sink.prepare(&[view("other"), view("v")]).unwrap_err().to_string();
    for part in [
        "column window_start of table \"v\" is timestamp(3) without time zone, wanted: timestamp",
        "column page of table \"v\" is integer, wanted: varchar(20)",
        "column amount of table \"v\" is numeric(12,1), wanted: numeric(12,2)",
        "table \"v\" has no column ratio (wanted: double precision)",
        "column extra of table \"v\" is NOT NULL without a default",
        "no primary key or unique index over exactly (\"window_start\", \"page\")",
        "ALTER TABLE \"v\" ADD COLUMN \"ratio\" double precision",
        "CREATE UNIQUE INDEX ON \"v\" (\"window_start\", \"page\") NULLS NOT DISTINCT",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert!(!error.contains("hits") && !error.contains("filled"), "{error}");
    let left = "SELECT coalesce(to_regclass('other')::text, '') || coalesce(to_regnamespace('freshet')::text, '')";
    assert_eq!(text(&mut client, left), "");
}

#[test]
fn a_table_in_a_schema_is_found_and_a_missing_schema_is_named() {
    let database = Database::create();
    let mut client = database.client();
    client.batch_execute("CREATE SCHEMA analytics; CREATE VIEW shown AS SELECT 1").unwrap();
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    sink.prepare(&[view("analytics.v")]).unwrap();
    sink.commit(&commit(1, &Content::from([(key(0, "/"), hits(1))]), &[])).unwrap();
    assert_eq!(text(&mut client, "SELECT count(*)::text FROM analytics.v"), "1");
    let error = sink.prepare(&[view("nowhere.v"), view("shown")]).unwrap_err().to_string();
    assert!(error.contains("CREATE SCHEMA \"nowhere\"") && error.contains("\"shown\" is not a table"), "{error}");
}

#[test]
fn progress_ledger_and_rejects_are_of_the_same_commit() {
    let database = Database::create();
    let mut client = database.client();
    let mut sink = prepared(&database);
    let mut first = commit(0, &Content::new(), &[]);
    first.watermark = Timestamp::MIN;
    sink.commit(&first).unwrap();
    assert_eq!(text(&mut client, "SELECT watermark || ' ' || epoch FROM freshet.progress"), "-infinity 0");
    let mut second = commit(4, &Content::new(), &[]);
    second.newest_rejects().dead.push(DeadLetter {
        source: "s".to_owned(),
        partition: 1,
        offset: 2,
        reason: Reason::Malformed,
        detail: "not\0JSON".to_owned(),
        payload: vec![0, 255],
    });
    assert_eq!(sink.commit(&second).unwrap(), []);
    let progress = "SELECT concat_ws(' ', job, sink, generation, epoch, watermark, processing_time) FROM freshet.progress \
                    WHERE abs(extract(epoch FROM committed_at - (now() AT TIME ZONE 'UTC'))) < 3600";
    assert_eq!(text(&mut client, progress), "it's a job db 1 4 2026-01-01 00:00:00.000004 2026-01-01 00:00:00.000001");
    let ledger = "SELECT concat_ws(' ', view, epoch, read, counted, filtered, late, dead_letters) FROM freshet.ledger";
    assert_eq!(text(&mut client, ledger), "v 4 40 36 4 0 0");
    let dead = "SELECT concat_ws(' ', epoch, source, partition, \"offset\", reason, detail, payload) FROM freshet.dead_letters";
    assert_eq!(text(&mut client, dead), "4 s 1 2 malformed not\u{fffd}JSON \\x00ff");
}

#[test]
fn a_row_that_the_table_cannot_hold_becomes_a_dead_letter_and_its_old_row_goes() {
    let database = Database::create();
    let mut client = database.client();
    let ddl = "CREATE TABLE v (window_start timestamp, page varchar(5), hits integer CHECK (hits <> 13), amount numeric(5,2), \
               open boolean, ratio double precision NOT NULL, PRIMARY KEY (page, window_start))";
    client.batch_execute(ddl).unwrap();
    let mut sink = prepared(&database);
    let pages = ["/ok", "/big", "/13", "/amou", "/null"];
    let old: Content = pages.iter().map(|page| (key(0, page), hits(1))).collect();
    assert_eq!(sink.commit(&commit(1, &old, &[])).unwrap(), []);

    let mut rows: Content = (0..9000).map(|minute| (key(minute, "/ok"), hits(2))).collect();
    rows.insert(key(0, "/big"), hits(3_000_000_000));
    rows.insert(key(0, "/13"), hits(13));
    rows.insert(key(0, "/amou"), Values { amount: Some(100_000), ..hits(1) });
    rows.insert(key(0, "/null"), Values { ratio: None, ..hits(1) });
    rows.insert(key(0, "/too long"), hits(2));
    rows.insert(key(0, "/\0"), hits(2));
    rows.insert((None, Some("/".to_owned())), hits(2));
    rows.insert((Some(i64::MIN + 1), Some("/".to_owned())), hits(2));
    let refused = sink.commit(&commit(2, &rows, &[])).unwrap();

    let expected: Content = (0..9000).map(|minute| (key(minute, "/ok"), hits(2))).collect();
    assert!(content(&mut client) == expected);
    let mut reasons: Vec<_> = refused.iter().map(|letter| (letter.reason, letter.detail.as_str())).collect();
    reasons.sort_unstable();
    let find = |part: &str| reasons.iter().filter(|(_, detail)| detail.contains(part)).count();
    assert_eq!(reasons.len(), 8, "{reasons:?}");
    for part in [
        "column page: text of 9 characters, the table holds 5",
        "NUL character",
        "column hits: bigint outside",
        "violates check constraint",
    ] {
        assert_eq!(find(part), 1, "{part}: {reasons:?}");
    }
    for part in [
        "column amount: decimal with more digits",
        "column ratio: NULL",
        "column window_start: NULL",
        "column window_start: timestamp",
    ] {
        assert_eq!(find(part), 1, "{part}: {reasons:?}");
    }
    assert_eq!(text(&mut client, "SELECT count(*)::text FROM freshet.dead_letters WHERE source = 'v' AND partition = -1"), "8");
    // A key that the table cannot hold is not in it either.
    let gone: Vec<_> = rows.into_keys().filter(|key| *key != (Some(START), Some("/ok".to_owned()))).collect();
    assert_eq!(sink.commit(&commit(3, &Content::new(), &gone)).unwrap(), []);
    assert_eq!(text(&mut client, "SELECT count(*)::text FROM v"), "1");
    let payload = "SELECT convert_from(payload, 'UTF8') FROM freshet.dead_letters WHERE detail LIKE '%hits%bigint%'";
    assert!(text(&mut client, payload).starts_with(r#"{"window_start":"2026-01-01T00:00:00","page":"/big","hits":3000000000,"#));
}

#[test]
fn a_view_without_a_key_has_one_row() {
    let database = Database::create();
    let mut client = database.client();
    let columns = vec![Column { name: "total".to_owned(), column_type: ColumnType::BigInt }];
    let total = TableSchema { name: "total".to_owned(), columns, key: Vec::new(), appends: false, time_column: None };
    let no_keys = |rows| {
        RecordBatch::try_new_with_options(total.key_arrow(), vec![], &RecordBatchOptions::new().with_row_count(Some(rows)))
            .unwrap()
    };
    let change = |epoch, totals: Vec<i64>, deletes| {
        let column: ArrayRef = Arc::new(Int64Array::from(totals));
        let upserts = RecordBatch::try_new(total.arrow(), vec![column]).unwrap();
        let views = vec![ViewChanges { view: 0, upserts, deletes: no_keys(deletes) }];
        Commit { epoch, watermark: Timestamp(START), processing_time: Timestamp(START), views, rejects: vec![], ledger: vec![] }
    };
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    sink.prepare(std::slice::from_ref(&total)).unwrap();
    let state = "SELECT coalesce(string_agg(total::text, ' '), 'none') FROM total";
    sink.commit(&change(1, vec![5], 0)).unwrap();
    sink.commit(&change(2, vec![6], 0)).unwrap();
    assert_eq!(text(&mut client, state), "6");
    sink.commit(&change(3, vec![], 1)).unwrap();
    assert_eq!(text(&mut client, state), "none");
    client.batch_execute("INSERT INTO total VALUES (1), (2)").unwrap();
    assert!(sink.prepare(&[total]).unwrap_err().to_string().contains("has several rows"));
}

#[test]
fn what_is_wrong_with_a_connection_is_said_without_the_password() {
    let cluster = Cluster::shared();
    let error = |url: &str| PostgresSink::open(url, options(1)).err().expect(url).to_string();
    let missing = error(&cluster.url("nothing_here"));
    assert!(missing.contains("createdb -h 127.0.0.1") && missing.contains("nothing_here"), "{missing}");
    let refused = error("postgres://me:secret@127.0.0.1:1/db");
    assert!(refused.contains("127.0.0.1:1/db") && refused.contains("is PostgreSQL running there"), "{refused}");
    let unknown = error("postgres://me:secret@no.such.host.invalid/db");
    assert!(unknown.contains("no.such.host.invalid"), "{unknown}");
    let user = error(&format!("postgres://nobody:secret@127.0.0.1:{}/postgres", cluster.port));
    assert!(user.contains("create the user 'nobody'"), "{user}");
    for text in [refused, unknown, user] {
        assert!(!text.contains("secret"), "{text}");
    }
}
