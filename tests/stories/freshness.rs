//! A job that runs on: a row follows its event at once, and the last window closes though nothing comes any more.

use std::time::Duration;

use jiff::Timestamp;

use freshet_harness::freshet::Running;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{Database, Postgres};

/// Generous: the machine may be building something else. Freshness itself is measured in `benches/versus`.
const LIMIT: Duration = Duration::from_secs(60);

fn page_view(time: Timestamp, page: &str) -> Option<Vec<u8>> {
    Some(format!(r#"{{"event_time": "{time}", "user_id": "u", "page_url": "{page}", "event_type": "page_view"}}"#).into_bytes())
}

/// Starts the job on a topic of two partitions; only partition 0 will bring anything.
fn start(name: &str, job: Job) -> (Database, Running) {
    let kafka = Kafka::shared();
    kafka.create(&format!("{name}_enriched"), 1);
    let database = Postgres::shared().database(name);
    let running = job.run_on(kafka, &database).args("-w 2").start();
    (database, running)
}

#[test]
fn a_row_follows_its_event_and_its_later_events() {
    let kafka = Kafka::shared();
    kafka.create("fresh", 2);
    let (database, running) = start("fresh", Job::user_activity("fresh"));
    let views = "SELECT sum(view_count)::bigint FROM page_view_counts WHERE page_url = '/cart'";
    let now = Timestamp::now();
    for count in 1..=3 {
        kafka.produce("fresh", 0, &[page_view(now, "/cart")]);
        database.wait_for(views, count, LIMIT);
    }
    running.interrupt();
    running.wait(LIMIT).expect_success("a run that was interrupted");
    assert_eq!(database.number(views), Some(3));
}

#[test]
fn idle_partitions_let_the_last_window_close() {
    let kafka = Kafka::shared();
    kafka.create("idle", 2);
    let job = Job::user_activity("idle");
    let (database, running) = start("idle", impatient(job));
    // The other partition stays empty for ever, and no later event comes: only idleness and the clock can move the watermark, from
    // the event, two seconds before its window's end, past that end.
    let minute = Timestamp::now().as_second() / 60 * 60;
    let time = Timestamp::from_second(minute - 30 * 60 + 58).expect("a time");
    kafka.produce("idle", 0, &[page_view(time, "/last")]);
    database.wait_for("SELECT view_count FROM page_view_counts WHERE page_url = '/last'", 1, LIMIT);
    let closed = "SELECT count(*) FROM freshet.progress p, page_view_counts v WHERE p.watermark >= v.window_end";
    database.wait_for(closed, 1, LIMIT);
    // What comes for the closed window now is late, and says so.
    kafka.produce("idle", 0, &[page_view(time, "/last")]);
    database.wait_for("SELECT count(*) FROM freshet.late_events WHERE view = 'page_view_counts'", 1, LIMIT);
    assert_eq!(database.number("SELECT sum(view_count)::bigint FROM page_view_counts"), Some(1));
    running.interrupt();
    running.wait(LIMIT).expect_success("a run that was interrupted");
}

/// Shortens the delay, and the time after which a silent partition no longer holds the others back.
fn impatient(job: Job) -> Job {
    job.replace("delay = \"2m\"", "delay = \"1s\"").replace("idle_timeout = \"30s\"", "idle_timeout = \"1s\"")
}
