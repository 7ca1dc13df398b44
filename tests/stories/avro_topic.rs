//! A topic in Avro whose producers change their schema while a job reads it, and then break it.
//!
//! The producers are jobs too: each writes the lines of some files as Avro, and registers the schema of its columns.

use std::fmt::Write;
use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::Postgres;
use freshet_harness::registry::Registry;

const LIMIT: Duration = Duration::from_secs(120);

/// 2026-01-29T09:31:03Z
const BEGIN: i64 = 1_769_679_063;

/// So many events are in each file, and so many files has each producer: one for each partition.
const EVENTS: i64 = 200;
const FILES: i64 = 3;

/// A job that writes `lines` as events in Avro, with these columns.
fn producer(name: &str, columns: &str, lines: impl Fn(i64) -> String) -> Job {
    let topic = "avro_events";
    let job = format!(
        r#"
name = "{name}"
[source.events]
url = "file://in"
columns = {columns}
[sink.topic]
url = "${{KAFKA_URL}}/{topic}"
format = "avro"
registry = {{ url = "{}" }}
views = ["events"]
"#,
        Registry::shared().url()
    );
    let job = Job::written(&job);
    let folder = job.folder().join("in");
    std::fs::create_dir(&folder).expect("a folder");
    for file in 0..FILES {
        let mut text = String::new();
        for n in (0..EVENTS).map(|n| n * FILES + file) {
            writeln!(text, "{}", lines(n)).expect("a text");
        }
        std::fs::write(folder.join(format!("{file}.ndjson")), text).expect("a file");
    }
    job
}

fn consumer() -> Job {
    Job::written(&format!(
        r#"
name = "per_minute"
[source.events]
url = "${{KAFKA_URL}}/avro_events"
format = "avro"
registry = {{ url = "{}" }}
watermark = {{ column = "event_time", delay = "1h", idle_timeout = "1h" }}
[source.events.columns]
event_time = "timestamp"
user_id = {{ type = "text", required = true }}
kind = {{ type = "text", from = ["kind", "event_type"] }}
amount = {{ type = "double", default = 1 }}

[view.per_minute]
sql = """
SELECT window_start, window_end, kind, count(*) AS events, sum(amount) AS amount
FROM tumble(events, INTERVAL '1 minute')
GROUP BY window_start, window_end, kind
"""
[sink.warehouse]
url = "${{DATABASE_URL}}"
views = ["per_minute"]
"#,
        Registry::shared().url()
    ))
}

#[test]
fn windows_go_on_while_the_schema_changes_and_a_broken_one_makes_dead_letters() {
    let (kafka, registry) = (Kafka::shared(), Registry::shared());
    let database = Postgres::shared().database("avro_topic");
    kafka.create("avro_events", 3);
    let produce = |job: Job| job.run_on(kafka, &database).args("--bounded").succeed(LIMIT);
    let time = |n: i64| BEGIN + n % 300;

    produce(producer("first", r#"{ event_time = "timestamp", user_id = "text", event_type = "text" }"#, |n| {
        format!(r#"{{"event_time": {}, "user_id": "u{}", "event_type": "view"}}"#, time(n), n % 7)
    }));
    registry.set_compatibility("avro_events-value", "BACKWARD");
    let mut job = consumer().run_on(kafka, &database).args("-w 2").start();
    let all = EVENTS * FILES;
    database.wait_for("SELECT sum(events)::bigint FROM per_minute", all, LIMIT);

    // A field more, a field under another name, and one that nobody reads; the job runs on.
    let columns = r#"{ ignored = "text", user_id = "text", kind = "text", amount = "double", event_time = "timestamp" }"#;
    produce(producer("second", columns, |n| {
        let amount = n % 4;
        format!(r#"{{"event_time": {}, "user_id": "u{}", "kind": "buy", "amount": {amount}, "ignored": "x"}}"#, time(n), n % 7)
    }));
    database.wait_for("SELECT sum(events)::bigint FROM per_minute", 2 * all, LIMIT);

    // The registry refuses what does not fit; where it is told not to, the job does.
    let broken = || {
        producer("third", r#"{ event_time = "timestamp", user_id = "bigint" }"#, |n| {
            format!(r#"{{"event_time": {}, "user_id": {n}}}"#, time(n))
        })
    };
    let refused = broken().run_on(kafka, &database).args("--bounded").run(LIMIT);
    assert!(!refused.status.success() && refused.stderr.contains("refuses the schema of the rows"), "{}", refused.stderr);
    registry.set_compatibility("avro_events-value", "NONE");
    produce(broken());
    let dead = "SELECT count(*)::bigint FROM freshet.dead_letters WHERE reason = 'incompatible_schema'";
    database.wait_for(dead, all, LIMIT);
    assert!(job.is_running(), "{}", job.output());
    job.interrupt();
    job.wait(LIMIT).expect_success("the consumer");

    let detail = database.connect().query_one("SELECT DISTINCT detail FROM freshet.dead_letters", &[]).expect("one reason");
    let (id, _) = registry.latest("avro_events-value");
    let words = format!("schema {id}: column 'user_id' is text, its field is a long");
    assert_eq!(detail.get::<_, &str>(0), words);

    let mut expected = std::collections::BTreeMap::<(i64, &str), (i64, f64)>::new();
    for n in 0..all {
        let minute = time(n) / 60 * 60;
        for (kind, amount) in [("view", 1.0), ("buy", (n % 4) as f64)] {
            let window = expected.entry((minute, kind)).or_default();
            *window = (window.0 + 1, window.1 + amount);
        }
    }
    let query = "SELECT extract(epoch FROM window_start)::bigint, kind, events, amount FROM per_minute ORDER BY 1, 2";
    let rows = database.connect().query(query, &[]).expect("the table can be read");
    let found: Vec<((i64, String), (i64, f64))> =
        rows.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect();
    let expected: Vec<_> = expected.into_iter().map(|((minute, kind), sums)| ((minute, kind.to_owned()), sums)).collect();
    assert_eq!(found, expected);
}
