//! Rows that are written in Avro, as others read them.

use super::proxy::Proxy;
use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use freshet_connectors::kafka::{KafkaBatchSink, KafkaTableSink};
use freshet_connectors::{BatchSink, Past, SinkOptions, TableSink};
use freshet_harness::registry::Registry;
use freshet_harness::server::wait_for;
use freshet_model::{Commit, TableSchema, Timestamp, ViewChanges};

fn sink_options(name: &str) -> SinkOptions {
    let avro = Some(RegistryOptions { url: Registry::shared().url(), ..RegistryOptions::default() });
    let settings = [("freshet.commit.interval.ms".to_owned(), "0".to_owned())].into_iter().collect();
    SinkOptions {
        job: "job".to_owned(),
        name: name.to_owned(),
        generation: 1,
        past: Past::Kept,
        avro,
        roll_bytes: 0,
        roll_interval: Duration::ZERO,
        settings,
    }
}

fn table(columns: &[(&str, &str)], key: Vec<usize>) -> TableSchema {
    let columns =
        columns.iter().map(|(n, t)| Column { name: (*n).to_owned(), column_type: t.parse().expect("a type") }).collect();
    TableSchema { name: "hits".to_owned(), columns, key, appends: false, time_column: None }
}

fn rows_of(pages: &[&str], hits: &[Option<i64>]) -> RecordBatch {
    let arrays: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(pages.to_vec())), Arc::new(hits.iter().copied().collect::<Int64Array>())];
    RecordBatch::try_new(table(&COLUMNS, vec![]).arrow(), arrays).expect("a batch")
}

const COLUMNS: [(&str, &str); 2] = [("page", "text"), ("hits", "bigint")];

#[test]
fn rows_of_a_view_are_avro_and_rows_that_are_gone_are_tombstones() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "avro_view");
    kafka.create(topic, 1);
    let mut sink = KafkaTableSink::open(&format!("{}/{topic}", kafka.url()), sink_options(topic)).expect("a sink");
    sink.prepare(&[table(&COLUMNS, vec![0])]).expect("prepared");
    let deletes = rows_of(&["/b"], &[None]).project(&[0]).expect("the key");
    let views = vec![ViewChanges { view: 0, upserts: rows_of(&["/a", "/c"], &[Some(-3), None]), deletes }];
    let (watermark, processing_time) = (Timestamp(0), Timestamp(0));
    sink.commit(&Commit { epoch: 1, watermark, processing_time, views, rejects: vec![], ledger: vec![] }).expect("committed");

    let (id, schema) = registry.latest("avro_view-value");
    let parsed = Schema::parse_str(&schema).expect("a schema");
    assert_eq!(parsed.name().map(|name| name.fullname(None)).as_deref(), Some("freshet.hits"));
    let mut payloads = Vec::new();
    kafka.read(topic, |record| payloads.push(record.payload));
    let head = [&[0], &id.to_be_bytes()[..]].concat();
    assert!(payloads[..2].iter().all(|payload| payload.starts_with(&head)), "{payloads:?}");
    assert_eq!((payloads.len(), payloads[2].len()), (3, 0), "the last is a tombstone");
    let mut reader = reader(topic, options(&registry.url(), &COLUMNS));
    let wanted = [r#"{"page":"/a","hits":-3}"#, r#"{"page":"/c","hits":null}"#, "empty_payload: the record has no payload"];
    assert_eq!(shown(&read(&mut *reader, 3)), wanted);

    // Two views in one topic would have two schemas under one name.
    let mut two = KafkaTableSink::open(&format!("{}/{topic}", kafka.url()), sink_options("two")).expect("a sink");
    let other = TableSchema { name: "other".to_owned(), ..table(&COLUMNS, vec![0]) };
    let error = two.prepare(&[table(&COLUMNS, vec![0]), other]).expect_err("refused").to_string();
    assert!(error.contains("has rows of 'hits' and 'other', which are of two schemas"), "{error}");
}

#[test]
fn appended_rows_change_their_schema_between_two_starts() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "avro_rows");
    kafka.create(topic, 1);
    let open = || KafkaBatchSink::open(&format!("{}/{topic}", kafka.url()), sink_options(topic)).expect("a sink");
    let mut first = open();
    first.prepare(&table(&COLUMNS[..1], vec![]), &[0]).expect("prepared");
    registry.set_compatibility("avro_rows-value", "FULL");
    let pages = rows_of(&["/a", "/b"], &[None, None]).project(&[0]).expect("the pages");
    first.write(1, 0, &pages).and_then(|()| first.seal(1)).and_then(|()| first.close()).expect("written");
    drop(first);
    let mut second = open();
    assert_eq!(second.prepare(&table(&COLUMNS, vec![]), &[0]).expect("compatible").get(&0), Some(&1));
    second
        .write(2, 0, &rows_of(&["/c"], &[Some(7)]))
        .and_then(|()| second.seal(2))
        .and_then(|()| second.close())
        .expect("written");
    let mut reader = reader(topic, options(&registry.url(), &COLUMNS));
    let wanted = [r#"{"page":"/a","hits":null}"#, r#"{"page":"/b","hits":null}"#, r#"{"page":"/c","hits":7}"#];
    let mut batches = read(&mut *reader, 3);
    batches.retain(|batch| !batch.offsets.is_empty());
    assert_eq!(shown(&batches), wanted);

    // A column of another type is another schema, which the registry refuses.
    let mut third = open();
    let error = third.prepare(&table(&[("page", "bigint")], vec![]), &[0]).expect_err("incompatible").to_string();
    assert!(error.contains("refuses the schema of the rows for 'avro_rows-value'"), "{error}");
}

#[test]
fn a_registry_that_is_away_opens_the_circuit_of_its_sink_and_is_waited_for_within_its_limit() {
    let (kafka, topic) = (Kafka::shared(), "avro_away");
    kafka.create(topic, 1);
    let proxy = Proxy::start(Registry::shared().port(), false);
    let avro = Some(RegistryOptions { url: proxy.url(), ..RegistryOptions::default() });
    let open = |settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let options = SinkOptions { avro: avro.clone(), settings, ..sink_options(topic) };
        let mut sink = KafkaTableSink::open(&format!("{}/{topic}", kafka.url()), options).expect("a sink");
        let (circuit, gauge) = circuit("sink 'avro_away'");
        sink.guard(&circuit);
        (sink, gauge)
    };
    let (mut sink, gauge) = open(&[("freshet.outage.limit.ms", "500")]);
    let error = sink.prepare(&[table(&COLUMNS, vec![0])]).expect_err("it is away");
    assert!(error.is_transient() && error.to_string().contains("registry") && gauge.state() == State::Open, "{error}");

    let (mut sink, gauge) = open(&[]);
    let prepared = std::thread::spawn(move || sink.prepare(&[table(&COLUMNS, vec![0])]));
    assert!(wait_for(PATIENCE, || gauge.state() == State::Open), "{gauge:?}");
    proxy.set_open(true);
    assert_eq!(prepared.join().expect("no panic").expect("prepared"), None);
    assert_eq!((gauge.state(), gauge.opened.load(Ordering::Relaxed)), (State::Closed, 1));
}
