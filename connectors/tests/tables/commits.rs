//! A view with a column of every type and a key that may be NULL, and commits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use freshet_connectors::{Past, SinkOptions};
use freshet_model::{Column, ColumnType, Commit, LateEvent, LedgerRow, TableSchema, Timestamp, ViewChanges};

/// Midnight of 2026-01-01.
pub(crate) const START: i64 = 1_767_225_600_000_000;

/// The key: a time and a page.
pub(crate) type Key = (Option<i64>, Option<String>);

/// The values of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    pub(crate) hits: Option<i64>,
    pub(crate) amount: Option<i128>,
    pub(crate) open: Option<bool>,
    pub(crate) ratio: Option<f64>,
}

/// A view's content.
pub(crate) type Content = BTreeMap<Key, Values>;

/// Returns the view, as a table of this name.
pub(crate) fn view(name: &str) -> TableSchema {
    let columns = [
        ("window_start", ColumnType::Timestamp),
        ("page", ColumnType::Text(Some(20))),
        ("hits", ColumnType::BigInt),
        ("amount", ColumnType::Decimal(12, 2)),
        ("open", ColumnType::Boolean),
        ("ratio", ColumnType::Double),
    ];
    let columns = columns.map(|(name, column_type)| Column { name: name.to_owned(), column_type }).to_vec();
    TableSchema { name: name.to_owned(), columns, key: vec![0, 1], appends: false, time_column: None }
}

/// Returns the options of a sink.
pub(crate) fn options(generation: u64) -> SinkOptions {
    SinkOptions {
        job: "it's a job".to_owned(),
        name: "db".to_owned(),
        generation,
        past: Past::Kept,
        avro: None,
        roll_bytes: 0,
        roll_interval: Duration::ZERO,
        settings: BTreeMap::new(),
    }
}

/// Returns a key.
pub(crate) fn key(minute: i64, page: &str) -> Key {
    (Some(START + minute * 60_000_000), Some(page.to_owned()))
}

/// Returns a row's values that differ by one number.
pub(crate) fn hits(hits: i64) -> Values {
    Values { hits: Some(hits), amount: Some(i128::from(hits) * 5), open: Some(hits % 2 == 0), ratio: Some(hits as f64 / 3.0) }
}

/// Builds a commit of changes to the first view.
pub(crate) fn commit(epoch: u64, upserts: &Content, deletes: &[Key]) -> Commit {
    let view = view("v");
    let mut columns = keys(upserts.keys());
    columns.push(Arc::new(upserts.values().map(|row| row.hits).collect::<Int64Array>()));
    let amounts: Decimal128Array = upserts.values().map(|row| row.amount).collect();
    columns.push(Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()));
    columns.push(Arc::new(upserts.values().map(|row| row.open).collect::<BooleanArray>()));
    columns.push(Arc::new(upserts.values().map(|row| row.ratio).collect::<Float64Array>()));
    let changes = ViewChanges {
        view: 0,
        upserts: RecordBatch::try_new(view.arrow(), columns).unwrap(),
        deletes: RecordBatch::try_new(view.key_arrow(), keys(deletes.iter())).unwrap(),
    };
    let ledger =
        LedgerRow { view: "v".to_owned(), read: 10 * epoch, counted: 9 * epoch, filtered: epoch, late: 0, dead_letters: 0 };
    Commit {
        epoch,
        watermark: Timestamp(START + epoch as i64),
        processing_time: Timestamp(START + 1),
        views: vec![changes],
        rejects: Vec::new(),
        ledger: vec![ledger],
    }
}

/// Adds a late event, which would be there twice if the commit were applied twice.
pub(crate) fn with_late(mut commit: Commit) -> Commit {
    commit.newest_rejects().late.push(LateEvent {
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

fn keys<'a>(keys: impl Iterator<Item = &'a Key> + Clone) -> Vec<ArrayRef> {
    let times: TimestampMicrosecondArray = keys.clone().map(|key| key.0).collect();
    let pages: StringArray = keys.map(|key| key.1.as_deref()).collect();
    vec![Arc::new(times), Arc::new(pages)]
}
