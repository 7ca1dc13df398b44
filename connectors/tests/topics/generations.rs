//! What a later generation finds, and what an earlier one can no longer do.

use freshet_connectors::{BatchSink, Error, TableSink};

use super::broker::Broker;
use super::outside::Record;
use super::{MARKS, NEVER, batch_sink, commit, rows, sink_options, table_sink};

fn values(records: &[Record], partition: i32) -> Vec<i64> {
    let of = records.iter().filter(|record| record.partition == partition);
    of.map(|record| record.value.trim_start_matches(r#"{"n":"#).trim_end_matches('}').parse().expect("a number")).collect()
}

#[test]
fn rows_are_visible_once_flushed_with_their_epoch_and_a_mark_each() {
    let broker = Broker::shared();
    broker.create("marks", 2);
    let (mut sink, held) = batch_sink(broker, "marks", sink_options(1, &[NEVER, MARKS]), &[0, 1, 2]);
    assert!(held.is_empty());
    for partition in 0..3 {
        sink.write(4, partition, &rows([i64::from(partition) * 10])).expect("written");
        sink.write(4, partition, &rows([i64::from(partition) * 10 + 1])).expect("written");
    }
    sink.seal(4).expect("sealed");
    assert!(broker.committed("marks").is_empty(), "a transaction is open");
    sink.flush(4).expect("flushed");
    let records = broker.committed("marks");
    assert_eq!(values(&records, 1), [10, 11]);
    let mut marks: Vec<_> = records.iter().filter(|r| r.partition == 0).map(|r| (&*r.value, &*r.mark)).collect();
    marks.sort_unstable();
    let expected = [(r#"{"n":0}"#, "job/4/0"), (r#"{"n":1}"#, "job/4/1"), (r#"{"n":20}"#, "job/4/0"), (r#"{"n":21}"#, "job/4/1")];
    assert_eq!(marks, expected);
    drop(sink);
    let (_, held) = batch_sink(broker, "marks", sink_options(2, &[NEVER]), &[0, 1, 2, 3]);
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [(0, 4), (1, 4), (2, 4)]);
}

#[test]
fn sealed_epochs_become_visible_by_themselves_even_if_nothing_follows() {
    let broker = Broker::shared();
    broker.create("tail", 1);
    let (mut sink, _) = batch_sink(broker, "tail", sink_options(1, &[("freshet.commit.interval.ms", "40")]), &[0]);
    for epoch in 0..3 {
        sink.write(epoch, 0, &rows([epoch as i64])).expect("written");
        sink.seal(epoch).expect("sealed");
    }
    while values(&broker.committed("tail"), 0) != [0, 1, 2] {}
}

#[test]
fn a_flush_leaves_rows_of_a_later_epoch_out() {
    let broker = Broker::shared();
    broker.create("partial", 1);
    let (mut sink, _) = batch_sink(broker, "partial", sink_options(1, &[NEVER]), &[0]);
    sink.write(1, 0, &rows([1])).expect("written");
    sink.seal(1).expect("sealed");
    sink.write(2, 0, &rows([2])).expect("written");
    sink.flush(1).expect("flushed");
    assert_eq!(values(&broker.committed("partial"), 0), [1]);
    sink.seal(2).expect("sealed");
    sink.close().expect("closed");
    assert_eq!(values(&broker.committed("partial"), 0), [1, 2]);
}

#[test]
fn a_crash_between_rows_and_commit_leaves_nothing_and_the_replay_gives_each_row_once() {
    let broker = Broker::shared();
    broker.create("crash", 1);
    let (mut sink, _) = batch_sink(broker, "crash", sink_options(1, &[NEVER]), &[0]);
    sink.write(1, 0, &rows(0..10)).expect("written");
    sink.seal(1).expect("sealed");
    sink.flush(1).expect("flushed");
    sink.write(2, 0, &rows(10..20)).expect("written");
    sink.seal(2).expect("sealed");
    while broker.everything("crash").len() < 20 {}
    drop(sink);
    let (mut sink, held) = batch_sink(broker, "crash", sink_options(2, &[NEVER]), &[0]);
    assert_eq!(held.get(&0), Some(&1));
    assert_eq!(values(&broker.committed("crash"), 0), (0..10).collect::<Vec<_>>(), "the start has ended what was open");
    sink.write(2, 0, &rows(10..20)).expect("written");
    sink.seal(2).expect("sealed");
    sink.close().expect("closed");
    assert_eq!(values(&broker.committed("crash"), 0), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_zombie_is_fenced_and_its_rows_never_count_and_its_successor_goes_on() {
    let broker = Broker::shared();
    broker.create("zombie", 1);
    let (mut old, _) = batch_sink(broker, "zombie", sink_options(1, &[NEVER]), &[0]);
    old.write(1, 0, &rows([1])).expect("written");
    old.seal(1).expect("sealed");
    old.flush(1).expect("flushed");
    old.write(2, 0, &rows([666])).expect("written");
    let (mut new, held) = batch_sink(broker, "zombie", sink_options(2, &[NEVER]), &[0]);
    assert_eq!(held.get(&0), Some(&1));
    new.write(2, 0, &rows([2])).expect("written");
    let refused = old.seal(2).and_then(|()| old.flush(2)).expect_err("a zombie");
    assert!(matches!(refused, Error::Fenced { .. }), "{refused}");
    assert!(refused.to_string().contains("generation 2; this one is 1"), "{refused}");
    assert!(old.flush(2).is_err());
    // The zombie has shut its successor out for a moment, and this is no reason to end.
    new.seal(2).expect("sealed");
    new.flush(2).expect("flushed");
    new.write(3, 0, &rows([3])).expect("written");
    new.seal(3).expect("sealed");
    new.close().expect("closed");
    assert_eq!(values(&broker.committed("zombie"), 0), [1, 2, 3]);
}

#[test]
fn an_older_generation_cannot_start() {
    let broker = Broker::shared();
    broker.create("late", 1);
    batch_sink(broker, "late", sink_options(7, &[]), &[0]);
    let options = super::named("late", sink_options(6, &[]));
    let mut sink = freshet_connectors::kafka::KafkaBatchSink::open(&broker.url("late"), options).expect("a sink");
    let error = sink.prepare(&super::table(vec![]), &[0]).expect_err("older");
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
}

#[test]
fn a_reset_forgets_the_epoch_and_keeps_the_records() {
    let broker = Broker::shared();
    broker.create("reset", 1);
    let (mut sink, _) = batch_sink(broker, "reset", sink_options(1, &[NEVER]), &[0]);
    sink.write(9, 0, &rows([9])).expect("written");
    sink.seal(9).expect("sealed");
    sink.close().expect("closed");
    let mut options = sink_options(2, &[NEVER]);
    options.past = freshet_connectors::Past::Forgotten;
    let (mut sink, held) = batch_sink(broker, "reset", options, &[0]);
    assert!(held.is_empty(), "{held:?}");
    sink.write(1, 0, &rows([1])).expect("written");
    sink.seal(1).expect("sealed");
    sink.close().expect("closed");
    assert_eq!(values(&broker.committed("reset"), 0), [9, 1]);
    assert_eq!(batch_sink(broker, "reset", sink_options(3, &[]), &[0]).1.get(&0), Some(&1));
}

#[test]
fn views_are_committed_with_their_epoch_and_zombies_of_theirs_are_fenced() {
    let broker = Broker::shared();
    broker.create("views", 1);
    let (mut old, held) = table_sink(broker, "views", sink_options(1, &[]));
    assert_eq!(held, None);
    old.commit(&commit(3, [1, 2])).expect("committed");
    let (mut new, held) = table_sink(broker, "views", sink_options(2, &[]));
    assert_eq!(held, Some(3));
    let refused = old.commit(&commit(4, [666])).expect_err("a zombie");
    assert!(matches!(refused, Error::Fenced { .. }), "{refused}");
    new.commit(&commit(4, [3])).expect("committed");
    let records = broker.committed("views");
    assert_eq!(values(&records, 0), [1, 2, 3]);
    assert_eq!((&*records[2].key, &*records[2].mark), (r#"{"n":3}"#, "job/4/0"));
    assert_eq!(table_sink(broker, "views", sink_options(3, &[])).1, Some(4));
}
