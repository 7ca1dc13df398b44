//! Dead letters and late events in tables and files: kept whole, read back, put back once.

use std::collections::BTreeMap;
use std::path::Path;

use freshet_connectors::letters::{self, Access, Archive, Kind, Letter, Outcome, RejectsOptions, Replay, Shelf};
use freshet_connectors::{SinkOptions, open_rejects_sink, open_table_sink};
use freshet_model::{Commit, DeadLetter, LateEvent, Reason, Timestamp};

use crate::cluster::Database;
use crate::commits::{START, options, view};

/// More than tables keep beside views.
const MAX_PAYLOAD_BYTES: usize = 10_000;

fn rejecting(kind: Kind) -> RejectsOptions {
    RejectsOptions { kind, max_payload_bytes: MAX_PAYLOAD_BYTES, topics: BTreeMap::new() }
}

fn dead(offset: i64, payload: &[u8]) -> DeadLetter {
    let (source, detail) = ("clicks".to_owned(), "why".to_owned());
    DeadLetter { source, partition: 1, offset, reason: Reason::Malformed, detail, payload: payload.to_vec() }
}

fn commit(epoch: u64) -> Commit {
    let (watermark, processing_time) = (Timestamp(START), Timestamp(START + epoch as i64));
    let mut commit = Commit { epoch, watermark, processing_time, views: vec![], rejects: vec![], ledger: vec![] };
    let own = commit.newest_rejects();
    let offset = 10 * epoch as i64;
    own.dead.push(dead(offset, &vec![b'x'; MAX_PAYLOAD_BYTES]));
    own.dead.push(dead(offset + 1, &[0xff; 2 * MAX_PAYLOAD_BYTES]));
    own.dead.push(DeadLetter { source: "hits".to_owned(), partition: -1, offset: -1, ..dead(0, b"{}") });
    own.late.push(LateEvent {
        view: "hits".to_owned(),
        source: "clicks".to_owned(),
        partition: 0,
        offset,
        window_start: Timestamp(0),
        window_end: Timestamp(60_000_000),
        event_time: Timestamp(5),
        watermark: Timestamp::MAX,
        event: r#"{"a":1}"#.to_owned(),
    });
    commit
}

fn shelf(url: &str, name: &str, alone: bool) -> Shelf {
    let SinkOptions { job, .. } = options(1);
    Shelf { job, name: name.to_owned(), url: url.to_owned(), alone, settings: BTreeMap::new() }
}

fn read(archive: &mut dyn Archive) -> Vec<Letter> {
    let mut all = Vec::new();
    archive.read(&mut |letter| all.push(letter)).unwrap();
    all
}

fn put_back(archive: &mut dyn Archive, to: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut target = letters::open_target(to, &options(1).job, &BTreeMap::new(), Access::Write).unwrap();
    let how = Replay { wanted: &|letter| letter.place.source == "clicks", dry: false, at: Timestamp(START) };
    letters::replay(archive, &mut *target, &how, &mut |_, outcome| outcomes.push(outcome)).unwrap();
    outcomes
}

/// A place of its own keeps whole records, and only what it is for.
fn keeps_reads_and_puts_back(url: &str, folder: &Path, marks: bool) {
    let named = |name: &str, generation| SinkOptions { name: name.to_owned(), ..options(generation) };
    let mut sink = open_rejects_sink(url, named("dead_letters", 1), rejecting(Kind::Dead)).unwrap();
    assert_eq!(sink.prepare(&[]).unwrap(), None);
    sink.commit(&commit(1)).unwrap();
    drop(sink);
    let mut sink = open_rejects_sink(url, named("dead_letters", 2), rejecting(Kind::Dead)).unwrap();
    assert_eq!(sink.prepare(&[]).unwrap(), Some(1));
    sink.commit(&commit(1)).unwrap();
    sink.commit(&commit(2)).unwrap();

    let mut archive = letters::open(&shelf(url, "dead_letters", true), Kind::Dead).unwrap();
    let all = read(&mut *archive);
    let places: Vec<_> = all.iter().map(|letter| letter.place.to_string()).collect();
    let of = |epoch: u64| [format!("clicks/1/{}", 10 * epoch), format!("clicks/1/{}", 10 * epoch + 1), "hits/-1/-1".to_owned()];
    assert_eq!(places, [of(1), of(2)].concat());
    let first = &all[0];
    assert_eq!((first.epoch, first.time), (Some(1), Some(Timestamp(START + 1))));
    assert_eq!((&*first.reason, &*first.detail, first.payload.len()), ("malformed", "why", MAX_PAYLOAD_BYTES));
    assert!(first.is_whole() && first.replayed_at.is_none() && first.job == options(1).job);
    assert_eq!((all[1].payload.as_slice(), all[1].bytes), (&[0xff; MAX_PAYLOAD_BYTES][..], Some(2 * MAX_PAYLOAD_BYTES as u64)));

    let to = format!("file://{}", folder.join("again.ndjson").display());
    let cut = Outcome::Left("only a part of it was kept");
    assert_eq!(put_back(&mut *archive, &to), [Outcome::Replayed, cut, Outcome::Replayed, cut]);
    assert_eq!(put_back(&mut *archive, &to), [Outcome::Before, cut, Outcome::Before, cut]);
    let lines = std::fs::read_to_string(folder.join("again.ndjson")).unwrap();
    assert_eq!(lines, ("x".repeat(MAX_PAYLOAD_BYTES) + "\n").repeat(2));
    let marked = read(&mut *archive).iter().filter(|letter| letter.replayed_at == Some(Timestamp(START))).count();
    assert_eq!(marked, if marks { 2 } else { 0 });
}

#[test]
fn postgres_keeps_dead_letters_whole_and_they_are_put_back_once() {
    let (database, folder) = (Database::create(), tempfile::tempdir().unwrap());
    keeps_reads_and_puts_back(&database.url, folder.path(), true);
}

#[test]
fn sqlite_keeps_dead_letters_whole_and_they_are_put_back_once() {
    let folder = tempfile::tempdir().unwrap();
    keeps_reads_and_puts_back(&format!("sqlite://{}", folder.path().join("f.db").display()), folder.path(), true);
}

#[test]
fn a_file_keeps_dead_letters_whole_and_they_are_put_back_once() {
    let folder = tempfile::tempdir().unwrap();
    keeps_reads_and_puts_back(&format!("file://{}", folder.path().join("dead.ndjson").display()), folder.path(), false);
}

/// Beside views there are late events too, and a short part of each record.
fn reads_beside_views(url: &str) {
    let mut sink = open_table_sink(url, options(1)).unwrap();
    sink.prepare(&[view("v")]).unwrap();
    sink.commit(&commit(3)).unwrap();
    let name = options(1).name;
    let late = read(&mut *letters::open(&shelf(url, &name, false), Kind::Late).unwrap());
    let [Letter { late: Some(of), .. }] = late.as_slice() else { panic!("{late:?}") };
    assert_eq!((&*of.view, of.window_end, of.watermark), ("hits", Timestamp(60_000_000), Timestamp::MAX));
    assert_eq!((late[0].place.to_string(), late[0].payload.as_slice()), ("clicks/0/30".to_owned(), br#"{"a":1}"#.as_slice()));
    assert_eq!(late[0].time, Some(Timestamp(START + 3)));
    let dead = read(&mut *letters::open(&shelf(url, &name, false), Kind::Dead).unwrap());
    assert_eq!((dead[0].payload.len(), dead[0].is_whole(), dead[2].is_whole()), (4096, false, true));
}

#[test]
fn rejects_beside_views_are_read_from_postgres() {
    reads_beside_views(&Database::create().url);
}

#[test]
fn rejects_beside_views_are_read_from_sqlite_and_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sqlite://f.db", "file://f.ndjson"] {
        reads_beside_views(&name.replace("://", &format!("://{}/", folder.path().display())));
    }
}

#[test]
fn lines_that_a_crash_has_left_behind_are_not_read_and_not_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let url = |name: &str| format!("file://{}", path(name).display());
    let mut sink = open_rejects_sink(&url("dead"), options(1), rejecting(Kind::Dead)).unwrap();
    sink.prepare(&[]).unwrap();
    sink.commit(&commit(1)).unwrap();
    drop(sink);
    let mut archive = letters::open(&shelf(&url("dead"), &options(1).name, true), Kind::Dead).unwrap();
    assert_eq!(put_back(&mut *archive, &url("again"))[0], Outcome::Replayed);
    for name in ["dead.ndjson", "again.ndjson", "again.replayed.ndjson"] {
        let mut text = std::fs::read_to_string(path(name)).unwrap();
        text += &text.clone();
        std::fs::write(path(name), text).unwrap();
    }
    assert_eq!(read(&mut *archive).len(), 3, "what is not committed does not count");
    open_rejects_sink(&url("dead"), options(2), rejecting(Kind::Dead)).unwrap().prepare(&[]).unwrap();
    assert_eq!(put_back(&mut *archive, &url("again"))[0], Outcome::Before);
    assert_eq!(std::fs::read_to_string(path("again.ndjson")).unwrap().lines().count(), 1, "the second copy is cut off");
}
