//! PostgreSQL goes away, at the worst moments.

use std::sync::atomic::Ordering;
use std::thread;

use freshet_connectors::postgres::PostgresSink;
use freshet_connectors::{Error, TableSink};
use freshet_model::{Commit, LateEvent, Timestamp};
use postgres::Client;

use crate::cluster::Database;
use crate::commits::{Content, commit, hits, key, options, view};
use crate::postgres::content;
use crate::proxy::Proxy;

fn rows(numbers: std::ops::Range<i64>, value: i64) -> Content {
    numbers.map(|minute| (key(minute, "/"), hits(value))).collect()
}

/// A commit with a late event, which would be there twice if the commit were applied twice.
fn with_late(mut commit: Commit) -> Commit {
    commit.late.push(LateEvent {
        view: "v".to_owned(),
        source: "s".to_owned(),
        partition: 3,
        offset: 4,
        window_start: Timestamp(0),
        window_end: Timestamp(60_000_000),
        event_time: Timestamp(5),
        watermark: Timestamp::MAX,
        event: r#"{"a":1}"#.to_owned(),
    });
    commit
}

fn late_events(client: &mut Client) -> i64 {
    client.query_one("SELECT count(*) FROM freshet.late_events", &[]).unwrap().get(0)
}

/// Ends the sink's session from outside, and waits until it has ended.
fn terminate(client: &mut Client) {
    let ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                 WHERE application_name = 'freshet' AND datname = current_database()";
    let ended: Vec<bool> = client.query(ended, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(ended, [true]);
}

#[test]
fn a_lost_connection_is_made_anew_by_the_next_commit() {
    let database = Database::create();
    let mut reader = database.client();
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    sink.commit(&commit(1, &rows(0..10, 1), &[])).unwrap();
    terminate(&mut reader);
    let second = with_late(commit(2, &rows(5..3000, 2), &[key(0, "/")]));
    let error = sink.commit(&second).unwrap_err();
    assert!(error.is_transient(), "{error}");
    sink.commit(&second).unwrap();
    let mut expected = rows(1..5, 1);
    expected.extend(rows(5..3000, 2));
    assert!(content(&mut reader) == expected);
    assert_eq!(late_events(&mut reader), 1);
}

#[test]
fn a_commit_that_is_cut_off_while_it_waits_leaves_nothing() {
    let database = Database::create();
    let (mut reader, mut locker) = (database.client(), database.client());
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    sink.commit(&commit(1, &rows(0..10, 1), &[])).unwrap();
    locker.batch_execute("BEGIN; LOCK TABLE v IN SHARE MODE").unwrap();
    let second = with_late(commit(2, &rows(0..10, 2), &[]));
    let error = thread::scope(|scope| {
        let committing = scope.spawn(|| sink.commit(&second).unwrap_err());
        let waiting = "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'freshet' \
                       AND datname = current_database() AND wait_event_type = 'Lock'";
        while !reader.query_one(waiting, &[]).unwrap().get::<_, bool>(0) {
            assert!(!committing.is_finished());
        }
        terminate(&mut reader);
        committing.join().unwrap()
    });
    assert!(error.is_transient(), "{error}");
    locker.batch_execute("ROLLBACK").unwrap();
    assert!(content(&mut reader) == rows(0..10, 1));
    sink.commit(&second).unwrap();
    assert!(content(&mut reader) == rows(0..10, 2));
    assert_eq!(late_events(&mut reader), 1);
}

#[test]
fn a_commit_whose_reply_was_lost_is_not_applied_again() {
    let database = Database::create();
    let mut reader = database.client();
    let proxy = Proxy::start(database.cluster.port);
    let url = database.url.replace(&database.cluster.port.to_string(), &proxy.port.to_string());
    let mut sink = PostgresSink::open(&url, options(1)).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    sink.commit(&commit(1, &rows(0..10, 1), &[])).unwrap();

    let mut changes = rows(0..9, 2);
    changes.insert(key(9, "a page with too long a name"), hits(2));
    let second = with_late(commit(2, &changes, &[]));
    proxy.armed.store(true, Ordering::SeqCst);
    let error = sink.commit(&second).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!proxy.armed.load(Ordering::SeqCst));
    let refused = sink.commit(&second).unwrap();
    assert_eq!(refused.len(), 1, "what the lost reply would have told is told now");
    assert_eq!(late_events(&mut reader), 1);

    sink.commit(&commit(3, &rows(0..1, 3), &[])).unwrap();
    assert_eq!(content(&mut reader)[&key(0, "/")], hits(3));
}

#[test]
fn an_older_generation_cannot_write_any_more() {
    let database = Database::create();
    let mut reader = database.client();
    let mut old = PostgresSink::open(&database.url, options(1)).unwrap();
    old.prepare(&[view("v")]).unwrap();
    old.commit(&commit(1, &rows(0..10, 1), &[])).unwrap();
    let mut new = PostgresSink::open(&database.url, options(2)).unwrap();
    new.prepare(&[view("v")]).unwrap();
    let error = old.commit(&commit(2, &rows(0..10, 9), &[])).unwrap_err();
    assert!(matches!(&error, Error::Setup { problem, .. } if problem.contains("another instance of job")), "{error}");
    // Nor after it has connected anew, nor from the start.
    assert!(!old.commit(&commit(2, &rows(0..10, 9), &[])).unwrap_err().is_transient());
    assert!(!old.prepare(&[view("v")]).unwrap_err().is_transient());
    new.commit(&commit(1, &rows(0..10, 2), &[])).unwrap();
    assert!(content(&mut reader) == rows(0..10, 2));
}
