//! The Kafka connector against a real broker, which some of the tests kill.

mod broker;
mod chaos;
#[cfg(feature = "failpoints")]
mod failing;
mod generations;
mod letters;
mod outside;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use freshet_connectors::kafka::{KafkaBatchSink, KafkaTableSink};
use freshet_connectors::{BatchSink, Past, SinkOptions, TableSink};
use freshet_model::{Column, Commit, Epoch, TableSchema, Timestamp, ViewChanges};

use broker::Broker;

/// A commit interval that never passes: what is committed is asked to be.
const NEVER: (&str, &str) = ("freshet.commit.interval.ms", "3600000");

/// Rows that name themselves.
const MARKS: (&str, &str) = ("freshet.headers", "true");

fn columns() -> Vec<Column> {
    vec![Column { name: "n".to_owned(), column_type: "bigint".parse().expect("a type") }]
}

fn table(key: Vec<usize>) -> TableSchema {
    TableSchema { name: "numbers".to_owned(), columns: columns(), key, appends: false, time_column: None }
}

fn rows(numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    let numbers: Int64Array = numbers.into_iter().collect();
    RecordBatch::try_new(table(vec![]).arrow(), vec![Arc::new(numbers) as ArrayRef]).expect("a batch")
}

fn sink_options(generation: u64, settings: &[(&str, &str)]) -> SinkOptions {
    SinkOptions {
        job: "job".to_owned(),
        name: "out".to_owned(),
        generation,
        past: Past::Kept,
        avro: None,
        roll_bytes: 0,
        roll_interval: Duration::ZERO,
        settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

/// Names a sink after its topic: the tests share a broker.
fn named(topic: &str, options: SinkOptions) -> SinkOptions {
    SinkOptions { name: topic.to_owned(), ..options }
}

/// Opens a sink for rows of partitions, and prepares it.
fn batch_sink(broker: &Broker, topic: &str, options: SinkOptions, partitions: &[i32]) -> (KafkaBatchSink, BTreeMap<i32, Epoch>) {
    let mut sink = KafkaBatchSink::open(&broker.url(topic), named(topic, options)).expect("a sink");
    let held = sink.prepare(&table(vec![]), partitions).expect("prepared");
    (sink, held)
}

/// Opens a sink for views, and prepares it.
fn table_sink(broker: &Broker, topic: &str, options: SinkOptions) -> (KafkaTableSink, Option<Epoch>) {
    let mut sink = KafkaTableSink::open(&broker.url(topic), named(topic, options)).expect("a sink");
    let held = sink.prepare(&[table(vec![0])]).expect("prepared");
    (sink, held)
}

fn commit(epoch: Epoch, numbers: impl IntoIterator<Item = i64>) -> Commit {
    let views = vec![ViewChanges { view: 0, upserts: rows(numbers), deletes: rows([]) }];
    let (watermark, processing_time) = (Timestamp(0), Timestamp(0));
    Commit { epoch, watermark, processing_time, views, rejects: vec![], ledger: vec![] }
}
