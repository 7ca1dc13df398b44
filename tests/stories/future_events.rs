//! An event whose time lies too far in the future is refused for good, however often it is read.

use std::time::Duration;

use freshet_harness::freshet::Running;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{Database, Postgres};
use freshet_harness::server::wait_for;

const LIMIT: Duration = Duration::from_secs(60);
/// What the source allows.
const SKEW: Duration = Duration::from_secs(300);
/// How far beyond that the event is: long enough for the job to read it in time.
const BEYOND: Duration = Duration::from_secs(8);

fn event(time: jiff::Timestamp) -> Option<Vec<u8>> {
    Some(format!(r#"{{"event_time": "{time}", "user_id": "u", "page_url": "/cart", "event_type": "page_view"}}"#).into_bytes())
}

/// Returns the records that the tables account for: all, and those refused.
fn account(database: &Database) -> (Option<i64>, Option<i64>) {
    let of = |column| database.number(&format!("SELECT {column}::bigint FROM freshet.ledger WHERE view = 'page_view_counts'"));
    (of("read"), of("dead_letters"))
}

fn wait_for_account(running: &mut Running, database: &Database, (read, dead): (i64, i64)) {
    let expected = (Some(read), Some(dead));
    let there = wait_for(LIMIT, || account(database) == expected || !running.is_running());
    assert!(there && running.is_running(), "{:?} is not {expected:?}\n{}", account(database), running.output());
}

#[test]
fn an_event_too_far_ahead_stays_refused_when_it_is_read_again_later() {
    let (kafka, topic) = (Kafka::shared(), "future_events");
    kafka.create(topic, 1);
    kafka.create("future_events_enriched", 1);
    let database = Postgres::shared().database(topic);
    // Without a checkpoint everything is read again.
    let job = Job::user_activity(topic).append("[checkpoint]\ninterval = \"1h\"\n");

    kafka.produce(topic, 0, &[event(jiff::Timestamp::now())]);
    let mut first = job.run_on(kafka, &database).start();
    wait_for_account(&mut first, &database, (1, 0));
    let now = jiff::Timestamp::now();
    let ahead = event(now + SKEW + BEYOND);
    kafka.produce(topic, 0, &[ahead.clone(), event(now + SKEW - BEYOND)]);
    wait_for_account(&mut first, &database, (3, 1));
    first.signal("KILL");
    first.wait(LIMIT);

    let is_time = || jiff::Timestamp::now() > now + BEYOND;
    assert!(wait_for(LIMIT, is_time), "time passes");
    let mut second = job.run_on(kafka, &database).args("-w 2").start();
    kafka.produce(topic, 0, std::slice::from_ref(&ahead));
    wait_for_account(&mut second, &database, (4, 1));
    second.interrupt();
    second.wait(LIMIT).expect_success("the second run");

    let rows = database.connect().query(r#"SELECT "offset"::bigint, reason, payload FROM freshet.dead_letters"#, &[]);
    let rows: Vec<(i64, String, Option<Vec<u8>>)> =
        rows.expect("freshet.dead_letters can be read").iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(rows, [(1, "time_out_of_range".to_owned(), ahead)], "refused once, with its payload");
    let counted = database.number("SELECT sum(view_count)::bigint FROM page_view_counts");
    assert_eq!(counted, Some(3), "what was refused in one epoch is an event in a later one");
}
