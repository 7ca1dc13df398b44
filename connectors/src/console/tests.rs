//! What a person sees.

use crate::Past;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use freshet_model::{Column, ColumnType, Reason, Timestamp, ViewChanges};

use super::*;

/// A standard output that a test can look at, and close.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Option<Vec<u8>>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut screen = self.0.lock().unwrap();
        screen.as_mut().ok_or(std::io::Error::from(ErrorKind::BrokenPipe))?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn sink() -> (ConsoleSink, Screen) {
    let options = SinkOptions {
        job: "job".to_owned(),
        name: "screen".to_owned(),
        generation: 1,
        past: Past::Kept,
        avro: None,
        roll_bytes: 1,
        roll_interval: Duration::from_secs(1),
        settings: BTreeMap::new(),
    };
    let screen = Screen(Arc::new(Mutex::new(Some(Vec::new()))));
    (ConsoleSink::to(Box::new(screen.clone()), &options), screen)
}

fn table() -> TableSchema {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
    let columns =
        vec![column("minute", ColumnType::Timestamp), column("page", ColumnType::Text(None)), column("hits", ColumnType::BigInt)];
    TableSchema { name: "views".to_owned(), columns, key: vec![0, 1], appends: false, time_column: None }
}

fn rows(page: &str) -> RecordBatch {
    let minute = Arc::new(TimestampMicrosecondArray::from(vec![1_769_679_060_000_000]));
    let page = Arc::new(StringArray::from(vec![page]));
    RecordBatch::try_new(table().arrow(), vec![minute, page, Arc::new(Int64Array::from(vec![None]))]).unwrap()
}

fn commit(page: &str) -> Commit {
    let deletes = rows(page).project(&[0, 1]).unwrap();
    let mut commit = Commit {
        epoch: 1,
        watermark: Timestamp(0),
        processing_time: Timestamp(0),
        views: vec![ViewChanges { view: 0, upserts: rows(page), deletes }],
        rejects: Vec::new(),
        ledger: Vec::new(),
    };
    commit.newest_rejects().dead.push(DeadLetter {
        source: "clicks".to_owned(),
        partition: 2,
        offset: 9,
        reason: Reason::Malformed,
        detail: "not JSON".to_owned(),
        payload: Vec::new(),
    });
    commit
}

#[test]
fn changes_are_lines_for_a_person() {
    let (mut sink, screen) = sink();
    TableSink::prepare(&mut sink, &[table()]).unwrap();
    sink.commit(&commit("/cart")).unwrap();
    let text = String::from_utf8(screen.0.lock().unwrap().clone().unwrap()).unwrap();
    let expected = "views | - | minute=2026-01-29T09:31:00 | page=/cart\n\
                    views | + | minute=2026-01-29T09:31:00 | page=/cart | hits=null\n\
                    clicks | dead | 2@9 | malformed | not JSON\n";
    assert_eq!(text, expected);
}

#[test]
fn no_text_commands_the_terminal() {
    let (mut sink, screen) = sink();
    TableSink::prepare(&mut sink, &[table()]).unwrap();
    sink.commit(&commit("\x1b[2J\nviews | + | ä")).unwrap();
    let text = String::from_utf8(screen.0.lock().unwrap().clone().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(text.contains("page=\\u{1b}[2J\\nviews | + | ä"), "{text}");
}

#[test]
fn a_closed_pipe_ends_the_output_and_not_the_job() {
    let (mut sink, screen) = sink();
    TableSink::prepare(&mut sink, &[table()]).unwrap();
    *screen.0.lock().unwrap() = None;
    sink.commit(&commit("/a")).unwrap();
    sink.commit(&commit("/b")).unwrap();
    BatchSink::close(&mut sink).unwrap();
}
