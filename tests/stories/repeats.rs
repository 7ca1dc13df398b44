//! Clicks that come several times: the raw rows without repeats, and the hits counted of them, hold each click once, whoever looks at any instant,
//! through kills and on other numbers of workers.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::Postgres;
use freshet_harness::server::wait_for;
use postgres::{Client, IsolationLevel};

const LIMIT: Duration = Duration::from_secs(120);
const CLICKS: i64 = 60_000;
const PARTITIONS: i64 = 3;
/// Midnight of 2026-09-21, in milliseconds.
const START: i64 = 1_790_000_000_000;
/// Forty minutes of clicks, so that none is forgotten within the hour.
const APART_MS: i64 = 40;

const JOB: &str = r#"
name = "repeats"

[source.clicks]
url = "${KAFKA_URL}/repeated_clicks"
columns = { event_id = "varchar(36)", at = "timestamp", url = "text", attempt = "bigint" }
watermark = { column = "at", delay = "2m" }

[view.clean]
sql = "SELECT event_id, at, lower(url) AS url, attempt FROM clicks WHERE url <> ''"

[view.click_rows]
sql = "SELECT event_id, at, url, attempt, processing_time() AS received_at FROM dedupe(clean, event_id, INTERVAL '1 hour')"

[view.click_hits]
sql = """
SELECT window_start, url, count(*) AS hits FROM tumble(click_rows, INTERVAL '1 minute') GROUP BY window_start, url
"""

[view.click_last]
sql = "SELECT event_id, attempt FROM clicks WHERE url <> ''"
key = ["event_id"]

[sink.analytics]
url = "${DATABASE_URL}"
views = ["click_rows", "click_hits", "click_last"]

[sink.raw]
url = "file://data/clicks.ndjson"
views = ["click_rows"]

[epochs]
min = "1ms"
catch_up = "5ms"

[checkpoint]
interval = "100ms"
"#;

/// A click as it lies in the topic; every seventh comes again some way behind, and every twentieth has no page.
fn payload(number: i64, attempt: i64) -> Vec<u8> {
    let url = if number % 20 == 3 { String::new() } else { format!("/Page/{}", number % 50) };
    let at = START + number * APART_MS;
    format!(r#"{{"event_id": "click-{number}", "at": {at}, "url": "{url}", "attempt": {attempt}}}"#).into_bytes()
}

/// The records of a partition that a quarter of the clicks brings.
fn records(partition: i64, quarter: i64) -> Vec<Option<Vec<u8>>> {
    let own = (0..CLICKS).filter(|n| n % PARTITIONS == partition && n * 4 / CLICKS == quarter);
    let mut records = Vec::new();
    for number in own {
        records.push(Some(payload(number, 0)));
        // Some come again at once, some from the quarter before.
        if number % 7 == 0 {
            records.push(Some(payload(number, 1)));
        }
        let earlier = number - CLICKS / 4 - CLICKS / 4 % PARTITIONS;
        if earlier >= 0 && number % 11 == 0 {
            records.push(Some(payload(earlier, 2)));
        }
    }
    records
}

/// Rows, different clicks among them, hits in the windows, and the rows and repeats by the ledger.
fn look(client: &mut Client) -> Option<(i64, i64, i64, i64)> {
    let mut snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().ok()?;
    let query = "SELECT (SELECT count(*) FROM click_rows), (SELECT count(DISTINCT event_id) FROM click_rows), \
                        (SELECT coalesce(sum(hits), 0)::bigint FROM click_hits), \
                        (SELECT coalesce(sum(counted), 0)::bigint FROM freshet.ledger WHERE view = 'click_rows')";
    let row = snapshot.query_one(query, &[]).ok()?;
    Some((row.get(0), row.get(1), row.get(2), row.get(3)))
}

fn check_instant(client: &mut Client) -> i64 {
    let Some((rows, clicks, hits, counted)) = look(client) else { return 0 };
    assert_eq!((clicks, hits, counted), (rows, rows, rows), "each click is there once, in all tables of the sink");
    rows
}

#[test]
fn each_click_is_a_row_once_through_kills_and_on_other_numbers_of_workers() {
    let kafka = Kafka::shared();
    kafka.create("repeated_clicks", i32::try_from(PARTITIONS).expect("small"));
    let produce = |quarter: i64| {
        for partition in 0..PARTITIONS {
            kafka.produce("repeated_clicks", i32::try_from(partition).expect("small"), &records(partition, quarter));
        }
    };
    let database = Postgres::shared().database("repeats");
    let job = Job::written(JOB);
    let mut client = database.connect();
    for (quarter, workers) in [(0, 2), (1, 1), (2, 3)] {
        produce(quarter);
        let before = check_instant(&mut client);
        let mut running = job.run_on(kafka, &database).args(&format!("-w {workers}")).start();
        let moved = wait_for(LIMIT, || check_instant(&mut client) > before || !running.is_running());
        assert!(moved && running.is_running(), "{}", running.output());
        running.signal("KILL");
    }
    produce(3);
    job.run_on(kafka, &database).args("-w 2 --bounded").succeed(LIMIT);

    let expected: BTreeMap<String, i64> = (0..CLICKS).filter(|n| n % 20 != 3).map(|n| (format!("click-{n}"), n)).collect();
    assert_eq!(check_instant(&mut client), i64::try_from(expected.len()).expect("small"));
    let rows = client.query("SELECT event_id, (extract(epoch FROM at) * 1000)::bigint, url, attempt FROM click_rows", &[]);
    for row in rows.expect("the rows") {
        let number = expected[row.get::<_, &str>(0)];
        let found = (row.get::<_, i64>(1), row.get::<_, &str>(2), row.get::<_, i64>(3));
        assert_eq!(found, (START + number * APART_MS, &*format!("/page/{}", number % 50), 0), "the first of its repeats");
    }
    let all: Vec<_> = (0..PARTITIONS).flat_map(|p| (0..4).flat_map(move |q| records(p, q))).flatten().collect();
    let ledger = "SELECT read, counted, filtered, late, dead_letters FROM freshet.ledger WHERE view = 'click_rows'";
    let ledger = client.query_one(ledger, &[]).expect("the ledger");
    let ledger: Vec<i64> = (0..5).map(|column| ledger.get(column)).collect();
    let (read, counted) = (i64::try_from(all.len()).expect("small"), i64::try_from(expected.len()).expect("small"));
    assert_eq!(ledger, [read, counted, read - counted, 0, 0], "repeats are filtered");

    // Where the view has a key the last one stays; each click's records lie in one partition.
    let mut last = BTreeMap::new();
    for record in &all {
        let text = String::from_utf8_lossy(record);
        let field = |name: &str| text.split(&format!("\"{name}\": ")).nth(1).and_then(|rest| rest.split([',', '}']).next());
        if field("url") != Some("\"\"") {
            last.insert(field("event_id").expect("an id").replace('"', ""), field("attempt").expect("a number").to_owned());
        }
    }
    let rows = client.query("SELECT event_id, attempt::text FROM click_last", &[]).expect("the rows");
    let found: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(found == last && rows.len() == last.len(), "the last of its repeats");

    let lines = std::fs::read_to_string(job.folder().join("data/clicks.ndjson")).expect("the file of rows");
    assert_eq!(lines.lines().count(), expected.len(), "each row is in the file once");
}
