//! A system that is away for a while: the circuit opens, the sources wait, memory stays what it was, and nothing is lost.

use std::fmt::Write;
use std::time::Duration;

use freshet_harness::freshet::Running;
use freshet_harness::http;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::Postgres;
use freshet_harness::registry::Registry;
use freshet_harness::server::{free_ports, wait_for};

use super::embedded::{TABLES, open};

const LIMIT: Duration = Duration::from_secs(90);

/// What waits in memory is bounded by the epochs under way, not by how long it waits.
const MAX_GROWTH_MIB: u64 = 96;

/// Looks from outside at a job, and at one of its sinks or sources.
struct Watch {
    port: u16,
    kind: &'static str,
    name: &'static str,
}

impl Watch {
    fn sink(port: u16, name: &'static str) -> Watch {
        Watch { port, kind: "sink", name }
    }

    fn number(&self, metric: &str) -> Option<f64> {
        let (_, text) = http::get(self.port, "/metrics")?;
        let label = format!("{}=\"{}\"}}", self.kind, self.name);
        let line = text.lines().find(|line| line.starts_with(&format!("freshet_{metric}{{")) && line.contains(&label))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn wait(&self, metric: &str, running: &mut Running, expected: impl Fn(f64) -> bool) {
        let met = wait_for(LIMIT, || self.number(metric).is_some_and(&expected) || !running.is_running());
        assert!(met && running.is_running(), "{metric} is {:?}\n{}", self.number(metric), running.output());
    }

    /// Lets the system be away for so long, and returns by how much the job's memory has grown in the second half of it.
    fn bear(&self, running: &mut Running, away: Duration) -> u64 {
        self.wait(&format!("{}_circuit_opened_total", self.kind), running, |opened| opened >= 1.0);
        let (_, ready) = http::get(self.port, "/readyz").expect("it answers");
        assert!(
            ready.starts_with("ok\n") && ready.contains(&format!("{} '{}' is away: circuit ", self.kind, self.name)),
            "{ready}"
        );
        std::thread::sleep(away / 2);
        let before = running.memory_mib();
        std::thread::sleep(away / 2);
        running.memory_mib().saturating_sub(before)
    }
}

/// A job on events from the generator, many of them, that answers at a port.
fn start(job: &Job, envs: &[(&str, &str)]) -> (Running, u16) {
    let [port] = free_ports();
    let command = job.run().args(&format!("--listen {port}"));
    (envs.iter().fold(command, |command, (name, value)| command.env(name, value)).start(), port)
}

#[test]
fn a_database_that_is_away_costs_no_memory_and_no_event() {
    let mut server = Postgres::start(false);
    let database = server.database("away");
    let job = Job::generated("rate=20000");
    let (mut running, port) = start(&job, &[("DATABASE_URL", &database.url)]);
    let watch = Watch::sink(port, "warehouse");
    watch.wait("sink_epoch", &mut running, |epoch| epoch > 20.0);
    server.server.signal("KILL");
    let grown = watch.bear(&mut running, Duration::from_secs(10));
    assert!(grown < MAX_GROWTH_MIB, "memory has grown by {grown} MiB\n{}", running.output());
    let epoch = watch.number("sink_epoch").expect("a number");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(watch.number("sink_epoch"), Some(epoch), "nothing is committed meanwhile");
    server.server.start_again();
    server.wait_until_ready();
    watch.wait("sink_circuit_state", &mut running, |state| state == 0.0);
    watch.wait("sink_epoch", &mut running, |now| now > epoch + 20.0);
    assert!(watch.number("sink_retries_total").expect("a number") >= 3.0);
    running.interrupt();
    let ended = running.wait(LIMIT);
    ended.expect_success("the job");
    for words in ["circuit open", "circuit half open", "circuit closed"] {
        assert!(ended.stderr.contains(words), "{words}\n{}", ended.stderr);
    }
    let ledger = "SELECT counted::bigint FROM freshet.ledger WHERE view = 'page_view_counts'";
    let counted = database.number(ledger).expect("a ledger");
    assert_eq!(database.number("SELECT sum(view_count)::bigint FROM page_view_counts"), Some(counted));
    let lost =
        "SELECT (read - counted - filtered - late - dead_letters)::bigint FROM freshet.ledger WHERE view = 'page_view_counts'";
    assert_eq!(database.number(lost), Some(0));
}

/// A stream of user activity that is enriched from a database of its own.
const ENRICHED: &str = r#"
[table.users]
url = "${USERS_URL}"
columns = { user_id = "text", segment = "text" }
key = ["user_id"]
refresh = "100ms"

[view.segments]
sql = "SELECT a.user_id, u.segment FROM user_activity a LEFT JOIN users u ON a.user_id = u.user_id"

[sink.segments]
url = "file://data/segments.ndjson"
views = ["segments"]
"#;

#[test]
fn a_table_that_is_away_holds_up_nobody() {
    let mut server = Postgres::start(false);
    let database = server.database("users");
    let fill = "CREATE TABLE users (user_id text PRIMARY KEY, segment text); INSERT INTO users VALUES ('nobody', 'first')";
    database.connect().batch_execute(fill).expect("a table");
    let (mut running, port) = start(&Job::generated("rate=1000").append(ENRICHED), &[("USERS_URL", &database.url)]);
    let watch = Watch { port, kind: "table", name: "users" };
    watch.wait("table_version", &mut running, |version| version == 1.0);
    server.server.signal("KILL");
    watch.bear(&mut running, Duration::ZERO);
    let sink = Watch::sink(port, "warehouse");
    let epoch = sink.number("sink_epoch").expect("a number");
    sink.wait("sink_epoch", &mut running, |now| now > epoch + 20.0);
    server.server.start_again();
    server.wait_until_ready();
    watch.wait("table_circuit_state", &mut running, |state| state == 0.0);
    database.connect().batch_execute("UPDATE users SET segment = 'second'").expect("a table");
    watch.wait("table_version", &mut running, |version| version == 2.0);
    assert!(watch.number("table_retries_total").expect("a number") >= 3.0);
    running.interrupt();
    let ended = running.wait(LIMIT);
    ended.expect_success("the job");
    for words in
        ["circuit open: tried again by single probes, and its last version stays in force", "table 'users': circuit closed"]
    {
        assert!(ended.stderr.contains(words), "{words}\n{}", ended.stderr);
    }
}

#[test]
fn a_job_whose_table_is_away_when_it_starts_says_so_and_asks_again_at_once() {
    let mut server = Postgres::start(false);
    let database = server.database("users");
    let fill = "CREATE TABLE users (user_id text PRIMARY KEY, segment text); INSERT INTO users VALUES ('nobody', 'first')";
    database.connect().batch_execute(fill).expect("a table");
    let job = Job::generated("rate=1000").append(&ENRICHED.replace("100ms", "1h"));
    let url = [("USERS_URL", database.url.as_str())];
    let (mut running, port) = start(&job, &url);
    Watch::sink(port, "warehouse").wait("sink_epoch", &mut running, |epoch| epoch > 5.0);
    running.interrupt();
    running.wait(LIMIT).expect_success("the job");
    server.server.signal("KILL");
    let (mut running, port) = start(&job, &url);
    let watch = Watch { port, kind: "table", name: "users" };
    watch.bear(&mut running, Duration::ZERO);
    let sink = Watch::sink(port, "warehouse");
    let epoch = sink.number("sink_epoch").expect("a number");
    sink.wait("sink_epoch", &mut running, |now| now > epoch + 5.0);
    server.server.start_again();
    server.wait_until_ready();
    watch.wait("table_circuit_state", &mut running, |state| state == 0.0);
    running.interrupt();
    running.wait(LIMIT).expect_success("the job");
}

#[test]
fn brokers_that_are_away_cost_no_memory_and_no_row() {
    let mut kafka = Kafka::start();
    kafka.create("away", 1);
    let job = Job::generated("rate=5000");
    let job = job.replace("${KAFKA_URL:-file://data}/enriched_activity", &format!("{}/away", kafka.url()));
    let (mut running, port) = start(&job, &[]);
    let watch = Watch::sink(port, "enriched");
    watch.wait("sink_rows_total", &mut running, |rows| rows > 1000.0);
    kafka.server.signal("KILL");
    let grown = watch.bear(&mut running, Duration::from_secs(6));
    assert!(grown < MAX_GROWTH_MIB, "memory has grown by {grown} MiB\n{}", running.output());
    kafka.server.start_again();
    kafka.wait_until_ready();
    watch.wait("sink_circuit_state", &mut running, |state| state == 0.0);
    running.interrupt();
    running.wait(LIMIT).expect_success("the job");
    let query = "SELECT read - dead_letters FROM freshet_ledger WHERE view = 'page_view_counts'";
    let accepted: i64 =
        open(&job.folder().join(TABLES)).expect("tables").query_row(query, [], |row| row.get(0)).expect("a ledger");
    let mut rows = 0;
    kafka.read("away", |_| rows += 1);
    assert_eq!(rows, accepted, "each event that was accepted is in the topic once");
}

/// Events of a topic in Avro, one a line of a file.
const EVENTS: usize = 100_000;

/// A job that goes from a file into a topic in Avro, or from there into a table.
fn avro(name: &str, source: &str, sink: &str, registry: &Registry) -> Job {
    let format = format!("format = \"avro\"\nregistry = {{ url = \"{}\" }}", registry.url());
    Job::written(&format!(
        r#"
name = "{name}"
[source.events]
url = "{source}"
columns = {{ n = "bigint", text = "text" }}
{}
[view.all]
sql = "SELECT n, text FROM events"
[sink.out]
url = "{sink}"
views = ["all"]
{}
"#,
        if source.starts_with("kafka") { &format } else { "" },
        if sink.starts_with("kafka") { &format } else { "" },
    ))
}

#[test]
fn a_registry_that_hangs_costs_no_memory_and_no_record() {
    let (kafka, registry) = (Kafka::shared(), Registry::start());
    kafka.create("unreadable", 1);
    let topic = format!("{}/unreadable", kafka.url());
    let producer = avro("writes", "file://in.ndjson", &topic, &registry);
    let mut lines = String::new();
    for n in 0..EVENTS {
        writeln!(lines, r#"{{"n": {n}, "text": "{n:0100}"}}"#).expect("a text");
    }
    std::fs::write(producer.folder().join("in.ndjson"), lines).expect("a file");
    producer.run().args("--bounded").succeed(LIMIT);

    registry.server.signal("STOP");
    let job = avro("reads", &topic, "file://out.ndjson", &registry);
    let (mut running, port) = start(&job, &[]);
    let watch = Watch { port, kind: "source", name: "events" };
    let grown = watch.bear(&mut running, Duration::from_secs(6));
    assert!(grown < MAX_GROWTH_MIB, "memory has grown by {grown} MiB\n{}", running.output());
    assert_eq!(watch.number("records_total"), Some(0.0), "nothing can be read meanwhile");
    registry.server.signal("CONT");
    watch.wait("source_circuit_state", &mut running, |state| state == 0.0);
    watch.wait("records_total", &mut running, |records| records == EVENTS as f64);
    assert!(watch.number("source_retries_total").expect("a number") >= 1.0);
    running.interrupt();
    let ended = running.wait(LIMIT);
    ended.expect_success("the job");
    for words in ["the registry at http", "circuit open", "registry of source 'events': circuit half open", "circuit closed"] {
        assert!(ended.stderr.contains(words), "{words}\n{}", ended.stderr);
    }
    let rows = std::fs::read_to_string(job.folder().join("out.ndjson")).expect("rows");
    assert_eq!(rows.lines().count(), EVENTS, "each record has become a row once");
}
