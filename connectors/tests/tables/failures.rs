//! PostgreSQL goes away, at the worst moments.

use std::sync::atomic::Ordering;
use std::thread;

use freshet_connectors::postgres::PostgresSink;
use freshet_connectors::{Error, TableSink};
use postgres::Client;

use crate::cluster::Database;
use crate::commits::{Content, commit, hits, key, options, view, with_late};
use crate::postgres::content;
use crate::proxy::Proxy;

fn rows(numbers: std::ops::Range<i64>, value: i64) -> Content {
    numbers.map(|minute| (key(minute, "/"), hits(value))).collect()
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
fn a_commit_whose_reply_was_lost_is_found_by_the_next_start() {
    let database = Database::create();
    let mut reader = database.client();
    let proxy = Proxy::start(database.cluster.port);
    let url = database.url.replace(&database.cluster.port.to_string(), &proxy.port.to_string());
    let mut first = PostgresSink::open(&url, options(1)).unwrap();
    first.prepare(&[view("v")]).unwrap();
    first.commit(&with_late(commit(1, &rows(0..10, 1), &[]))).unwrap();
    drop(first);

    let mut second = PostgresSink::open(&url, options(2)).unwrap();
    assert_eq!(second.prepare(&[view("v")]).unwrap(), Some(1));
    for (epoch, lost) in [(2, true), (3, true), (4, false), (5, true)] {
        let next = with_late(commit(epoch, &rows(0..10, epoch as i64), &[]));
        proxy.armed.store(lost, Ordering::SeqCst);
        assert_eq!(second.commit(&next).is_err(), lost);
        if epoch < 5 {
            second.commit(&next).unwrap();
        }
    }
    drop(second);
    let mut third = PostgresSink::open(&url, options(3)).unwrap();
    assert_eq!(third.prepare(&[view("v")]).unwrap(), Some(5));
    third.commit(&with_late(commit(5, &rows(0..10, 9), &[]))).unwrap();
    assert!(content(&mut reader) == rows(0..10, 5));
    assert_eq!(late_events(&mut reader), 5);
    let read: i64 = reader.query_one("SELECT read FROM freshet.ledger", &[]).unwrap().get(0);
    assert_eq!(read, 150);
}

#[test]
fn a_start_that_hangs_in_the_middle_of_a_commit_is_overtaken() {
    let database = Database::create();
    let (mut reader, mut locker) = (database.client(), database.client());
    let mut old = PostgresSink::open(&database.url, options(1)).unwrap();
    old.prepare(&[view("v")]).unwrap();
    old.commit(&commit(1, &rows(0..10, 1), &[])).unwrap();
    locker.batch_execute("BEGIN; UPDATE v SET hits = hits").unwrap();
    let second = with_late(commit(2, &rows(0..10, 2), &[]));
    thread::scope(|scope| {
        let held_up = &second;
        let hanging = scope.spawn(move || (old.commit(held_up).unwrap_err(), old));
        let waiting = "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'freshet' \
                       AND datname = current_database() AND wait_event_type = 'Lock'";
        while !reader.query_one(waiting, &[]).unwrap().get::<_, bool>(0) {
            assert!(!hanging.is_finished());
        }
        let mut new = PostgresSink::open(&database.url, options(2)).unwrap();
        assert_eq!(new.prepare(&[view("v")]).unwrap(), Some(1));
        let (cut, mut old) = hanging.join().unwrap();
        assert!(cut.is_transient(), "{cut}");
        assert!(matches!(old.commit(&second), Err(Error::Fenced { .. })));
        locker.batch_execute("ROLLBACK").unwrap();
        new.commit(&second).unwrap();
    });
    assert!(content(&mut reader) == rows(0..10, 2));
    assert_eq!(late_events(&mut reader), 1);
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
    assert!(matches!(&error, Error::Fenced { problem, .. } if problem.contains("a newer start of job")), "{error}");
    // Nor after it has connected anew, nor from the start.
    assert!(matches!(old.commit(&commit(2, &rows(0..10, 9), &[])), Err(Error::Fenced { .. })));
    assert!(matches!(old.prepare(&[view("v")]), Err(Error::Fenced { .. })));
    new.commit(&commit(2, &rows(0..10, 2), &[])).unwrap();
    assert!(content(&mut reader) == rows(0..10, 2));
}
