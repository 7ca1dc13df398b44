//! A topic in Protobuf whose producers change their schema while a job reads it.

use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::Postgres;
use freshet_harness::registry::Registry;

const LIMIT: Duration = Duration::from_secs(120);

/// 2026-01-29T09:31:00Z
const BEGIN: u64 = 1_769_679_060;

const EVENTS: u64 = 200;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// An event: when (field 1, a time), of which kind (field 2) and of which amount (field 3, unless it is zero).
fn event(id: u32, n: u64, kind: &[u8], amount: u64) -> Option<Vec<u8>> {
    let seconds = varint(BEGIN + n % 60);
    let time = [&[8], &seconds[..]].concat();
    let amount = if amount == 0 { Vec::new() } else { [&[24], &varint(amount)[..]].concat() };
    let message = [&[10, time.len() as u8], &time[..], &[18, kind.len() as u8], kind, &amount].concat();
    Some([&[0], &id.to_be_bytes()[..], &[0], &message].concat())
}

#[test]
fn windows_go_on_while_the_schema_changes_and_what_does_not_fit_is_a_dead_letter() {
    let (kafka, registry) = (Kafka::shared(), Registry::shared());
    let database = Postgres::shared().database("protobuf_topic");
    kafka.create("protobuf_events", 1);
    let register = |amount: &str| {
        let time = "import 'google/protobuf/timestamp.proto';";
        let schema = format!(
            "syntax = 'proto3'; {time} message Event {{ google.protobuf.Timestamp event_time = 1; string kind = 2; {amount} }}"
        );
        registry.register_protobuf("protobuf_events-value", &schema, &[]).expect("a schema")
    };
    let produce = |id: u32, kind: &str| {
        let events: Vec<_> = (0..EVENTS).map(|n| event(id, n, kind.as_bytes(), n % 4)).collect();
        kafka.produce("protobuf_events", 0, &events);
    };
    produce(register(""), "view");
    let job = format!(
        r#"
name = "protobuf_kinds"
[source.events]
url = "${{KAFKA_URL}}/protobuf_events"
format = "protobuf"
registry = {{ url = "{}" }}
columns = {{ event_time = "timestamp", kind = "text", amount = {{ type = "double", default = 1 }} }}
watermark = {{ column = "event_time", delay = "1h", idle_timeout = "1h" }}

[view.kinds]
sql = """
SELECT window_start, window_end, kind, count(*) AS events, sum(amount) AS amount
FROM tumble(events, INTERVAL '1 minute')
GROUP BY window_start, window_end, kind
"""
[sink.warehouse]
url = "${{DATABASE_URL}}"
views = ["kinds"]
"#,
        registry.url()
    );
    let mut job = Job::written(&job).run_on(kafka, &database).start();
    let events = EVENTS as i64;
    database.wait_for("SELECT sum(events)::bigint FROM kinds", events, LIMIT);

    // A field more; the job runs on. Then the field is of a type that no amount is.
    produce(register("int32 amount = 3;"), "buy");
    database.wait_for("SELECT sum(events)::bigint FROM kinds", 2 * events, LIMIT);
    registry.set_compatibility("protobuf_events-value", "NONE");
    produce(register("string amount = 3;"), "odd");
    let dead = "SELECT count(*)::bigint FROM freshet.dead_letters WHERE reason = 'incompatible_schema'";
    database.wait_for(dead, events, LIMIT);
    assert!(job.is_running(), "{}", job.output());
    job.interrupt();
    job.wait(LIMIT).expect_success("the job");

    let rows = database.connect().query("SELECT kind, events, amount FROM kinds ORDER BY 1", &[]).expect("the table can be read");
    let found: Vec<(String, i64, f64)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    // Of an event before the field was there nobody knows the amount; of one behind that it is zero unless it is said.
    assert_eq!(found, [("buy".to_owned(), events, (events / 4 * 6) as f64), ("view".to_owned(), events, events as f64)]);
}
