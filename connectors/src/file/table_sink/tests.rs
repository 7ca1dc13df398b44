use std::collections::BTreeMap;
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
        reset: false,
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
        late: Vec::new(),
        dead: Vec::new(),
        ledger: Vec::new(),
    }
}

fn rejects(mut commit: Commit) -> Commit {
    commit.dead.push(DeadLetter {
        source: "clicks".to_owned(),
        partition: 0,
        offset: 5,
        reason: Reason::WrongType,
        detail: String::new(),
        payload: b"{}".to_vec(),
    });
    commit.late.push(LateEvent {
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
