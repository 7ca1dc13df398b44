//! The other jobs as they are committed, on topics and tables of their own names: every row as the oracle computes it, from events that come late, twice, or
//! as no events at all, and through kills.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use freshet_harness::freshet::Freshet;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::oracle::jobs::{check_accounts, check_dead_letters, clickstream, ecommerce, events, payments, sensors};
use freshet_harness::oracle::{Declared, Stream};
use freshet_harness::postgres::{Database, Postgres};
use freshet_harness::server::wait_for;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);

/// A job with its database, and the topics that it has read.
struct Ran {
    database: Database,
    streams: Vec<Stream>,
}

#[test]
fn clickstream_agrees_with_the_oracle_through_kills() {
    let ran = run("clickstream", &[("clickstream", &clickstream::DECLARED)], "", Kill::Twice);
    clickstream::check(&mut ran.database.connect(), &ran.streams[0]);
    ran.check(&["clickstream_agg_minute"], 0);
}

#[test]
fn ecommerce_agrees_with_the_oracle() {
    let ran = run("ecommerce", &[("streaming-events", &ecommerce::DECLARED)], "", Kill::Never);
    ecommerce::check(&mut ran.database.connect(), &ran.streams[0]);
    ran.check(&["events_per_minute", "revenue_per_minute", "revenue_per_hour", "products_per_hour", "user_sessions"], 0);
}

#[test]
fn events_agree_with_the_oracle() {
    let ran = run("events", &[("events", &events::DECLARED)], "", Kill::Never);
    events::check(&mut ran.database.connect(), &ran.streams[0]);
    ran.check(&["events_per_minute", "services_per_minute", "clicks_per_minute", "transactions_per_minute"], 0);
}

#[test]
fn payments_agree_with_the_oracle_through_kills() {
    let topics = [("payments", &payments::PAYMENTS), ("logins", &payments::LOGINS)];
    Kafka::shared().create("payment_alerts", 1);
    let ran = run("payments", &topics, "--incidents 0.01", Kill::Twice);
    payments::check(&mut ran.database.connect(), &ran.streams[0], &ran.streams[1]);
    ran.check(&["payments_per_minute", "payment_bursts"], 0);
    ran.check(&["failed_logins"], 1);
}

#[test]
fn sensors_agree_with_the_oracle() {
    let ran = run("sensors", &[("sensors", &sensors::DECLARED)], "--users 300 --incidents 0.05", Kill::Never);
    sensors::check(&mut ran.database.connect(), &ran.streams[0]);
    ran.check(&["sensor_minutes", "sensor_five_minutes", "sensor_hours", "sensor_gaps"], 0);
}

#[test]
fn an_alert_is_withdrawn_only_if_it_was_raised() {
    let mut job = Job::committed("payments.toml");
    for topic in job.topics() {
        job = job.replace(&format!("/{topic}\""), &format!("/{topic}?events=30000&rate=0&span=1h&users=300&incidents=0.05\""));
    }
    let job = job.short_epochs();
    job.run().args("--bounded").succeed(LIMIT);
    let alerts = std::fs::read_to_string(job.folder().join("data/payment_alerts.ndjson")).expect("there are alerts");
    let (mut raised, mut withdrawn) = (BTreeSet::new(), 0);
    for line in alerts.lines() {
        let alert: Value = serde_json::from_str(line).expect("a line is JSON");
        let key = key_of(&alert);
        if alert["_op"] == "delete" {
            assert!(raised.remove(&key), "nobody had raised {line}");
            withdrawn += 1;
        } else {
            raised.insert(key);
        }
    }
    assert!(raised.len() > 100, "{} alerts, {withdrawn} withdrawn", raised.len());
}

/// What names an alert, raised or withdrawn: its view and that view's key, which is all that a withdrawal brings.
fn key_of(alert: &Value) -> Vec<String> {
    let columns: &[&str] = match alert["_view"].as_str() {
        Some("impossible_travel") => &["payment_id", "login_id"],
        Some("payments_without_login" | "unusual_amounts") => &["payment_id"],
        _ => &["window_start", "user_id"],
    };
    std::iter::once("_view").chain(columns.iter().copied()).map(|column| alert[column].to_string()).collect()
}

impl Ran {
    /// Fails unless every record of a stream is accounted for in these views, and every malformed one is a dead letter.
    fn check(&self, views: &[&str], stream: usize) {
        let mut client = self.database.connect();
        check_accounts(&mut client, views, &self.streams[stream]);
        check_dead_letters(&mut client, &self.streams.iter().collect::<Vec<_>>());
    }
}

/// Whether the job is killed on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    Never,
    Twice,
}

/// Fills the topics of a committed job, and runs it to their ends on the tables that a team made by the DDL.
fn run(name: &str, topics: &[(&str, &Declared)], options: &str, kill: Kill) -> Ran {
    let (kafka, database) = (Kafka::shared(), Postgres::shared().database(name));
    let job = Job::committed(&format!("{name}.toml")).short_epochs().append("[checkpoint]\ninterval = \"100ms\"\n");
    for (topic, _) in topics {
        kafka.create(topic, 3);
        let line = format!(
            "generate full --kind {topic} --to {}/{topic} --events 90000 --rate 0 --span 2h --seed 11 --start 2026-01-29T09:00:00Z \
             --repeated 0.02 --late 0.01 --malformed 0.002 {options}",
            kafka.url()
        );
        Freshet::new(job.folder()).args(&line).succeed(LIMIT);
    }
    let start = |workers: usize| job.run_on(kafka, &database).args(&format!("-w {workers}"));
    if kill == Kill::Twice {
        [1, 2].into_iter().for_each(|workers| kill_when_it_has_come_further(start(workers), &database));
    }
    start(1).args("--bounded").succeed(LIMIT);
    Ran { database, streams: topics.iter().map(|(topic, declared)| Stream::read(kafka, topic, declared)).collect() }
}

fn kill_when_it_has_come_further(job: Freshet, database: &Database) {
    let epoch = || database.number("SELECT max(epoch)::bigint FROM freshet.progress").unwrap_or(0);
    let before = epoch();
    let mut running = job.start();
    let came_further = wait_for(LIMIT, || epoch() > before || !running.is_running());
    assert!(came_further && running.is_running(), "it was to be killed\n{}", running.output());
    running.signal("KILL");
}

#[test]
fn tables_made_by_the_ddl_are_taken_as_they_are() {
    for name in ["clickstream", "ecommerce", "events", "payments", "sensors", "user_activity"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("deploy/sql/{name}.sql"));
        let ddl = std::fs::read_to_string(&path).expect("the DDL can be read");
        let database = Postgres::shared().database(&format!("{name}_by_ddl"));
        database.connect().batch_execute(&ddl).expect("the DDL is sound");
        let mut job = Job::committed(&format!("{name}.toml"));
        // What is unusual for somebody is known after an hour.
        let times = if name == "payments" { "span=3h&start=2026-01-29T09:00:00Z" } else { "span=10m" };
        for topic in job.topics() {
            let options = format!("events=6000&rate=0&{times}&users=2000&incidents=0.3");
            job = job.replace(&format!("/{topic}\""), &format!("/{topic}?{options}\""));
        }
        job.run().env("DATABASE_URL", &database.url).args("--bounded").succeed(LIMIT);
        let tables = ddl.lines().filter_map(|line| line.strip_prefix("CREATE TABLE IF NOT EXISTS ")?.strip_suffix(" ("));
        for table in tables {
            assert!(database.number(&format!("SELECT count(*) FROM {table}")) > Some(0), "{table} of {name} is empty");
        }
        let more = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(
            database.number(more),
            i64::try_from(ddl.matches("CREATE TABLE").count()).ok(),
            "{name} has made other tables"
        );
    }
}
