//! Each step of a transaction failing, waiting or being where the sink ends.
//!
//! Fail points are the whole process's, so this is one test, and the others bear what it does to them: their sinks try again.

use fail::FailScenario;
use freshet_connectors::{BatchSink, TableSink};

use super::broker::Broker;
use super::{NEVER, batch_sink, commit, rows, sink_options, table_sink};

const POINTS: [&str; 5] =
    ["kafka::begin", "kafka::half_produced", "kafka::offsets_added", "kafka::endtxn_sent", "kafka::committed"];

#[test]
fn each_step_may_fail_or_be_late_or_the_last_one_and_rows_are_there_once() {
    let scenario = FailScenario::setup();
    let broker = Broker::shared();
    for (index, point) in POINTS.iter().enumerate() {
        for (number, action) in ["2*return", "1*sleep(300)", "1*sleep(50)->2*return", "return"].iter().enumerate() {
            let topic = format!("failing-{index}-{number}");
            broker.create(&topic, 1);
            let views = format!("{topic}-views");
            for topic in [&views, &format!("{views}.late"), &format!("{views}.dead")] {
                broker.create(topic, 1);
            }
            let (mut sink, _) = batch_sink(broker, &topic, sink_options(1, &[NEVER]), &[0]);
            let (mut table, _) = table_sink(broker, &views, sink_options(1, &[("freshet.outage.limit.ms", "300")]));
            for epoch in 0..3_u64 {
                if epoch == 1 {
                    fail::cfg(*point, action).expect("an action");
                }
                sink.write(epoch, 0, &rows([epoch as i64])).expect("taken");
                sink.seal(epoch).expect("taken");
                if *action == "return" && epoch == 1 {
                    // This generation ends here, before, in or after its transaction. A failure after the request for its end is found
                    // to be none if the request has arrived.
                    let done = table.commit(&commit(epoch, [epoch as i64])).is_ok();
                    assert!(done == (*point == "kafka::committed") || *point == "kafka::endtxn_sent", "{point}");
                    break;
                }
                sink.flush(epoch).expect("flushed");
                table.commit(&commit(epoch, [epoch as i64])).expect("committed");
            }
            fail::remove(*point);
            drop((sink, table));
            replay(broker, &topic, &views);
            let values = |topic: &str| broker.committed(topic).into_iter().map(|record| record.value).collect::<Vec<_>>();
            let expected: Vec<_> = (0..3).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
            assert_eq!((values(&topic), values(&views)), (expected.clone(), expected), "{point} {action}");
        }
    }
    scenario.teardown();
}

/// Starts the next generation, which writes what is missing of three epochs.
fn replay(broker: &Broker, topic: &str, views: &str) {
    let (mut sink, held) = batch_sink(broker, topic, sink_options(2, &[NEVER]), &[0]);
    let (mut table, held_views) = table_sink(broker, views, sink_options(2, &[]));
    for epoch in held.get(&0).map_or(0, |held| held + 1)..3 {
        sink.write(epoch, 0, &rows([epoch as i64])).expect("written");
        sink.seal(epoch).expect("sealed");
    }
    sink.close().expect("closed");
    for epoch in held_views.map_or(0, |held| held + 1)..3 {
        table.commit(&commit(epoch, [epoch as i64])).expect("committed");
    }
}
