//! A topic behind TLS, for users who prove themselves by SCRAM.

use std::time::{Duration, Instant};

use freshet_connectors::kafka::{KafkaBatchSink, KafkaSource};
use freshet_connectors::{BatchSink, Past, SinkOptions, Source, SourceOptions};
use freshet_harness::kafka::{Kafka, SECURE_PASSWORD, SECURE_USER};
use freshet_model::{Batch, Column, TableSchema};

fn columns() -> Vec<Column> {
    vec![Column { name: "n".to_owned(), column_type: "bigint".parse().expect("a type") }]
}

fn settings(kafka: &Kafka, password: &str) -> std::collections::BTreeMap<String, String> {
    let authority = kafka.authority().expect("a secure broker").to_string_lossy().into_owned();
    let settings = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", SECURE_USER),
        ("sasl.password", password),
        ("ssl.ca.location", &authority),
        ("freshet.commit.interval.ms", "0"),
    ];
    settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
}

fn source(kafka: &Kafka, password: &str) -> Result<KafkaSource, freshet_connectors::Error> {
    let mut settings = settings(kafka, password);
    settings.remove("freshet.commit.interval.ms");
    let options = SourceOptions {
        name: "in".to_owned(),
        columns: columns(),
        format: Default::default(),
        time_column: None,
        max_future_skew: Duration::ZERO,
        max_record_bytes: 1000,
        bounded: false,
        from_latest: false,
        identity: None,
        settings,
    };
    KafkaSource::open(&format!("{}/numbers", kafka.url()), options)
}

#[test]
fn rows_go_to_a_secure_topic_and_come_back_and_strangers_are_refused() {
    let kafka = Kafka::start_secure();
    kafka.create("numbers", 1);
    let options = SinkOptions {
        job: "job".to_owned(),
        name: "out".to_owned(),
        generation: 1,
        past: Past::Kept,
        avro: None,
        roll_bytes: 0,
        roll_interval: Duration::ZERO,
        settings: settings(&kafka, SECURE_PASSWORD),
    };
    let table = TableSchema { name: "numbers".to_owned(), columns: columns(), key: vec![], appends: false, time_column: None };
    let numbers: arrow::array::Int64Array = (0..100).collect();
    let rows = arrow::array::RecordBatch::try_new(table.arrow(), vec![std::sync::Arc::new(numbers)]).expect("a batch");
    let mut sink = KafkaBatchSink::open(&format!("{}/numbers", kafka.url()), options).expect("a sink");
    sink.prepare(&table, &[0]).expect("prepared");
    sink.write(1, 0, &rows).and_then(|()| sink.seal(1)).and_then(|()| sink.close()).expect("written");

    let mut reader = source(&kafka, SECURE_PASSWORD).expect("a source").reader(&[0]).expect("a reader");
    let (mut batches, deadline) = (Vec::<Batch>::new(), Instant::now() + Duration::from_secs(30));
    while batches.iter().map(|batch| batch.offsets.len()).sum::<usize>() < 100 {
        assert!(Instant::now() < deadline, "{batches:?}");
        reader.read(1000, Duration::from_millis(100), &mut batches).expect("a readable topic");
    }
    let error = source(&kafka, "hunter2").err().expect("refused").to_string();
    assert!(error.to_lowercase().contains("authentication") && !error.contains("hunter2"), "{error}");
}
