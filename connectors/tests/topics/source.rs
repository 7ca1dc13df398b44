//! Where reading begins, what is no longer there, and a topic that is another one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use freshet_connectors::kafka::{GroupOffsets, KafkaSource};
use freshet_connectors::{Error, Reader, Source, SourceOptions};
use freshet_model::{Batch, Progress};

use super::broker::Broker;
use super::columns;

const PATIENCE: Duration = Duration::from_secs(30);

fn options() -> SourceOptions {
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

fn open(broker: &Broker, topic: &str) -> KafkaSource {
    KafkaSource::open(&broker.url(topic), options()).expect("a source")
}

fn numbers(batches: &[Batch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.columns.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn read_to_end(reader: &mut dyn Reader) -> Vec<Batch> {
    let (mut batches, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while !batches.last().is_some_and(|batch: &Batch| batch.progress == Progress::AtEnd) {
        assert!(Instant::now() < deadline, "no end of {batches:?}");
        reader.read(1000, Duration::from_millis(100), &mut batches).expect("a readable topic");
    }
    batches
}

#[test]
fn reading_begins_at_the_offset_given() {
    let broker = Broker::shared();
    broker.create("from", 2);
    broker.produce("from", 0, 0..10);
    let source = open(broker, "from");
    broker.produce("from", 0, 10..15);
    let mut reader = source.reader_from(&[(0, Some(7))]).expect("a reader");
    let batches = read_to_end(&mut *reader);
    assert_eq!((batches[0].range.start, numbers(&batches)), (7, (7..15).collect()));
    // After the source was opened there are offsets that it has not seen.
    let mut reader = source.reader_from(&[(0, Some(12)), (1, None)]).expect("a reader");
    let mut batches = Vec::new();
    while numbers(&batches).len() < 3 {
        reader.read(1000, Duration::from_millis(100), &mut batches).expect("a readable topic");
    }
    assert_eq!(numbers(&batches), [12, 13, 14]);
    assert_eq!(read_to_end(&mut *source.reader_from(&[(0, Some(15))]).expect("the end itself")).len(), 1);
}

#[test]
fn a_partition_that_is_held_brings_nothing_until_it_goes_on_where_it_stood() {
    let broker = Broker::shared();
    broker.create("held", 2);
    broker.produce("held", 0, 0..5000);
    broker.produce("held", 1, 10_000..15_000);
    let source = open(broker, "held");
    let mut reader = source.reader_from(&[(0, Some(0)), (1, Some(0))]).expect("a reader");
    let (mut batches, begun) = (Vec::new(), Instant::now());
    let of =
        |batches: &[Batch], partition| batches.iter().filter(|batch| batch.partition == partition).cloned().collect::<Vec<_>>();
    for held in [0, 1, 0, 1] {
        reader.hold(held, true).expect("a partition that can be held");
        let (before, other) = (numbers(&of(&batches, held)).len(), numbers(&of(&batches, 1 - held)).len());
        while numbers(&of(&batches, 1 - held)).len() < (other + 700).min(5000) {
            assert!(begun.elapsed() < PATIENCE, "nothing comes of the other one");
            reader.read(500, Duration::from_millis(100), &mut batches).expect("a readable topic");
        }
        assert_eq!(numbers(&of(&batches, held)).len(), before, "partition {held} is held");
        reader.hold(held, false).expect("a partition that can go on");
    }
    while numbers(&batches).len() < 10_000 {
        assert!(begun.elapsed() < PATIENCE, "{} of 10000", numbers(&batches).len());
        reader.read(500, Duration::from_millis(100), &mut batches).expect("a readable topic");
    }
    assert_eq!(numbers(&of(&batches, 0)), (0..5000).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(numbers(&of(&batches, 1)), (10_000..15_000).collect::<Vec<_>>(), "each once, in order");
}

#[test]
fn offsets_that_are_gone_or_not_there_are_named_with_what_is() {
    let broker = Broker::shared();
    broker.create("gone", 1);
    broker.produce("gone", 0, 0..10);
    let source = open(broker, "gone");
    broker.delete_records("gone", 0, 4);
    let reader = open(broker, "gone");
    for (source, offset, part) in [
        (&reader, 3, "partition 0 of topic 'gone' does not hold offset 3, only 4 to 10; records were deleted"),
        (&source, 11, "does not hold offset 11, only 4 to 10; records that were read are gone"),
    ] {
        let error = source.reader_from(&[(0, Some(offset))]).err().expect("no such offset");
        assert!(matches!(error, Error::Setup { .. }) && error.to_string().contains(part), "{error}");
        assert!(error.to_string().starts_with("source 'in': ") && error.to_string().contains("--reset"), "{error}");
    }
    // Deleted between the opening of the source and the first read: the reader notices.
    let mut reader = source.reader_from(&[(0, Some(2))]).expect("a reader");
    let (mut out, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let error = loop {
        assert!(Instant::now() < deadline && numbers(&out).is_empty(), "no error but {out:?}");
        if let Err(error) = reader.read(10, Duration::from_millis(100), &mut out) {
            break error;
        }
    };
    assert!(error.to_string().contains("does not hold offset 2"), "{error}");
}

#[test]
fn a_topic_that_is_created_anew_is_another_one_and_ends_its_reader() {
    let broker = Broker::shared();
    // Of the empty one no offset is out of range afterwards.
    for (topic, count) in [("anew", 5), ("anew-empty", 0)] {
        broker.create(topic, 1);
        broker.produce(topic, 0, 0..count);
        let source = open(broker, topic);
        let before = source.identity().expect("an identity");
        assert!(before.starts_with(&format!("kafka topic {topic}, id ")), "{before}");
        assert_eq!(open(broker, topic).identity().as_ref(), Some(&before));
        let mut reader = source.reader(&[0]).expect("a reader");
        assert_eq!(numbers(&read_to_end(&mut *reader)), (0..count).collect::<Vec<_>>());
        broker.delete(topic);
        broker.create(topic, 1);
        broker.produce(topic, 0, 100..110);
        let (mut out, begun) = (Vec::new(), Instant::now());
        let error = loop {
            assert!(begun.elapsed() < PATIENCE, "no error but {out:?}");
            if let Err(error) = reader.read(10, Duration::from_millis(20), &mut out) {
                break error;
            }
        };
        let words = ["created anew", "or one of its partitions does not exist"];
        assert!(matches!(error, Error::Setup { .. }) && words.iter().any(|part| error.to_string().contains(part)), "{error}");
        assert_ne!(open(broker, topic).identity(), Some(before));
    }
}

#[test]
fn offsets_are_shown_to_lag_tools() {
    let broker = Broker::shared();
    broker.create("lag", 2);
    broker.produce("lag", 0, 0..5);
    let mut offsets = GroupOffsets::open(&broker.url("lag"), &options(), "shop").expect("a client");
    let deadline = Instant::now() + PATIENCE;
    while broker.group_offset("freshet-shop", "lag", 0) != Some(3) {
        assert!(Instant::now() < deadline, "no offset");
        offsets.commit(&[(0, 3), (1, 0)]);
    }
    offsets.commit(&[]);
}
