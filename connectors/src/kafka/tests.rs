//! The connectors against librdkafka's mock cluster: one broker inside the test's own process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use freshet_model::{Batch, Column, Commit, DeadLetter, Epoch, LateEvent, Progress, Reason, TableSchema, Timestamp, ViewChanges};
use rdkafka::ClientConfig;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::address::Address;
use super::topic::Inquiry;
use super::{GroupOffsets, KafkaBatchSink, KafkaSource, KafkaTableSink};
use crate::{BatchSink, Error, Past, Reader, SinkOptions, Source, SourceOptions, TableSink};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const PATIENCE: Duration = Duration::from_secs(30);

fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).expect("a topic");
    }
    cluster
}

fn url(cluster: &Cluster, topic: &str) -> String {
    format!("kafka://{}/{topic}", cluster.bootstrap_servers())
}

fn columns() -> Vec<Column> {
    [("name", "text"), ("n", "bigint")]
        .iter()
        .map(|(n, t)| Column { name: (*n).to_owned(), column_type: t.parse().expect("a type") })
        .collect()
}

fn source_options() -> SourceOptions {
    SourceOptions {
        name: "in".to_owned(),
        columns: columns(),
        format: Default::default(),
        time_column: None,
        max_future_skew: Duration::ZERO,
        max_record_bytes: 1 << 20,
        bounded: false,
        from_latest: false,
        identity: None,
        settings: BTreeMap::new(),
    }
}

fn bounded() -> SourceOptions {
    SourceOptions { bounded: true, ..source_options() }
}

fn sink_options(settings: &[(&str, &str)]) -> SinkOptions {
    SinkOptions {
        job: "job".to_owned(),
        name: "out".to_owned(),
        generation: 1,
        past: Past::Kept,
        avro: None,
        roll_bytes: 0,
        roll_interval: Duration::ZERO,
        settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

fn raw() -> TableSchema {
    TableSchema { name: "rows".to_owned(), columns: columns(), key: vec![], appends: false, time_column: None }
}

fn rows(numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    let numbers: Int64Array = numbers.into_iter().collect();
    let names: StringArray = numbers.values().iter().map(|n| Some(format!("name {n}"))).collect();
    RecordBatch::try_new(raw().arrow(), vec![Arc::new(names) as ArrayRef, Arc::new(numbers)]).expect("a batch")
}

/// Writes a record for each number, by a plain producer.
fn produce(cluster: &Cluster, topic: &str, partition: i32, numbers: impl IntoIterator<Item = i64>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    for n in numbers {
        let payload = format!(r#"{{"name":"name {n}","n":{n}}}"#);
        producer.send(BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload)).map_err(|e| e.0).expect("room");
    }
    producer.flush(PATIENCE).expect("delivery");
}

/// Reads until a partition's latest batches satisfy a condition; returns all batches.
fn read_until(reader: &mut dyn Reader, done: impl Fn(&[Batch]) -> bool) -> Vec<Batch> {
    let (mut batches, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while !done(&batches) {
        assert!(Instant::now() < deadline, "not done with {batches:?}");
        reader.read(1000, Duration::from_millis(100), &mut batches).expect("a readable topic");
    }
    batches
}

fn finished(batches: &[Batch]) -> usize {
    batches.iter().filter(|batch| batch.progress == Progress::Finished).count()
}

fn numbers(batches: &[Batch], partition: i32) -> Vec<i64> {
    let of = batches.iter().filter(|batch| batch.partition == partition);
    of.flat_map(|batch| batch.columns.column(1).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Checks that a partition's batches cover its offsets without gap or overlap.
fn covered(batches: &[Batch], partition: i32) -> std::ops::Range<i64> {
    let mut of = batches.iter().filter(|batch| batch.partition == partition);
    let first = of.next().expect("a batch").range.clone();
    of.fold(first, |covered, batch| {
        assert_eq!(batch.range.start, covered.end, "consecutive batches");
        assert!(batch.offsets.iter().all(|offset| batch.range.contains(offset)));
        covered.start..batch.range.end
    })
}

#[test]
fn a_bounded_run_ends_exactly_where_the_topic_ended_when_it_was_opened() {
    let cluster = cluster(&[("t", 3)]);
    produce(&cluster, "t", 0, 0..5000);
    produce(&cluster, "t", 1, 0..3);
    let source = KafkaSource::open(&url(&cluster, "t"), bounded()).expect("a source");
    produce(&cluster, "t", 0, 5000..6000);
    produce(&cluster, "t", 2, 0..3);
    assert_eq!(source.partitions(), [0, 1, 2]);
    let mut reader = source.reader(source.partitions()).expect("a reader");
    let batches = read_until(&mut *reader, |batches| finished(batches) == 3);
    assert_eq!(numbers(&batches, 0), (0..5000).collect::<Vec<_>>());
    assert_eq!(numbers(&batches, 1), [0, 1, 2]);
    assert_eq!((covered(&batches, 0), covered(&batches, 1), covered(&batches, 2)), (0..5000, 0..3, 0..0));
    assert!(batches.iter().all(|batch| batch.columns.num_rows() <= 1000), "no more than asked for");
    let mut after = Vec::new();
    reader.read(1000, Duration::from_millis(50), &mut after).expect("nothing");
    assert!(after.is_empty(), "nothing follows the end: {after:?}");
}

#[test]
fn a_live_reader_tells_of_the_end_once_and_of_each_new_record() {
    let cluster = cluster(&[("t", 1)]);
    let source = KafkaSource::open(&url(&cluster, "t"), source_options()).expect("a source");
    let mut reader = source.reader(&[0]).expect("a reader");
    let mut batches = read_until(&mut *reader, |batches| !batches.is_empty());
    assert_eq!((batches.len(), batches[0].progress, batches[0].range.clone()), (1, Progress::AtEnd, 0..0));
    for n in 0..3 {
        produce(&cluster, "t", 0, [n]);
        let before = numbers(&batches, 0).len();
        batches.extend(read_until(&mut *reader, |new| before + numbers(new, 0).len() > n as usize));
    }
    batches
        .extend(read_until(&mut *reader, |new| batches.iter().chain(new).last().is_some_and(|b| b.progress == Progress::AtEnd)));
    assert_eq!((numbers(&batches, 0), covered(&batches, 0)), (vec![0, 1, 2], 0..3));
    let mut after = Vec::new();
    reader.read(1000, Duration::from_millis(50), &mut after).expect("nothing");
    assert!(after.is_empty(), "an end that is known is not told again: {after:?}");
}

#[test]
fn from_latest_skips_what_is_there() {
    let cluster = cluster(&[("t", 1)]);
    produce(&cluster, "t", 0, 0..10);
    let source =
        KafkaSource::open(&url(&cluster, "t"), SourceOptions { from_latest: true, ..source_options() }).expect("a source");
    produce(&cluster, "t", 0, 10..12);
    let mut reader = source.reader(&[0]).expect("a reader");
    let batches = read_until(&mut *reader, |batches| numbers(batches, 0).len() == 2);
    assert_eq!((numbers(&batches, 0), covered(&batches, 0)), (vec![10, 11], 10..12));
}

#[test]
fn bad_records_and_tombstones_are_dead_letters_with_their_place() {
    let cluster = cluster(&[("t", 2)]);
    let config = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).clone();
    let producer: BaseProducer = config.create().expect("a producer");
    producer.send(BaseRecord::<(), _>::to("t").partition(1).payload("nonsense")).map_err(|e| e.0).expect("room");
    producer.send(BaseRecord::<_, ()>::to("t").partition(1).key("k")).map_err(|e| e.0).expect("room");
    producer.flush(PATIENCE).expect("delivery");
    let source = KafkaSource::open(&url(&cluster, "t"), bounded()).expect("a source");
    let batches = read_until(&mut *source.reader(&[1]).expect("a reader"), |batches| finished(batches) == 1);
    let dead: Vec<_> = batches.iter().flat_map(|batch| &batch.dead).map(|d| (d.partition, d.offset, d.reason)).collect();
    assert_eq!(dead, [(1, 0, Reason::Malformed), (1, 1, Reason::EmptyPayload)]);
}

#[test]
fn a_missing_topic_is_named() {
    let cluster = cluster(&[("t", 1)]);
    let error = KafkaSource::open(&url(&cluster, "missing"), source_options()).err().expect("no such topic");
    assert!(matches!(&error, Error::Setup { problem, .. } if problem.contains("topic 'missing'")), "{error}");
}

#[test]
fn brokers_that_do_not_answer_are_named_with_the_reason() {
    let address = Address::parse("source 'in'", "kafka://127.0.0.1:1/t").expect("a good url");
    let config = ClientConfig::new().set("bootstrap.servers", &address.brokers).clone();
    let inquiry = Inquiry::new("source 'in'", &address, &config).expect("a client").patience(Duration::from_millis(500));
    let error = inquiry.partitions("t").expect_err("nobody listens there").to_string();
    assert!(error.starts_with("source 'in': the brokers at 127.0.0.1:1 do not answer (") && error.contains("refused"), "{error}");
}

#[test]
fn settings_that_freshet_decides_are_refused_and_unknown_ones_named_without_their_value() {
    for (key, value, part) in [
        ("group.id", "g", "the setting group.id is Freshet's: offsets are kept in the epoch log"),
        ("bootstrap.servers", "b", "the brokers come from the url"),
        ("isolation.level", "read_uncommitted", "must never count"),
        ("sasl.pasword", "secret", "the client refuses the setting sasl.pasword"),
    ] {
        let settings = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let options = SourceOptions { settings, ..source_options() };
        let error = KafkaSource::open("kafka://127.0.0.1:1/t", options).err().expect("a refused setting").to_string();
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
}

#[cfg(not(feature = "kafka-tls"))]
#[test]
fn a_build_without_tls_says_which_has_it() {
    for (key, value) in [("security.protocol", "SASL_SSL"), ("ssl.ca.location", "ca.pem")] {
        let settings = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let options = SourceOptions { settings, ..source_options() };
        let error = KafkaSource::open("kafka://127.0.0.1:1/t", options).err().expect("a refused setting").to_string();
        assert!(error.contains(key) && error.contains("--features kafka-tls"), "{error}");
    }
}

#[test]
fn an_offset_that_is_gone_stops_the_reader() {
    let cluster = cluster(&[("t", 1)]);
    produce(&cluster, "t", 0, 0..3);
    let mut source = KafkaSource::open(&url(&cluster, "t"), source_options()).expect("a source");
    source.stretches[0].start = 1000;
    let mut reader = source.reader(&[0]).expect("a reader");
    let (mut out, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let error = loop {
        assert!(Instant::now() < deadline && out.is_empty(), "no error but {out:?}");
        if let Err(error) = reader.read(10, Duration::from_millis(100), &mut out) {
            break error;
        }
    };
    assert!(error.to_string().contains("partition 0 of topic 't' does not hold offset 1000"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn a_topic_that_is_gone_stops_the_reader() {
    let cluster = cluster(&[("t", 1)]);
    let settings = [("topic.metadata.refresh.interval.ms", "100"), ("topic.metadata.propagation.max.ms", "0")];
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let source = KafkaSource::open(&url(&cluster, "t"), SourceOptions { settings, ..source_options() }).expect("a source");
    let mut reader = source.reader(&[0]).expect("a reader");
    read_until(&mut *reader, |batches| !batches.is_empty());
    cluster.topic_error("t", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).expect("an error to come");
    let (mut out, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while Instant::now() < deadline {
        if let Err(error) = reader.read(10, Duration::from_millis(20), &mut out) {
            assert!(error.to_string().contains("topic 't' or one of its partitions does not exist"), "{error}");
            return;
        }
    }
    panic!("the reader goes on without its topic");
}

#[test]
fn rows_keep_their_order_within_a_partition_through_a_full_queue() {
    let cluster = cluster(&[("t", 2)]);
    let options = sink_options(&[("queue.buffering.max.messages", "50"), ("linger.ms", "1")]);
    let mut sink = KafkaBatchSink::open(&url(&cluster, "t"), options).expect("a sink");
    assert!(sink.prepare(&raw(), &[0, 1, 2, 3]).expect("prepared").is_empty());
    for epoch in 0..5 {
        for partition in 0..4 {
            let first = i64::from(partition) * 10_000 + epoch as i64 * 100;
            sink.write(epoch as Epoch, partition, &rows(first..first + 100)).expect("written");
        }
        sink.seal(epoch as Epoch).expect("sealed");
    }
    sink.close().expect("closed");
    let source = KafkaSource::open(&url(&cluster, "t"), bounded()).expect("a source");
    let batches = read_until(&mut *source.reader(&[0, 1]).expect("a reader"), |batches| finished(batches) == 2);
    for partition in 0..4 {
        let own: Vec<_> = numbers(&batches, partition % 2).into_iter().filter(|n| n / 10_000 == i64::from(partition)).collect();
        let first = i64::from(partition) * 10_000;
        assert_eq!(own, (first..first + 500).collect::<Vec<_>>());
    }
}

#[test]
fn a_failed_delivery_is_told_by_close() {
    let cluster = cluster(&[("t", 1)]);
    let mut sink = KafkaBatchSink::open(&url(&cluster, "t"), sink_options(&[])).expect("a sink");
    sink.prepare(&raw(), &[0]).expect("prepared");
    cluster.topic_error("t", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).expect("an error to come");
    let result = sink.write(1, 0, &rows([1])).and_then(|()| sink.seal(1)).and_then(|()| sink.close());
    let error = result.expect_err("not delivered").to_string();
    assert!(error.starts_with("sink 'out': the user may not use topic 't'"), "{error}");
}

#[test]
fn offsets_for_peoples_tools_hold_up_no_end() {
    let cluster = cluster(&[("t", 1)]);
    let mut offsets = GroupOffsets::open(&url(&cluster, "t"), &source_options(), "job").expect("a client");
    offsets.commit(&[(0, 1)]);
    cluster.broker_down(1).expect("a broker that is away");
    offsets.commit(&[(0, 2)]);
    let begun = Instant::now();
    drop(offsets);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// Reads a topic from outside: key, value and the header `view` of each message.
fn messages(cluster: &Cluster, topic: &str, count: usize) -> Vec<(Option<String>, Option<String>, Option<String>)> {
    let config = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "outside").clone();
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&partitions).expect("assigned");
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let next = |_| {
        let message = consumer.poll(PATIENCE).expect("a message in time").expect("a message");
        let view = message.headers().map(|headers| text(headers.get(0).value).expect("a value"));
        (text(message.key()), text(message.payload()), view)
    };
    (0..count).map(next).collect()
}

fn commit(upserts: RecordBatch, deletes: RecordBatch) -> Commit {
    Commit {
        epoch: 7,
        watermark: Timestamp(0),
        processing_time: Timestamp(0),
        views: vec![ViewChanges { view: 0, upserts, deletes }],
        rejects: vec![],
        ledger: vec![],
    }
}

#[test]
fn changed_rows_become_keyed_messages_and_deletes_tombstones() {
    let cluster = cluster(&[("t", 1), ("t.late", 1), ("t.dead", 1)]);
    let mut sink = KafkaTableSink::open(&url(&cluster, "t"), sink_options(&[])).expect("a sink");
    let view = TableSchema { name: "names".to_owned(), columns: columns(), key: vec![1], appends: false, time_column: None };
    sink.prepare(std::slice::from_ref(&view)).expect("prepared");
    let deletes = rows([3]).project(&[1]).expect("the key");
    let late = LateEvent {
        view: "names".to_owned(),
        source: "in".to_owned(),
        partition: 2,
        offset: 5,
        window_start: Timestamp(0),
        window_end: Timestamp(60_000_000),
        event_time: Timestamp(27_000),
        watermark: Timestamp(61_000_000),
        event: r#"{"n":1}"#.to_owned(),
    };
    let dead = DeadLetter {
        source: "in".to_owned(),
        partition: 1,
        offset: 9,
        reason: Reason::Malformed,
        detail: "not JSON".to_owned(),
        payload: b"\"\xff".to_vec(),
    };
    let mut commit = commit(rows([1, 2]), deletes);
    commit.newest_rejects().late.push(late);
    commit.newest_rejects().dead.push(dead);
    let begun = Instant::now();
    assert!(sink.commit(&commit).expect("committed").is_empty());
    assert!(begun.elapsed() < PATIENCE / 10, "a flush does not linger");
    let some = |text: &str| Some(text.to_owned());
    let view = some("names");
    let expected = [
        (some(r#"{"n":1}"#), some(r#"{"name":"name 1","n":1}"#), view.clone()),
        (some(r#"{"n":2}"#), some(r#"{"name":"name 2","n":2}"#), view.clone()),
        (some(r#"{"n":3}"#), None, view),
    ];
    assert_eq!(messages(&cluster, "t", 3), expected);
    let place = |text: &str| (some(text), some("in"));
    let (key, value, source) = messages(&cluster, "t.late", 1).remove(0);
    assert_eq!(((key, source), value), (place("in/2/5"), some(r#"{"n":1}"#)));
    let (key, value, source) = messages(&cluster, "t.dead", 1).remove(0);
    assert_eq!(((key, source), value), (place("in/1/9"), some("\"�")));
}

#[test]
fn a_row_that_no_message_holds_is_returned_and_the_others_are_stored() {
    let cluster = cluster(&[("t", 1), ("t.late", 1), ("t.dead", 1)]);
    let options = sink_options(&[("message.max.bytes", "10000")]);
    let mut sink = KafkaTableSink::open(&url(&cluster, "t"), options).expect("a sink");
    sink.prepare(&[TableSchema { name: "v".to_owned(), columns: columns(), key: vec![1], appends: false, time_column: None }])
        .expect("prepared");
    let mut upserts = rows([1, 2]);
    let names: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(20_000), "y".to_owned()]));
    upserts = RecordBatch::try_new(upserts.schema(), vec![names, upserts.column(1).clone()]).expect("a batch");
    let refused = sink.commit(&commit(upserts, rows([]).project(&[1]).expect("the key"))).expect("committed");
    assert_eq!(refused.iter().map(|letter| letter.reason).collect::<Vec<_>>(), [Reason::DoesNotFit]);
    assert_eq!(messages(&cluster, "t", 1)[0].0.as_deref(), Some(r#"{"n":2}"#));
}

#[test]
fn a_view_without_a_key_is_refused() {
    let cluster = cluster(&[("t", 1), ("t.late", 1), ("t.dead", 1)]);
    let mut sink = KafkaTableSink::open(&url(&cluster, "t"), sink_options(&[])).expect("a sink");
    let view = TableSchema { name: "v".to_owned(), columns: columns(), key: vec![], appends: false, time_column: None };
    assert!(sink.prepare(&[view]).expect_err("no key").to_string().contains("view 'v' has no key"));
}
