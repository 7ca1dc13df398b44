//! What the files of both sinks hold after commits, failures, crashes and newer starts.

use crate::Past;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use freshet_model::{Column, ColumnType, LateEvent, Reason, Timestamp, ViewChanges};
use serde_json::{Value, json};

use super::*;
use crate::BatchSink;
use crate::file::NdjsonBatchSink;

fn options() -> SinkOptions {
    SinkOptions {
        job: "job".to_owned(),
        name: "out".to_owned(),
        generation: 1,
        past: Past::Kept,
        avro: None,
        roll_bytes: 1 << 20,
        roll_interval: Duration::from_secs(60),
        settings: BTreeMap::new(),
    }
}

fn table() -> TableSchema {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
    TableSchema {
        name: "hits \"per\" page".to_owned(),
        columns: vec![column("page", ColumnType::Text(None)), column("hits", ColumnType::BigInt)],
        key: vec![0],
        appends: false,
        time_column: None,
    }
}

fn rows(pages: &[&str]) -> RecordBatch {
    let hits: ArrayRef = Arc::new(Int64Array::from_iter_values(0..pages.len() as i64));
    RecordBatch::try_new(table().arrow(), vec![Arc::new(StringArray::from(pages.to_vec())), hits]).unwrap()
}

fn keys(pages: &[&str]) -> RecordBatch {
    RecordBatch::try_new(table().key_arrow(), vec![Arc::new(StringArray::from(pages.to_vec()))]).unwrap()
}

fn commit(epoch: Epoch, upserts: &[&str], deletes: &[&str]) -> Commit {
    Commit {
        epoch,
        watermark: Timestamp(0),
        processing_time: Timestamp(0),
        views: vec![ViewChanges { view: 0, upserts: rows(upserts), deletes: keys(deletes) }],
        rejects: Vec::new(),
        ledger: Vec::new(),
    }
}

fn rejects(mut commit: Commit) -> Commit {
    commit.newest_rejects().dead.push(DeadLetter {
        source: "clicks".to_owned(),
        partition: 0,
        offset: 5,
        reason: Reason::WrongType,
        detail: String::new(),
        payload: b"{}".to_vec(),
    });
    commit.newest_rejects().late.push(LateEvent {
        view: "v".to_owned(),
        source: "clicks".to_owned(),
        partition: 0,
        offset: 6,
        window_start: Timestamp(0),
        window_end: Timestamp(1),
        event_time: Timestamp(0),
        watermark: Timestamp(2),
        event: "{}".to_owned(),
    });
    commit
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_commit_is_in_the_file_when_it_returns() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = NdjsonTableSink::open(&format!("file://{}/new/views", folder.path().display()), options()).unwrap();
    sink.prepare(&[table()]).unwrap();
    sink.commit(&commit(7, &["/a", "/b"], &["/c"])).unwrap();
    let path = folder.path().join("new/views.ndjson");
    let view = "hits \"per\" page";
    let expected = [
        json!({"_op": "delete", "_epoch": 7, "_view": view, "page": "/c"}),
        json!({"_op": "upsert", "_epoch": 7, "_view": view, "page": "/a", "hits": 0}),
        json!({"_op": "upsert", "_epoch": 7, "_view": view, "page": "/b", "hits": 1}),
    ];
    assert_eq!(lines(&path), expected);
    assert!(!folder.path().join("new/views.dead.ndjson").exists());
    sink.commit(&rejects(commit(8, &[], &[]))).unwrap();
    assert_eq!(lines(&path).len(), 3);
    assert_eq!(lines(&folder.path().join("new/views.dead.ndjson"))[0]["offset"], 5);
    assert_eq!(lines(&folder.path().join("new/views.late.ndjson"))[0]["offset"], 6);
}

#[test]
fn rows_that_all_stay_are_inserted() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = NdjsonTableSink::open(&format!("file://{}/rows", folder.path().display()), options()).unwrap();
    sink.prepare(&[TableSchema { key: Vec::new(), appends: true, ..table() }]).unwrap();
    sink.commit(&commit(3, &["/a", "/a"], &[])).unwrap();
    let lines = lines(&folder.path().join("rows.ndjson"));
    assert_eq!(lines.iter().map(|line| &line["_op"]).collect::<Vec<_>>(), ["insert", "insert"]);
    assert_eq!(lines[1]["hits"], 1);
}

#[test]
fn a_commit_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.ndjson");
    let mut sink = NdjsonTableSink::open(&format!("file://{}", path.display()), options()).unwrap();
    sink.prepare(&[table()]).unwrap();
    sink.commit(&commit(1, &["/a"], &[])).unwrap();
    // A folder where the dead letters' file should be.
    std::fs::create_dir(folder.path().join("views.dead.ndjson")).unwrap();
    sink.commit(&rejects(commit(2, &["/b"], &[]))).unwrap_err();
    assert_eq!(lines(&path).len(), 1);
    std::fs::remove_dir(folder.path().join("views.dead.ndjson")).unwrap();
    sink.commit(&rejects(commit(2, &["/b"], &[]))).unwrap();
    assert_eq!(lines(&path).iter().map(|line| line["_epoch"].clone()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(lines(&folder.path().join("views.late.ndjson")).len(), 1);
}

#[test]
fn append_only_rows_are_read_back_after_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raw.ndjson");
    let mut sink = NdjsonBatchSink::open(&format!("file://{}", path.display()), options()).unwrap();
    sink.prepare(&table(), &[]).unwrap();
    sink.write(1, 0, &rows(&["/a", "/b"])).unwrap();
    sink.write(1, 1, &rows(&["/c"])).unwrap();
    sink.seal(1).unwrap();
    sink.close().unwrap();
    let pages: Vec<_> = lines(&path).iter().map(|line| line["page"].as_str().unwrap().to_owned()).collect();
    assert_eq!(pages, ["/a", "/b", "/c"]);
}

#[test]
fn a_url_without_a_file_is_refused() {
    for url in ["file://", "file://folder/", "file:///"] {
        let error = NdjsonTableSink::open(url, options()).err().unwrap().to_string();
        assert!(error.contains("names no file"), "{url}: {error}");
    }
}

fn of(generation: u64) -> SinkOptions {
    SinkOptions { generation, ..options() }
}

fn views(folder: &Path, options: SinkOptions) -> NdjsonTableSink {
    NdjsonTableSink::open(&format!("file://{}/views", folder.display()), options).unwrap()
}

fn raw(folder: &Path, options: SinkOptions) -> NdjsonBatchSink {
    NdjsonBatchSink::open(&format!("file://{}/raw", folder.display()), options).unwrap()
}

/// Adds bytes to a file as a process does that is killed before it has told of them.
fn scribble(path: &Path) {
    std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(b"{\"_op\":\"upsert\",\"_ep").unwrap();
}

fn epochs(path: &Path) -> Vec<u64> {
    lines(path).iter().map(|line| line["_epoch"].as_u64().unwrap()).collect()
}

#[test]
fn the_next_start_cuts_off_what_was_not_committed_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.ndjson");
    std::fs::write(&path, "{\"_epoch\":99}\n{\"_epoch\":100}").unwrap();
    let mut sink = views(folder.path(), of(1));
    assert_eq!(sink.prepare(&[table()]).unwrap(), None);
    sink.commit(&rejects(commit(0, &["/a"], &[]))).unwrap();
    sink.commit(&commit(3, &["/b"], &["/a"])).unwrap();
    drop(sink);
    ["views.ndjson", "views.dead.ndjson", "views.late.ndjson"].iter().for_each(|name| scribble(&folder.path().join(name)));
    let mut sink = views(folder.path(), of(2));
    assert_eq!(sink.prepare(&[table()]).unwrap(), Some(3));
    assert_eq!(sink.prepare(&[table()]).unwrap(), Some(3), "a second preparation finds the same");
    sink.commit(&commit(3, &["/b"], &["/a"])).unwrap();
    sink.commit(&commit(4, &["/c"], &[])).unwrap();
    assert_eq!(epochs(&path), [99, 100, 0, 3, 3, 4]);
    assert_eq!(
        (lines(&folder.path().join("views.dead.ndjson")).len(), lines(&folder.path().join("views.late.ndjson")).len()),
        (1, 1)
    );
    drop(sink);
    let mut anew = views(folder.path(), SinkOptions { past: Past::Forgotten, ..of(3) });
    assert_eq!(anew.prepare(&[table()]).unwrap(), None);
    anew.commit(&commit(1, &["/d"], &[])).unwrap();
    assert_eq!(anew.prepare(&[table()]).unwrap(), Some(1), "what this start has written stays");
    assert_eq!(epochs(&path), [99, 100, 1], "what was there before the job stays");
    assert_eq!(lines(&folder.path().join("views.late.ndjson")).len(), 0);
}

#[test]
fn a_newer_start_stops_the_older_one_and_then_has_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = views(folder.path(), of(1));
    old.prepare(&[table()]).unwrap();
    std::thread::scope(|scope| {
        let new = scope.spawn(|| {
            let mut new = views(folder.path(), of(2));
            (new.prepare(&[table()]).unwrap(), new)
        });
        let mut epoch = 0;
        let error = loop {
            match old.commit(&commit(epoch, &["/"], &[])) {
                Ok(_) => epoch += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Fenced { .. }), "{error}");
        assert!(matches!(old.commit(&commit(epoch, &["/"], &[])), Err(Error::Fenced { .. })), "and again");
        drop(old);
        let (held, mut new) = new.join().unwrap();
        assert_eq!(held, epoch.checked_sub(1), "all that the older one has committed is there");
        new.commit(&commit(epoch, &["/"], &[])).unwrap();
        assert_eq!(epochs(&folder.path().join("views.ndjson")), (0..=epoch).collect::<Vec<_>>());
    });
    let mut late = views(folder.path(), of(1));
    assert!(matches!(late.prepare(&[table()]), Err(Error::Fenced { .. })));
}

#[test]
fn a_file_that_holds_something_else_or_less_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = views(folder.path(), of(1));
    sink.prepare(&[table()]).unwrap();
    sink.commit(&commit(1, &["/a"], &[])).unwrap();
    drop(sink);
    let error =
        views(folder.path(), SinkOptions { job: "other".to_owned(), ..of(2) }).prepare(&[table()]).unwrap_err().to_string();
    assert!(error.contains("holds rows of sink 'out' of job 'job'"), "{error}");
    std::fs::write(folder.path().join("views.ndjson"), "").unwrap();
    let error = views(folder.path(), of(3)).prepare(&[table()]).unwrap_err().to_string();
    assert!(error.contains("has 0 bytes, but the job has written"), "{error}");
}

#[test]
fn workers_share_a_file_in_a_folder_that_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("not").join("yet");
    let mut sinks: Vec<_> = (0..2).map(|_| raw(&folder, options())).collect();
    sinks.iter_mut().for_each(|sink| drop(sink.prepare(&table(), &[]).unwrap()));
    sinks[1].write(1, 0, &rows(&["/a"])).unwrap();
    sinks.iter_mut().for_each(|sink| sink.seal(1).and_then(|()| sink.close()).unwrap());
    assert_eq!(lines(&folder.join("raw.ndjson")).len(), 1);
}

#[test]
fn rows_of_several_workers_are_there_once_and_in_one_order_whatever_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raw.ndjson");
    let shown =
        || std::fs::read_to_string(&path).unwrap().lines().map(|line| line[9..11].to_owned()).collect::<Vec<_>>().join(" ");
    let (mut one, mut two) = (raw(folder.path(), of(1)), raw(folder.path(), of(1)));
    assert_eq!(one.prepare(&table(), &[0]).unwrap(), BTreeMap::new());
    assert_eq!(two.prepare(&table(), &[1]).unwrap(), BTreeMap::new());
    two.write(1, 1, &rows(&["b1"])).unwrap();
    two.seal(1).unwrap();
    two.flush(1).unwrap();
    one.write(1, 0, &rows(&["a1"])).unwrap();
    one.write(2, 0, &rows(&["a2"])).unwrap();
    one.seal(1).unwrap();
    one.flush(1).unwrap();
    assert_eq!(shown(), "a1 b1");
    // The second worker gives and flushes its next rows, the first one does not come to it any more.
    two.write(2, 1, &rows(&["b2"])).unwrap();
    two.seal(2).unwrap();
    two.flush(2).unwrap();
    drop((one, two));
    scribble(&path);

    let mut all: Vec<_> = (0..3).map(|_| raw(folder.path(), of(2))).collect();
    assert_eq!(all[0].prepare(&table(), &[1]).unwrap(), BTreeMap::from([(1, 1)]));
    assert_eq!(all[1].prepare(&table(), &[]).unwrap(), BTreeMap::new());
    assert_eq!(all[2].prepare(&table(), &[0]).unwrap(), BTreeMap::from([(0, 1)]));
    all[0].write(2, 1, &rows(&["b2"])).unwrap();
    all[2].write(1, 0, &rows(&["a1"])).unwrap();
    all[2].write(2, 0, &rows(&["a2"])).unwrap();
    all.iter_mut().for_each(|sink| sink.seal(2).unwrap());
    assert!(all[1].prepare(&table(), &[]).is_err(), "nobody joins in the middle");
    drop(all);

    // Written, but not flushed: the next start writes it again.
    let mut last = raw(folder.path(), of(3));
    assert_eq!(last.prepare(&table(), &[0, 1]).unwrap(), BTreeMap::from([(0, 1), (1, 1)]));
    assert_eq!(shown(), "a1 b1");
    last.write(2, 1, &rows(&["b2"])).unwrap();
    last.write(2, 0, &rows(&["a2"])).unwrap();
    last.seal(2).unwrap();
    last.write(3, 0, &rows(&["a3"])).unwrap();
    last.close().unwrap();
    assert_eq!(shown(), "a1 b1 a2 b2", "what was not sealed is of no epoch");
    let error = raw(folder.path(), of(3)).prepare(&table(), &[0]).unwrap_err().to_string();
    assert!(error.contains("being written"), "{error}");
    drop(last);
    assert_eq!(raw(folder.path(), of(4)).prepare(&table(), &[0]).unwrap(), BTreeMap::from([(0, 2)]));
}

#[test]
fn an_older_start_in_the_same_process_cannot_write_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (mut old, mut new) = (raw(folder.path(), of(1)), raw(folder.path(), of(2)));
    old.prepare(&table(), &[0]).unwrap();
    new.prepare(&table(), &[0]).unwrap();
    old.write(1, 0, &rows(&["a1"])).unwrap();
    assert!(matches!(old.seal(1), Err(Error::Fenced { .. })));
    assert!(matches!(old.prepare(&table(), &[0]), Err(Error::Fenced { .. })));
    new.seal(1).unwrap();
    new.flush(1).unwrap();
    assert_eq!(std::fs::read(folder.path().join("raw.ndjson")).unwrap(), b"");
}

#[test]
fn what_is_no_file_on_a_disk_is_written_without_a_memory() {
    let mut sink = NdjsonTableSink::open("file:///dev/null.", of(1)).unwrap();
    sink.paths[0] = "/dev/null".into();
    assert_eq!(sink.prepare(&[table()]).unwrap(), None);
    sink.commit(&commit(1, &["/a"], &[])).unwrap();
    assert!(!Path::new("/dev/null.freshet").exists());
}

/// Run by hand: `cargo test --release -p freshet-connectors file_commit_rate -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn file_commit_rate() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut sink = views(folder.path(), of(1));
    sink.prepare(&[table()]).unwrap();
    let begin = std::time::Instant::now();
    (0..200).for_each(|epoch| drop(sink.commit(&commit(epoch, &["/a"], &[])).unwrap()));
    println!("{:.2} ms a commit", begin.elapsed().as_secs_f64() * 1e3 / 200.0);
}
