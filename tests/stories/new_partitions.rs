//! A topic gets more partitions while the job runs: they are read from their beginning, and each event counts once.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_harness::freshet::Running;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{Database, Postgres};
use freshet_harness::server::wait_for;

const LIMIT: Duration = Duration::from_secs(60);
/// Events of each portion.
const PORTION: i64 = 200;

/// Makes events that say who they are.
fn portion(name: &str) -> Vec<Option<Vec<u8>>> {
    let time = jiff::Timestamp::now();
    let event = |number| {
        let who = format!(r#""user_id": "{name}-{number}", "page_url": "/cart", "event_type": "page_view""#);
        Some(format!(r#"{{"event_time": "{time}", {who}}}"#).into_bytes())
    };
    (0..PORTION).map(event).collect()
}

fn wait_for_number(running: &mut Running, database: &Database, query: &str, expected: i64) {
    let there = wait_for(LIMIT, || database.number(query) == Some(expected) || !running.is_running());
    if !running.is_running() {
        // What it said last is still on its way.
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(there && running.is_running(), "{query}: {:?}, not {expected}\n{}", database.number(query), running.output());
}

#[test]
fn partitions_that_come_while_the_job_runs_are_read_from_their_beginning() {
    let (kafka, topic) = (Kafka::shared(), "new_partitions");
    kafka.create(topic, 2);
    kafka.create("new_partitions_enriched", 2);
    kafka.produce(topic, 0, &portion("unseen"));
    let database = Postgres::shared().database(topic);
    let counted = "SELECT counted::bigint FROM freshet.ledger WHERE view = 'page_view_counts'";
    // A job that begins at the end misses nothing of what comes later.
    let job = Job::user_activity(topic).replace("format = \"json\"", "format = \"json\"\nstart = \"latest\"");
    let mut running = job.run_on(kafka, &database).args("-w 2").start();
    wait_for_number(&mut running, &database, "SELECT count(*) FROM freshet.progress WHERE epoch > 0", 1);
    kafka.produce(topic, 0, &portion("a"));
    kafka.produce(topic, 1, &portion("b"));
    wait_for_number(&mut running, &database, counted, 2 * PORTION);

    kafka.grow(topic, 4);
    kafka.produce(topic, 2, &portion("c"));
    kafka.produce(topic, 3, &portion("d"));
    kafka.produce(topic, 0, &portion("e"));
    wait_for_number(&mut running, &database, counted, 5 * PORTION);
    assert!(running.output().contains("topic 'new_partitions' has 4 partitions now, and had 2"), "{}", running.output());
    running.signal("KILL");
    running.wait(LIMIT);

    let mut running = job.run_on(kafka, &database).args("-w 3").start();
    kafka.produce(topic, 3, &portion("f"));
    wait_for_number(&mut running, &database, counted, 6 * PORTION);
    running.interrupt();
    running.wait(LIMIT).expect_success("the last run");

    assert_eq!(database.number("SELECT sum(view_count)::bigint FROM page_view_counts"), Some(6 * PORTION));
    let mut enriched = BTreeMap::new();
    kafka.read("new_partitions_enriched", |record| {
        let event: serde_json::Value = serde_json::from_slice(&record.payload).expect("JSON");
        *enriched.entry(event["user_id"].to_string()).or_insert(0) += 1;
    });
    assert_eq!(enriched.len(), 6 * usize::try_from(PORTION).expect("few"), "each event");
    assert!(enriched.values().all(|times| *times == 1), "once: {enriched:?}");
}
