//! Rows that are in the topic exactly once, whatever ends the sink or the broker, and whenever.

use std::thread;
use std::time::{Duration, Instant};

use freshet_connectors::{BatchSink, TableSink};
use freshet_model::Epoch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::broker::Broker;
use super::{MARKS, batch_sink, commit, rows, sink_options, table_sink};

/// A busy machine may take long to start a broker.
const LONG: (&str, &str) = ("freshet.outage.limit.ms", "300000");

const PARTITIONS: [i32; 3] = [0, 1, 2];

/// Returns the rows of a partition in an epoch: always the same, and some epochs have none.
fn numbers(epoch: Epoch, partition: i32) -> Vec<i64> {
    let count = (epoch.wrapping_mul(2_654_435_761).wrapping_add(partition as u64 * 97) >> 3) % 7;
    (0..count as i64).map(|n| epoch as i64 * 1000 + i64::from(partition) * 100 + n).collect()
}

/// Checks that a topic with as many partitions holds the rows of these epochs once, in order.
fn assert_once(broker: &Broker, topic: &str, epochs: Epoch) {
    let records = broker.committed(topic);
    for partition in PARTITIONS {
        let found: Vec<_> =
            records.iter().filter(|r| r.partition == partition).map(|r| (r.value.clone(), r.mark.clone())).collect();
        let row = |epoch, (index, n)| (format!(r#"{{"n":{n}}}"#), format!("job/{epoch}/{index}"));
        let of = |epoch| numbers(epoch, partition).into_iter().enumerate().map(move |each| row(epoch, each));
        let expected: Vec<_> = (0..epochs).flat_map(of).collect();
        assert_eq!(found, expected, "partition {partition}");
    }
}

/// Writes epochs into a topic from where it stands, until they are there or `crash` says so before a step; returns whether they are.
fn generation(broker: &Broker, topic: &str, generation: u64, epochs: Epoch, mut crash: impl FnMut() -> bool) -> bool {
    let settings = [("freshet.commit.interval.ms", "5"), LONG, MARKS];
    let (mut sink, held) = batch_sink(broker, topic, sink_options(generation, &settings), &PARTITIONS);
    let first = PARTITIONS.iter().map(|partition| held.get(partition).map_or(0, |held| held + 1)).min().unwrap_or(0);
    for epoch in first..epochs {
        for partition in PARTITIONS {
            let numbers = numbers(epoch, partition);
            if numbers.is_empty() || held.get(&partition).is_some_and(|&held| epoch <= held) {
                continue;
            }
            let (one, other) = numbers.split_at(numbers.len() / 2);
            for part in [one, other] {
                if crash() {
                    return false;
                }
                sink.write(epoch, partition, &rows(part.iter().copied())).expect("written");
            }
        }
        if crash() {
            return false;
        }
        sink.seal(epoch).expect("sealed");
        if epoch % 5 == 4 {
            sink.flush(epoch).expect("flushed");
        }
    }
    sink.close().expect("closed");
    true
}

#[test]
fn random_crashes_of_the_sink_leave_each_row_once() {
    const EPOCHS: Epoch = 200;
    let broker = Broker::shared();
    for seed in [1, 2] {
        let topic = format!("crashes-{seed}");
        broker.create(&topic, 3);
        let mut random = StdRng::seed_from_u64(seed);
        let mut number = 1;
        while !generation(broker, &topic, number, EPOCHS, || random.random_ratio(1, 150)) {
            number += 1;
        }
        assert!(number > 3, "{number} generations");
        assert_once(broker, &topic, EPOCHS);
    }
}

#[test]
fn a_broker_that_is_killed_again_and_again_is_waited_for_and_each_row_is_there_once() {
    const EPOCHS: Epoch = 1500;
    let mut broker = Broker::start();
    broker.create("rows", 3);
    broker.create("views", 1);
    broker.create("views.late", 1);
    broker.create("views.dead", 1);
    let (rows, views) = (Broker::clone_address(&broker), Broker::clone_address(&broker));
    let pace = Duration::from_millis(8);
    let rows = thread::spawn(move || {
        // The pace lets the kills come in the midst of it.
        let done = generation(&rows, "rows", 1, EPOCHS, || {
            thread::sleep(pace / 4);
            false
        });
        assert!(done);
    });
    let views = thread::spawn(move || {
        let (mut sink, _) = table_sink(&views, "views", sink_options(1, &[LONG]));
        for epoch in 0..EPOCHS {
            sink.commit(&commit(epoch, [epoch as i64])).expect("committed");
            thread::sleep(pace);
        }
    });
    let (mut random, mut kills) = (StdRng::seed_from_u64(3), 0);
    while !(rows.is_finished() && views.is_finished()) && kills < 3 {
        thread::sleep(Duration::from_millis(random.random_range(500..2000)));
        broker.kill();
        thread::sleep(Duration::from_millis(random.random_range(0..3000)));
        broker.restart();
        broker.wait();
        kills += 1;
    }
    rows.join().expect("rows");
    views.join().expect("views");
    assert!(kills >= 2, "{kills} kills");
    assert_once(&broker, "rows", EPOCHS);
    let found: Vec<_> = broker.committed("views").into_iter().map(|record| record.value).collect();
    assert_eq!(found, (0..EPOCHS).map(|epoch| format!(r#"{{"n":{epoch}}}"#)).collect::<Vec<_>>());
}

#[test]
fn a_broker_that_stays_away_is_given_up_after_the_limit() {
    let mut broker = Broker::start();
    broker.create("away", 1);
    let settings = [("freshet.outage.limit.ms", "3000"), ("freshet.commit.interval.ms", "0")];
    let (mut sink, _) = batch_sink(&broker, "away", sink_options(1, &settings), &[0]);
    sink.write(1, 0, &rows([1])).expect("written");
    sink.seal(1).expect("sealed");
    sink.flush(1).expect("flushed");
    broker.kill();
    sink.write(2, 0, &rows([2])).expect("taken");
    sink.seal(2).expect("taken");
    let begun = Instant::now();
    let error = sink.flush(2).expect_err("no broker");
    assert!(error.is_transient() && error.to_string().contains("given up after"), "{error}");
    assert!(begun.elapsed() > Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}
