//! A team's own tables: as the DDL of the Spark project made them, or with `timestamptz`, `text` and a column more.

use std::time::Duration;

use jiff::Timestamp;

use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{Database, Postgres};

const LIMIT: Duration = Duration::from_secs(120);

const AS_IN_THE_SPARK_PROJECT: &str = "
    CREATE TABLE page_view_counts (window_start TIMESTAMP, window_end TIMESTAMP, page_url VARCHAR(255), view_count BIGINT,
        PRIMARY KEY (window_start, page_url));
    CREATE TABLE active_users (window_start TIMESTAMP PRIMARY KEY, window_end TIMESTAMP, active_users_count BIGINT);
    CREATE TABLE user_sessions (user_id VARCHAR(50), session_start_time TIMESTAMP, session_end_time TIMESTAMP,
        session_duration_seconds BIGINT, PRIMARY KEY (user_id, session_start_time));";

const WITH_ZONES: &str = "
    CREATE TABLE page_view_counts (page_url TEXT, view_count BIGINT, window_end TIMESTAMPTZ, window_start TIMESTAMPTZ,
        loaded_at TIMESTAMPTZ DEFAULT now(), PRIMARY KEY (window_start, page_url));
    CREATE TABLE active_users (window_start TIMESTAMPTZ PRIMARY KEY, window_end TIMESTAMPTZ, active_users_count BIGINT);
    CREATE TABLE user_sessions (user_id TEXT, session_start_time TIMESTAMPTZ, session_end_time TIMESTAMPTZ,
        session_duration_seconds BIGINT, PRIMARY KEY (user_id, session_start_time));
    ALTER DATABASE zones SET timezone = 'America/New_York';";

/// Fills a topic with one view of each page, all at the same time by the same user, and runs the job.
fn run(name: &str, tables: &str, pages: &[&str]) -> Database {
    let kafka = Kafka::shared();
    kafka.create(name, 1);
    kafka.create(&format!("{name}_enriched"), 1);
    let time = Timestamp::from_second(1_769_679_063).expect("a time");
    let event = |page: &str| {
        Some(format!(r#"{{"event_time":"{time}","user_id":"u","page_url":"{page}","event_type":"page_view"}}"#).into_bytes())
    };
    kafka.produce(name, 0, &pages.iter().map(|page| event(page)).collect::<Vec<_>>());
    let database = Postgres::shared().database(name);
    database.connect().batch_execute(tables).expect("the tables can be created");
    Job::user_activity(name).run_on(kafka, &database).args("--bounded").succeed(LIMIT);
    database
}

#[test]
fn the_tables_of_the_spark_project_are_taken_as_they_are() {
    let database = run("as_in_spark", AS_IN_THE_SPARK_PROJECT, &["/cart", &"/x".repeat(200), "/cart", "/cart"]);
    let start =
        "SELECT extract(epoch FROM window_start)::bigint FROM page_view_counts WHERE page_url = '/cart' AND view_count = 3";
    assert_eq!(database.number(start), Some(1_769_679_060));
    assert_eq!(database.number("SELECT count(*) FROM page_view_counts"), Some(1), "the long URL does not fit the table");
    let reasons = "SELECT count(*) FROM freshet.dead_letters WHERE reason IN ('too_long', 'does_not_fit')";
    assert_eq!(database.number(reasons), Some(1), "and is kept as a dead letter");
}

#[test]
fn timestamptz_and_text_hold_the_same_instants() {
    let database = run("zones", WITH_ZONES, &["/cart", "/", "/cart", "/cart"]);
    let start =
        "SELECT extract(epoch FROM window_start)::bigint FROM page_view_counts WHERE page_url = '/cart' AND view_count = 3";
    assert_eq!(database.number(start), Some(1_769_679_060));
    assert_eq!(
        database.number("SELECT count(*) FROM page_view_counts WHERE loaded_at IS NOT NULL"),
        Some(2),
        "a default fills its column"
    );
    let session = "SELECT extract(epoch FROM session_end_time)::bigint FROM user_sessions WHERE session_duration_seconds = 300";
    assert_eq!(database.number(session), Some(1_769_679_363));
}
