//! A stream that is enriched from a table: each row says what the table said in its epoch, whatever the table says later, and through kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{Database, Postgres};
use freshet_harness::server::{free_ports, wait_for};
use postgres::{Client, IsolationLevel};

use super::embedded::open;

const LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 3;
const USERS: i64 = 40;
const CLICKS: i64 = 30_000;
/// The clicks come in so many pieces, between which the table changes.
const PIECES: i64 = 12;
/// Midnight of 2026-09-21, in milliseconds.
const START: i64 = 1_790_000_000_000;

const JOB: &str = r#"
name = "tables"

[source.clicks]
url = "${KAFKA_URL}/looked_up_clicks"
columns = { id = "bigint", at = "timestamp", user_id = "text" }
watermark = { column = "at", delay = "2h" }

[table.users]
url = "${DATABASE_URL}"
table = "crm.users"
columns = { user_id = "text", segment = { type = "text", from = "about.segment" }, version = "bigint" }
key = ["user_id"]
refresh = "20ms"

[view.click_users]
sql = """
SELECT c.id, c.at, c.user_id, u.segment, u.version, processing_time() AS seen
FROM clicks c LEFT JOIN users u ON c.user_id = u.user_id
"""

[view.known_clicks]
sql = "SELECT id, version FROM clicks JOIN users USING (user_id)"

[view.segment_clicks]
sql = """
SELECT window_start, window_end, segment, count(*) AS clicks
FROM tumble(click_users, INTERVAL '1 minute') GROUP BY window_start, window_end, segment
"""

[sink.warehouse]
url = "${DATABASE_URL}"
views = ["click_users", "known_clicks", "segment_clicks"]

[epochs]
min = "5ms"
catch_up = "20ms"

[checkpoint]
interval = "200ms"
"#;

/// Tells whether a version has a user.
fn has(version: i64, user: i64) -> bool {
    (user + version) % 5 != 0
}

/// Writes versions of the table, one after the other, until it is told to stop.
fn write_versions(database: &Database, stop: &AtomicBool) -> i64 {
    let mut client = database.connect();
    let mut version = 0;
    while !stop.load(Ordering::Relaxed) {
        version += 1;
        write_version(&mut client, version);
        thread::sleep(Duration::from_millis(60));
    }
    version
}

fn write_version(client: &mut Client, version: i64) {
    let mut transaction = client.transaction().expect("a transaction");
    transaction.batch_execute("DELETE FROM crm.users").expect("an empty table");
    let insert = "INSERT INTO crm.users SELECT 'u' || n, json_build_object('segment', 's' || $1::bigint % 3), $1 \
                  FROM generate_series(0, $2::bigint - 1) AS n WHERE (n + $1) % 5 <> 0";
    transaction.execute(insert, &[&version, &USERS]).expect("rows");
    transaction.commit().expect("a version");
}

fn produce(kafka: &Kafka, piece: i64) {
    for partition in 0..PARTITIONS {
        let own = (0..CLICKS).filter(|n| n % i64::from(PARTITIONS) == i64::from(partition) && n * PIECES / CLICKS == piece);
        let record = |n: i64| {
            let at = START + n * 20;
            Some(format!(r#"{{"id": {n}, "at": {at}, "user_id": "u{}"}}"#, n * 7 % (USERS + 1)).into_bytes())
        };
        kafka.produce("looked_up_clicks", partition, &own.map(record).collect::<Vec<_>>());
    }
}

/// The version that each click has met; `None` where the table had no row.
fn looked_up(client: &mut Client) -> BTreeMap<i64, Option<i64>> {
    let Ok(rows) = client.query("SELECT id, version FROM click_users", &[]) else { return BTreeMap::new() };
    let found: BTreeMap<_, _> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found.len(), rows.len(), "each click is there once");
    found
}

/// Checks what one instant shows: rows of an epoch have one version, no epoch has an older one than the epoch before, and each row says what its version says.
fn check_instant(client: &mut Client) -> usize {
    let mut snapshot =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().expect("a snapshot");
    let Ok(rows) =
        snapshot.query("SELECT id, user_id, segment, version, seen::text FROM click_users ORDER BY seen, version", &[])
    else {
        return 0;
    };
    let mut epochs: BTreeMap<String, Option<i64>> = BTreeMap::new();
    for row in &rows {
        let (segment, version): (Option<String>, Option<i64>) = (row.get(2), row.get(3));
        assert_eq!(segment, version.map(|version| format!("s{}", version % 3)), "a row of one version");
        let known = epochs.entry(row.get(4)).or_default();
        assert!(
            known.is_none() || version.is_none() || *known == version,
            "{known:?} and {version:?} in the epoch of {}",
            row.get::<_, &str>(4)
        );
        *known = known.or(version);
    }
    let versions: Vec<i64> = epochs.values().copied().flatten().collect();
    assert!(versions.is_sorted(), "{versions:?}");
    for row in &rows {
        let user: i64 = row.get::<_, &str>(1)[1..].parse().expect("a user");
        let (version, in_force) = (row.get::<_, Option<i64>>(3), epochs[row.get::<_, &str>(4)]);
        // An epoch of which no click has met a row does not tell its version.
        if let Some(in_force) = in_force {
            assert_eq!(version.is_some(), user < USERS && has(in_force, user), "click of user {user} under version {in_force}");
        }
    }
    let windows = "SELECT count(*) FROM (SELECT date_trunc('minute', at), segment, count(*) FROM click_users GROUP BY 1, 2 \
                   EXCEPT SELECT window_start, segment, clicks FROM segment_clicks) AS different";
    assert_eq!(snapshot.query_one(windows, &[]).expect("windows").get::<_, i64>(0), 0, "windows count the rows that are there");
    let known = "SELECT count(*) FROM (SELECT id, version FROM click_users WHERE version IS NOT NULL EXCEPT ALL SELECT id, version FROM known_clicks) AS d";
    assert_eq!(snapshot.query_one(known, &[]).expect("rows").get::<_, i64>(0), 0, "the inner join has those with a row");
    rows.len()
}

#[test]
fn each_row_says_what_the_table_said_in_its_epoch_through_kills_and_on_other_numbers_of_workers() {
    let kafka = Kafka::shared();
    kafka.create("looked_up_clicks", PARTITIONS);
    let database = Arc::new(Postgres::shared().database("looked_up"));
    let mut client = database.connect();
    client
        .batch_execute("CREATE SCHEMA crm; CREATE TABLE crm.users (user_id text PRIMARY KEY, about json, version bigint)")
        .expect("a table");
    write_version(&mut client, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (database, stop) = (Arc::clone(&database), Arc::clone(&stop));
        thread::spawn(move || write_versions(&database, &stop))
    };
    let job = Job::written(JOB);
    let mut before = BTreeMap::new();
    for (pieces, workers) in [(0..4, 2), (4..8, 1)] {
        let mut running = job.run_on(kafka, &database).args(&format!("-w {workers}")).start();
        for piece in pieces {
            produce(kafka, piece);
            let wanted = usize::try_from((2 * piece + 1) * CLICKS / PIECES / 2).expect("small");
            let moved = wait_for(LIMIT, || check_instant(&mut client) > wanted || !running.is_running());
            assert!(moved && running.is_running(), "{}", running.output());
            thread::sleep(Duration::from_millis(200));
        }
        running.signal("KILL");
        drop(running);
        let after = looked_up(&mut client);
        assert!(before.iter().all(|(click, version)| after.get(click) == Some(version)), "no row has changed");
        before = after;
    }
    (8..PIECES).for_each(|piece| produce(kafka, piece));
    job.run_on(kafka, &database).args("-w 3 --bounded").succeed(LIMIT);
    stop.store(true, Ordering::Relaxed);
    let written = writer.join().expect("the writer does not panic");

    assert_eq!(check_instant(&mut client), usize::try_from(CLICKS).expect("small"));
    let after = looked_up(&mut client);
    assert!(before.iter().all(|(click, version)| after.get(click) == Some(version)), "no row has changed");
    let met: Vec<i64> = after.values().copied().flatten().collect();
    let versions = database.number("SELECT count(DISTINCT version) FROM click_users").expect("a number");
    assert!(versions > 3 && versions <= written, "{versions} of {written} versions, the last {:?}", met.iter().max());
    let ledger = "SELECT count(*) FROM freshet.ledger WHERE read = 30000 AND read = counted + filtered AND view IN ('click_users', 'known_clicks', 'segment_clicks')";
    assert_eq!(database.number(ledger), Some(3));
    let kept = std::fs::read_dir(job.folder().join("data/state/tables/tables/users")).expect("versions");
    let kept = kept.map(|entry| entry.expect("an entry").file_name().to_string_lossy().parse().expect("a number"));
    let kept: Vec<u64> = kept.collect();
    assert!(kept.iter().min().is_some_and(|oldest| *oldest > 1), "what no epoch names any more is gone: {kept:?}");
}

const FILES: &str = r#"
name = "files"

[source.orders]
url = "file://orders.ndjson"
columns = { id = "bigint", at = "timestamp", product_id = "text", country = "text" }
watermark = { column = "at", delay = "1m" }

[table.prices]
url = "file://prices.csv"
columns = { product_id = "text", country = "text", price = "decimal(8,2)" }
key = ["product_id", "country"]

[view.priced]
sql = """
SELECT o.id, o.at, p.price FROM orders o
LEFT JOIN prices p ON p.product_id = o.product_id AND p.country = o.country AND p.price > 1
"""

[view.revenue]
sql = "SELECT window_start, sum(price) AS revenue FROM tumble(priced, INTERVAL '1 minute') GROUP BY window_start"

[sink.tables]
url = "sqlite://data/files.db"
views = ["priced", "revenue"]
"#;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("the folder can be written");
}

fn write_orders(folder: &Path, count: i64) {
    let order = |n: i64| {
        let (at, product, country) = (START + n * 1000, n % 4, ["DE", "FR"][usize::try_from(n % 2).expect("small")]);
        format!("{{\"id\": {n}, \"at\": {at}, \"product_id\": \"p{product}\", \"country\": \"{country}\"}}\n")
    };
    write(folder, "orders.ndjson", &(0..count).map(order).collect::<String>());
}

#[test]
fn a_file_is_a_table_for_one_process_and_for_two() {
    for processes in [1, 2] {
        let job = Job::written(FILES);
        write_orders(job.folder(), 600);
        write(job.folder(), "prices.csv", "country,price,product_id\nDE,2.50,p0\nFR,3.00,p1\nDE,0.50,p2\nFR,9.99,p2\n");
        if processes == 1 {
            job.run().args("-w 2 --bounded").succeed(LIMIT);
        } else {
            let [first, second] = free_ports();
            let hosts = format!("hosts = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]\n");
            write(job.folder(), "cluster.toml", &hosts);
            let start = |process| job.run().args(&format!("-w 1 --bounded -n 2 -p {process} --cluster cluster.toml")).start();
            for process in [0, 1].map(start) {
                process.wait(LIMIT).expect_success("a process of two");
            }
        }
        let tables = open(&job.folder().join("data/files.db")).expect("the tables are there");
        let number = |query: &str| tables.query_row(query, [], |row| row.get::<_, f64>(0)).expect("a number");
        assert!((number("SELECT count(*) + 0.0 FROM priced") - 600.0).abs() < 1e-9);
        // Of each four orders one costs 2.50, one 3.00; what costs less than 1 has no price, and nor has what is sold elsewhere.
        assert!((number("SELECT sum(price) FROM priced") - 150.0 * 5.5).abs() < 1e-9);
        assert!((number("SELECT count(*) + 0.0 FROM priced WHERE price IS NULL") - 300.0).abs() < 1e-9);
        assert!((number("SELECT sum(revenue) FROM revenue") - 150.0 * 5.5).abs() < 1e-9);
    }
}

#[test]
fn what_is_wrong_with_a_table_is_said_at_the_start_and_borne_later() {
    let job = Job::written(FILES)
        .replace("key = [\"product_id\", \"country\"]", "key = [\"product_id\", \"country\"]\nrefresh = \"50ms\"");
    write_orders(job.folder(), 60);
    let missing = job.run().args("-w 1").run(LIMIT);
    missing.expect_error(3);
    assert!(missing.stderr.contains("table 'prices': cannot read prices.csv"), "{}", missing.stderr);
    write(job.folder(), "prices.csv", "country,price,product_id\nDE,2.50,p0\nDE,3.00,p0\n");
    let twice = job.run().args("-w 1").run(LIMIT);
    twice.expect_error(3);
    assert!(twice.stderr.contains("two rows have the key product_id = 'p0', country = 'DE'"), "{}", twice.stderr);

    write(job.folder(), "prices.csv", "country,price,product_id\nDE,2.50,p0\n");
    let running = job.run().args("-w 1").start();
    let priced = |query: &str| {
        let tables = open(&job.folder().join("data/files.db"))?;
        tables.query_row(query, [], |row| row.get::<_, i64>(0)).ok()
    };
    assert!(wait_for(LIMIT, || priced("SELECT count(*) FROM priced") == Some(60)), "{}", running.output());
    write(job.folder(), "prices.csv", "country,price,product_id\nDE,many,p0\n");
    let said = wait_for(LIMIT, || running.output().contains("version 1 stays in force"));
    assert!(said, "{}", running.output());
    write(job.folder(), "prices.csv", "country,price,product_id\nFR,4.00,p1\n");
    assert!(wait_for(LIMIT, || running.output().contains("can be read again")), "{}", running.output());
    // The epoch that is open goes by the version that its predecessor has named.
    let epoch = || priced("SELECT max(epoch) FROM freshet_progress").unwrap_or(0);
    let read_at = epoch();
    assert!(wait_for(LIMIT, || epoch() > read_at + 2), "{}", running.output());
    write_orders(job.folder(), 120);
    assert!(wait_for(LIMIT, || priced("SELECT count(*) FROM priced") == Some(120)), "{}", running.output());
    let old = priced("SELECT count(*) FROM priced WHERE id < 60 AND CAST(price AS REAL) = 2.5");
    let new = priced("SELECT count(*) FROM priced WHERE id >= 60 AND CAST(price AS REAL) = 4");
    assert_eq!((old, new), (Some(15), Some(15)), "rows that are there stay as they are");
    running.interrupt();
    running.wait(LIMIT).expect_success("the job");

    // A job that goes on does so without its table.
    std::fs::remove_file(job.folder().join("prices.csv")).expect("it was there");
    write_orders(job.folder(), 180);
    let ended = job.run().args("-w 2 --bounded").succeed(LIMIT);
    assert!(ended.stderr.contains("version 2 stays in force"), "{}", ended.stderr);
    assert_eq!(priced("SELECT count(*) FROM priced WHERE CAST(price AS REAL) = 4"), Some(30));

    let changed = job.replace("key = [\"product_id\", \"country\"]", "key = [\"country\", \"product_id\"]");
    let refused = changed.run().args("-w 1").run(LIMIT);
    assert!(refused.stderr.contains("table 'prices' is now"), "{}", refused.stderr);
}
