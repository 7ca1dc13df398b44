//! From a topic to tables, a lake and a second topic: every row as the oracle computes it, for any number of workers and processes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use arrow::array::{Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use postgres::Client;

use crate::oracle::{self, Contents, Late, Topic, fingerprint, parse_time};
use crate::support::freshet::Freshet;
use crate::support::job::Job;
use crate::support::kafka::Kafka;
use crate::support::postgres::Postgres;
use crate::support::server::free_ports;

/// The topic that all tests of this story read.
const TOPIC: &str = "pipeline";
/// How long a run may take: generous, for `FRESHET_EVENTS=4000000` on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn one_worker_agrees_with_the_oracle() {
    agrees("w1", |job| vec![job().args("-w 1 --bounded")]);
}

#[test]
fn two_workers_agree_with_the_oracle() {
    agrees("w2", |job| vec![job().args("-w 2 --bounded")]);
}

#[test]
fn four_workers_agree_with_the_oracle() {
    agrees("w4", |job| vec![job().args("-w 4 --bounded")]);
}

#[test]
fn two_processes_agree_with_the_oracle() {
    let [first, second] = free_ports();
    let cluster = tempfile::NamedTempFile::new().expect("a temporary file");
    let hosts = format!("hosts = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]\n");
    std::fs::write(&cluster, hosts).expect("a temporary file can be written");
    let process = |job: Freshet, i: usize| job.args(&format!("-w 1 --bounded -n 2 -p {i} --cluster")).arg(cluster.path());
    agrees("n2", |job| vec![process(job(), 0), process(job(), 1)]);
}

/// Returns the topic's records; the first caller has Freshet generate them.
fn filled_topic() -> &'static Topic {
    static FILLED: OnceLock<Topic> = OnceLock::new();
    FILLED.get_or_init(|| {
        let kafka = Kafka::shared();
        kafka.create(TOPIC, 4);
        let events = std::env::var("FRESHET_EVENTS").unwrap_or_else(|_| "600000".to_owned());
        let line =
            format!("generate full --to {}/{TOPIC} --events {events} --rate 0 --span 2h --seed 7 --partitions 4", kafka.url());
        Freshet::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).args(&line).succeed(LIMIT);
        let topic = Topic::read(kafka, TOPIC);
        assert_eq!(topic.len().to_string(), events, "the topic holds what was generated");
        assert!(!topic.bad.is_empty(), "some records are malformed");
        topic
    })
}

/// Runs the job to the end of the topic, in as many processes as `processes` makes, and checks all that it wrote.
fn agrees(name: &str, processes: impl FnOnce(&dyn Fn() -> Freshet) -> Vec<Freshet>) {
    let kafka = Kafka::shared();
    let topic = filled_topic();
    let enriched = format!("{TOPIC}_{name}_enriched");
    kafka.create(&enriched, 2);
    let job = Job::user_activity(TOPIC).replace(&format!("/{TOPIC}_enriched"), &format!("/{enriched}")).short_epochs();
    let database = Postgres::shared().database(&format!("pipeline_{name}"));

    let running: Vec<_> = processes(&|| job.run_on(kafka, &database)).into_iter().map(Freshet::start).collect();
    for process in running {
        process.wait(LIMIT).expect_success(name);
    }

    let mut client = database.connect();
    let late = Late::read(&mut client, topic);
    // Epochs grow while a worker is behind, so only one that reads alone is sure to have several of them.
    assert!(late.len() > 0 || name != "w1", "some events are late");
    check_tables(&mut client, topic, &late);
    oracle::check_ledger(&mut client, topic, &late);
    check_dead_letters(&mut client, topic);
    lake_contents(&job.folder().join("data/lake")).expect(&topic.contents(), "the lake");
    topic_contents(kafka, &enriched).expect(&topic.contents(), "the enriched topic");
}

/// Compares the three tables with the oracle's, row by row.
pub(super) fn check_tables(client: &mut Client, topic: &Topic, late: &Late) {
    let query = |columns: &str, table: &str| format!("SELECT {columns} FROM {table}");
    let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::bigint");
    let window = format!("{}, {}", micros("window_start"), micros("window_end"));

    let rows =
        client.query(&query(&format!("{window}, page_url, view_count"), "page_view_counts"), &[]).expect("page_view_counts");
    let found = rows.iter().map(|r| ((r.get(0), r.get(1), r.get(2)), r.get(3))).collect();
    expect_equal("page_view_counts", &found, &oracle::page_views(topic, late));

    let rows = client.query(&query(&format!("{window}, active_users_count"), "active_users"), &[]).expect("active_users");
    let found = rows.iter().map(|r| ((r.get(0), r.get(1)), r.get(2))).collect();
    expect_equal("active_users", &found, &oracle::active_users(topic, late));

    let columns = format!("user_id, {}, {}, session_duration_seconds", micros("session_start_time"), micros("session_end_time"));
    let rows = client.query(&query(&columns, "user_sessions"), &[]).expect("user_sessions");
    let found = rows.iter().map(|r| ((r.get(0), r.get(1)), (r.get(2), r.get(3)))).collect();
    expect_equal("user_sessions", &found, &oracle::sessions(topic, late));
}

fn expect_equal<K: Ord + Debug, V: PartialEq + Debug>(table: &str, found: &BTreeMap<K, V>, expected: &BTreeMap<K, V>) {
    let missing =
        expected.iter().filter(|&(key, value)| found.get(key) != Some(value)).map(|(k, v)| format!("not there: {k:?} {v:?}"));
    let surplus =
        found.iter().filter(|&(key, value)| expected.get(key) != Some(value)).map(|(k, v)| format!("too much: {k:?} {v:?}"));
    let first: Vec<String> = missing.take(5).chain(surplus.take(5)).collect();
    assert!(first.is_empty(), "{table} has {} rows, not {}:\n{}", found.len(), expected.len(), first.join("\n"));
    assert!(!expected.is_empty(), "{table} shall have rows");
}

fn check_dead_letters(client: &mut Client, topic: &Topic) {
    let query = r#"SELECT "partition"::int, "offset"::bigint FROM freshet.dead_letters ORDER BY 1, 2"#;
    let rows = client.query(query, &[]).expect("freshet.dead_letters can be read");
    let found: Vec<(i32, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, topic.bad.iter().copied().collect::<Vec<_>>(), "the dead letters are the malformed records");
}

/// Reads every Parquet file below a folder.
fn lake_contents(folder: &Path) -> Contents {
    let mut contents = Contents::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("the lake can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "parquet") {
                read_parquet(&path, &mut contents);
            }
        }
    }
    contents
}

fn read_parquet(path: &Path, contents: &mut Contents) {
    let file = std::fs::File::open(path).expect("a listed file can be opened");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.build());
    for batch in reader.unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
        let batch = batch.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let time = column(&batch, "event_time", &DataType::Timestamp(TimeUnit::Microsecond, None));
        let times = time.as_any().downcast_ref::<TimestampMicrosecondArray>().expect("cast to timestamps");
        let texts = ["user_id", "page_url", "event_type"].map(|name| column(&batch, name, &DataType::Utf8));
        let [user, page, kind] = texts.each_ref().map(|t| t.as_any().downcast_ref::<StringArray>().expect("cast to text"));
        for row in 0..batch.num_rows() {
            contents.add(fingerprint(times.value(row), user.value(row), page.value(row), kind.value(row)));
        }
    }
}

fn column(batch: &RecordBatch, name: &str, data_type: &DataType) -> arrow::array::ArrayRef {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("the lake lacks {name}: {}", batch.schema()));
    cast(column, data_type).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Reads the enriched topic: each event as it was, with the time at which it was processed.
fn topic_contents(kafka: &Kafka, topic: &str) -> Contents {
    let mut contents = Contents::default();
    kafka.read(topic, |record| {
        let text = String::from_utf8_lossy(&record.payload);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let field = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}"));
        let time = |name: &str| parse_time(field(name)).unwrap_or_else(|| panic!("no time in {name} of {text}"));
        assert!(time("processing_time") > 0);
        contents.add(fingerprint(time("event_time"), field("user_id"), field("page_url"), field("event_type")));
    });
    contents
}
