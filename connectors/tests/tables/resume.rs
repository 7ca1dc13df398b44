//! A new start of a job goes on where the last one ended, or begins anew when it is told to.

use freshet_connectors::{Error, Past, SinkOptions, Staged, TableSink, open_table_sink, staged_job};
use freshet_model::{DeadLetter, Reason};

use crate::cluster::Database;
use crate::commits::{Content, commit, hits, key, options, view, with_late};

/// A database, whichever it is.
struct Place<'a> {
    url: String,
    /// What the names of Freshet's own tables begin with.
    prefix: &'static str,
    /// Asks an outside reader for a number.
    number: &'a mut dyn FnMut(&str) -> i64,
}

impl Place<'_> {
    fn open(&self, options: SinkOptions) -> Box<dyn TableSink> {
        open_table_sink(&self.url, options).unwrap()
    }

    fn start(&self, generation: u64) -> Box<dyn TableSink> {
        self.open(options(generation))
    }

    fn count(&mut self, table: &str) -> i64 {
        let name = if table == "v" { table.to_owned() } else { format!("{}{table}", self.prefix) };
        (self.number)(&format!("SELECT count(*) FROM {name}"))
    }

    /// Returns how many records have been read, by the ledger.
    fn read(&mut self) -> i64 {
        // A sum is a decimal in PostgreSQL; the cast changes nothing in SQLite.
        (self.number)(&format!("SELECT CAST(coalesce(sum(read), 0) AS bigint) FROM {}ledger WHERE sink = 'db'", self.prefix))
    }
}

/// A row of its own for each epoch, a late event and a dead letter.
fn next(epoch: u64) -> freshet_model::Commit {
    let mut next = with_late(commit(epoch, &Content::from([(key(epoch as i64, "/"), hits(epoch as i64))]), &[]));
    next.newest_rejects().dead.push(DeadLetter {
        source: "s".to_owned(),
        partition: 0,
        offset: 0,
        reason: Reason::Malformed,
        detail: String::new(),
        payload: Vec::new(),
    });
    next
}

fn goes_on(mut place: Place<'_>) {
    let mut sink = place.start(1);
    assert_eq!(sink.prepare(&[view("v")]).unwrap(), None);
    drop(sink);
    let mut sink = place.start(2);
    assert_eq!(sink.prepare(&[view("v")]).unwrap(), None, "a start that has committed nothing leaves nothing");
    sink.commit(&next(0)).unwrap();
    drop(sink);
    let mut sink = place.start(5);
    assert_eq!(sink.prepare(&[view("v")]).unwrap(), Some(0), "the first epoch is one too");
    for epoch in [0, 3, 3] {
        sink.commit(&next(epoch)).unwrap();
    }
    assert_eq!(sink.prepare(&[view("v")]).unwrap(), Some(3), "the same start may prepare again");
    sink.commit(&next(4)).unwrap();
    assert_eq!((place.count("v"), place.count("late_events"), place.count("dead_letters")), (3, 3, 3));
    assert_eq!((place.read(), place.count("ledger")), (70, 1), "the numbers of all starts add up");
    for generation in [1, 4] {
        let error = place.start(generation).prepare(&[view("v")]).unwrap_err();
        assert!(matches!(error, Error::Fenced { .. }), "{error}");
    }
    sink.commit(&next(6)).unwrap();
    assert_eq!(place.count("v"), 4);
}

fn begins_anew(mut place: Place<'_>) {
    let other = SinkOptions { name: "other".to_owned(), ..options(1) };
    let mut neighbour = place.open(other);
    neighbour.prepare(&[view("w")]).unwrap();
    neighbour.commit(&next(9)).unwrap();
    let mut sink = place.start(1);
    sink.prepare(&[view("v")]).unwrap();
    (1..5).for_each(|epoch| assert_eq!(sink.commit(&next(epoch)).unwrap(), []));
    drop(sink);
    let mut sink = place.open(SinkOptions { past: Past::Forgotten, ..options(2) });
    assert_eq!(sink.prepare(&[view("v")]).unwrap(), None);
    assert_eq!((place.count("v"), place.count("late_events"), place.count("dead_letters"), place.read()), (0, 1, 1, 0));
    sink.commit(&next(1)).unwrap();
    assert_eq!(sink.prepare(&[view("v")]).unwrap(), Some(1), "what this start has written stays");
    sink.commit(&next(2)).unwrap();
    assert_eq!((place.count("v"), place.count("late_events"), place.read()), (2, 3, 30));
    neighbour.commit(&next(10)).unwrap();
    assert_eq!(place.count("ledger"), 2, "another sink keeps what it has");
}

fn takes_over_what_was_computed_anew(mut place: Place<'_>) {
    let mut sink = place.start(1);
    sink.prepare(&[view("v"), view("w")]).unwrap();
    (1..5).for_each(|epoch| assert_eq!(sink.commit(&next(epoch)).unwrap(), []));
    drop(sink);
    let staging = |generation| SinkOptions { job: staged_job(&options(1).job), past: Past::Staged, ..options(generation) };
    // A run that does not come to its end.
    let mut cut_off = place.open(staging(2));
    cut_off.prepare(&[view("v")]).unwrap();
    cut_off.commit(&next(1)).unwrap();
    drop(cut_off);
    let adopting = |generation, of| SinkOptions {
        past: Past::Adopting(Staged { generation: of, views: vec!["v".to_owned()] }),
        ..options(generation)
    };
    assert_eq!(place.open(adopting(3, 1)).prepare(&[view("v"), view("w")]).unwrap(), Some(4));
    assert_eq!((place.count("v"), place.read()), (4, 110), "of another generation nothing is taken");

    let mut anew = place.open(staging(4));
    assert_eq!(anew.prepare(&[view("v")]).unwrap(), None, "it begins anew");
    (7..9).for_each(|epoch| assert_eq!(anew.commit(&next(epoch)).unwrap(), []));
    drop(anew);
    assert_eq!(place.count("v"), 4, "the rows of before are there until they are replaced");
    for generation in [5, 6] {
        let mut sink = place.open(adopting(generation, 4));
        assert_eq!(sink.prepare(&[view("v"), view("w")]).unwrap(), Some(4), "the job stands where it stood");
        assert_eq!((place.count("v"), place.count("late_events"), place.read()), (2, 2, 150));
        assert_eq!((place.count("progress"), place.count("ledger")), (1, 1), "nothing else is left of the run");
    }
    let mut sink = place.open(adopting(7, 4));
    sink.prepare(&[view("v"), view("w")]).unwrap();
    sink.commit(&next(5)).unwrap();
    assert_eq!((place.count("v"), place.read()), (3, 200), "and the job goes on");
}

fn on_postgres(test: fn(Place<'_>)) {
    let database = Database::create();
    let mut reader = database.client();
    let mut number = |sql: &str| reader.query_one(sql, &[]).unwrap().get(0);
    test(Place { url: database.url, prefix: "freshet.", number: &mut number });
}

fn on_sqlite(test: fn(Place<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.db");
    let reader = rusqlite::Connection::open(&path).unwrap();
    let mut number = |sql: &str| reader.query_row(sql, [], |row| row.get(0)).unwrap();
    test(Place { url: format!("sqlite://{}", path.display()), prefix: "freshet_", number: &mut number });
}

#[test]
fn postgres_goes_on_from_the_epoch_that_it_holds() {
    on_postgres(goes_on);
}

#[test]
fn sqlite_goes_on_from_the_epoch_that_it_holds() {
    on_sqlite(goes_on);
}

#[test]
fn postgres_takes_over_what_was_computed_anew() {
    on_postgres(takes_over_what_was_computed_anew);
}

#[test]
fn sqlite_takes_over_what_was_computed_anew() {
    on_sqlite(takes_over_what_was_computed_anew);
}

#[test]
fn postgres_begins_anew_when_it_is_told_to() {
    on_postgres(begins_anew);
}

#[test]
fn sqlite_begins_anew_when_it_is_told_to() {
    on_sqlite(begins_anew);
}
