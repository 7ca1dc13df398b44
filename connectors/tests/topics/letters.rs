//! Dead letters in a topic: written with their epochs, read back, put back once.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_connectors::letters::{self, Access, Archive, Kind, Letter, Outcome, RejectsOptions, Replay, Shelf};
use freshet_connectors::{Error, SinkOptions, TableSink, open_rejects_sink};
use freshet_model::{DeadLetter, Reason, Timestamp};

use super::broker::Broker;
use super::{commit, sink_options};

const MAX_PAYLOAD_BYTES: usize = 900_000;

fn place(broker: &Broker, topic: &str, generation: u64) -> Box<dyn TableSink> {
    let topics = BTreeMap::from([("clicks".to_owned(), "clicks-topic".to_owned())]);
    let rejects = RejectsOptions { kind: Kind::Dead, max_payload_bytes: MAX_PAYLOAD_BYTES, topics };
    let options = SinkOptions { job: topic.to_owned(), ..sink_options(generation, &[]) };
    open_rejects_sink(&broker.url(topic), options, rejects).expect("a place")
}

fn epoch(epoch: u64, sizes: &[usize]) -> freshet_model::Commit {
    let mut commit = commit(epoch, []);
    commit.views.clear();
    commit.processing_time = Timestamp(1_000_000 * epoch as i64);
    for (offset, size) in sizes.iter().enumerate() {
        commit.newest_rejects().dead.push(DeadLetter {
            source: "clicks".to_owned(),
            partition: 1,
            offset: 10 * epoch as i64 + offset as i64,
            reason: Reason::Malformed,
            detail: "not JSON".to_owned(),
            payload: vec![b'a' + u8::try_from(epoch).expect("few epochs"); *size],
        });
    }
    commit
}

fn archive(broker: &Broker, topic: &str) -> Box<dyn Archive> {
    let (job, name) = (topic.to_owned(), "out".to_owned());
    let shelf = Shelf { job, name, url: broker.url(topic), alone: true, settings: BTreeMap::new() };
    letters::open(&shelf, Kind::Dead).expect("an archive")
}

fn read(broker: &Broker, topic: &str) -> Vec<Letter> {
    let mut all = Vec::new();
    archive(broker, topic).read(&mut |letter| all.push(letter)).expect("letters");
    all.sort_by_key(|letter| letter.place.clone());
    all
}

#[test]
fn dead_letters_are_in_their_topic_once_with_all_that_is_known_of_them() {
    let broker = Broker::shared();
    let topic = "letters";
    let mut old = place(broker, topic, 1);
    assert_eq!(old.prepare(&[]).expect("prepared"), None);
    old.commit(&epoch(1, &[3, MAX_PAYLOAD_BYTES + 5])).expect("committed");
    let mut new = place(broker, topic, 2);
    assert_eq!(new.prepare(&[]).expect("prepared"), Some(1));
    assert!(matches!(old.commit(&epoch(2, &[1])), Err(Error::Fenced { .. })));
    new.commit(&epoch(2, &[0])).expect("committed");

    let all = read(broker, topic);
    let places: Vec<_> = all.iter().map(|letter| letter.place.to_string()).collect();
    assert_eq!(places, ["clicks/1/10", "clicks/1/11", "clicks/1/20"]);
    let Letter { job, epoch, time, reason, detail, payload, bytes, .. } = &all[0];
    assert_eq!((&**job, *epoch, *time), (topic, Some(1), Some(Timestamp(1_000_000))));
    assert_eq!((&**reason, &**detail, payload.as_slice(), *bytes), ("malformed", "not JSON", &b"bbb"[..], Some(3)));
    assert_eq!((all[1].payload.len(), all[1].is_whole()), (MAX_PAYLOAD_BYTES, false));
    assert!(all[2].is_whole() && all[2].payload.is_empty());
}

#[test]
fn letters_are_put_back_once_and_a_replay_shuts_out_the_one_before() {
    let broker = Broker::shared();
    let (topic, to) = ("letters-kept", "letters-again");
    broker.create(to, 3);
    let mut sink = place(broker, topic, 1);
    sink.prepare(&[]).expect("prepared");
    sink.commit(&epoch(1, &[3, 4, 5])).expect("committed");
    let target = |access| letters::open_target(&broker.url(to), topic, &BTreeMap::new(), access).expect("a target");
    let put_back = |limit: i64| {
        let mut outcomes = Vec::new();
        let how = Replay { wanted: &|letter| letter.place.offset < limit, dry: false, at: Timestamp(0) };
        let told = &mut |_: &Letter, outcome| outcomes.push(outcome);
        letters::replay(&mut *archive(broker, topic), &mut *target(Access::Write), &how, told).expect("replayed");
        outcomes.iter().filter(|outcome| **outcome == Outcome::Replayed).count()
    };
    assert!(target(Access::Read).replayed().expect("an empty ledger").is_empty());
    assert_eq!(put_back(11), 1);
    let mut slow = target(Access::Write);
    let known = slow.replayed().expect("a ledger");
    assert_eq!(known.iter().map(ToString::to_string).collect::<Vec<_>>(), ["clicks/1/10"]);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!((put_back(12), put_back(12), put_back(99)), (1, 0, 1));
    let error = slow.put(&read(broker, topic), Timestamp(0)).expect_err("a newer replay has begun");
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    let mut records: Vec<_> = broker.committed(to).into_iter().map(|record| (record.partition, record.value)).collect();
    records.sort();
    assert_eq!(records, ["bbb", "bbbb", "bbbbb"].map(|value| (1, value.to_owned())));
    assert_eq!(target(Access::Read).replayed().expect("a ledger").len(), 3);
}
