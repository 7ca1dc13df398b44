//! Avro, and Protobuf, through a real broker, their schemas in a real registry, which some of the tests cut off.

mod evolution;
mod outages;
mod protobuf;
mod proxy;
mod sinks;
mod tls;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use freshet_connectors::breaker::State;
use freshet_connectors::circuit::{Circuit, Gauge};
use freshet_connectors::format::{Encoding, FieldSpec, Format, rows};
use freshet_connectors::kafka::KafkaSource;
use freshet_connectors::retry::Policy;
use freshet_connectors::{Reader, RegistryOptions, Source, SourceOptions};
use freshet_harness::kafka::Kafka;
use freshet_model::{Batch, Column, Progress};

const PATIENCE: Duration = Duration::from_secs(60);

/// Options for a topic whose schemas are in the registry at a url.
fn options(url: &str, columns: &[(&str, &str)]) -> SourceOptions {
    let encoding = Encoding::Avro(RegistryOptions { url: url.to_owned(), ..RegistryOptions::default() });
    SourceOptions {
        name: "in".to_owned(),
        columns: columns.iter().map(|(n, t)| Column { name: (*n).to_owned(), column_type: t.parse().expect("a type") }).collect(),
        format: Format { encoding, fields: Vec::<FieldSpec>::new(), max_dead_run: NonZeroU64::new(1000) },
        time_column: None,
        max_future_skew: Duration::ZERO,
        max_record_bytes: 1 << 20,
        bounded: false,
        from_latest: false,
        identity: None,
        settings: Default::default(),
    }
}

/// Opens a reader of a topic's only partition.
fn reader(topic: &str, options: SourceOptions) -> Box<dyn Reader> {
    source(topic, options).reader(&[0]).expect("a reader")
}

fn source(topic: &str, options: SourceOptions) -> KafkaSource {
    let url = format!("{}/{topic}", Kafka::shared().url());
    KafkaSource::open(&url, options).expect("a source")
}

/// Makes a circuit with the pauses of a job that says nothing of them, and what is seen of it.
fn circuit(thing: &str) -> (Arc<Circuit>, Arc<Gauge>) {
    let gauge = Arc::new(Gauge::default());
    (Circuit::new(thing, Policy::default(), Arc::clone(&gauge)), gauge)
}

/// Reads until so many records have become rows or dead letters; checks that each did so once. (The end of a transaction has an offset too.)
fn read(reader: &mut dyn Reader, count: usize) -> Vec<Batch> {
    let (mut batches, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while taken(&batches) < count {
        assert!(Instant::now() < deadline, "{} of {count} records", taken(&batches));
        reader.read(1000, Duration::from_millis(50), &mut batches).expect("a readable topic");
    }
    let mut offsets: Vec<i64> = batches.iter().flat_map(|batch| batch.offsets.clone()).collect();
    offsets.extend(batches.iter().flat_map(|batch| &batch.dead).map(|letter| letter.offset));
    offsets.sort_unstable();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]) && offsets.len() == count, "{offsets:?}");
    batches
}

fn taken(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.offsets.len() + batch.dead.len()).sum()
}

/// Shows the rows and then the dead letters.
fn shown(batches: &[Batch]) -> Vec<String> {
    let text = |batch: &Batch| {
        let rows = rows(&batch.columns);
        rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect::<Vec<_>>()
    };
    let letters = batches.iter().flat_map(|batch| &batch.dead).map(|letter| format!("{}: {}", letter.reason, letter.detail));
    batches.iter().flat_map(text).chain(letters).collect()
}

/// Tells whether a partition was said to have been read to its end.
fn is_at_end(batches: &[Batch]) -> bool {
    batches.last().is_some_and(|batch| batch.progress == Progress::AtEnd)
}

/// Returns the message of a record.
fn message(id: u32, schema: &str, fields: Vec<(&str, Value)>) -> Option<Vec<u8>> {
    let schema = Schema::parse_str(schema).expect("a schema");
    let record = Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let datum = GenericDatumWriter::builder(&schema).build().expect("a writer").write_value_to_vec(record).expect("a record");
    Some([&[0], &id.to_be_bytes()[..], &datum].concat())
}

/// Returns the schema of a record with these fields.
fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"Event","namespace":"shop","fields":[{fields}]}}"#)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}
