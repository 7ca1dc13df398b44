//! What cannot work is said at once, in one line that names the thing, with an exit code other than 0.

use std::net::TcpListener;
use std::time::Duration;

use freshet_harness::freshet::Freshet;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{LOCKED_PASSWORD, LOCKED_ROLE, Postgres};
use freshet_harness::server::free_ports;

const LIMIT: Duration = Duration::from_secs(90);

/// Exit code of a wrong command line or job file.
const USAGE: i32 = 2;
/// Exit code of a system outside that refuses or is missing.
const OUTSIDE: i32 = 3;

/// Creates a topic and its enriched one, with nothing in them.
fn topic(name: &str) -> &str {
    Kafka::shared().create(name, 1);
    Kafka::shared().create(&format!("{name}_enriched"), 1);
    name
}

/// Runs a command line that has to fail with an exit code, and checks that what it says names each of `things`.
fn refused(line: Freshet, code: i32, things: &[&str]) {
    let ended = line.run(LIMIT);
    ended.expect_error(code);
    for thing in things {
        assert!(ended.stderr.contains(thing), "the error does not name {thing}:\n{}", ended.stderr);
    }
}

#[test]
fn a_broker_that_is_not_there() {
    let [port] = free_ports();
    let database = Postgres::shared().database("no_broker");
    let line = Job::user_activity("no_broker").run().env("DATABASE_URL", &database.url);
    refused(
        line.env("KAFKA_URL", &format!("kafka://127.0.0.1:{port}")).args("--bounded"),
        OUTSIDE,
        &[&format!("127.0.0.1:{port}")],
    );
}

#[test]
fn a_topic_that_does_not_exist() {
    let database = Postgres::shared().database("no_topic");
    refused(
        Job::user_activity("no_such_topic").run_on(Kafka::shared(), &database).args("--bounded"),
        OUTSIDE,
        &["no_such_topic"],
    );
}

#[test]
fn a_database_that_does_not_exist() {
    let database = Postgres::shared().existing("no_such_database");
    refused(
        Job::user_activity(topic("no_database")).run_on(Kafka::shared(), &database).args("--bounded"),
        OUTSIDE,
        &["no_such_database"],
    );
}

#[test]
fn a_wrong_password_which_is_not_printed() {
    Postgres::shared().database("guarded");
    let url = |password: &str| Postgres::shared().url_as(LOCKED_ROLE, password, "guarded");
    let job = Job::user_activity(topic("guarded"));
    let line =
        |password: &str| job.run().env("KAFKA_URL", &Kafka::shared().url()).env("DATABASE_URL", &url(password)).args("--bounded");
    let ended = line("wrong-sesame-99").run(LIMIT);
    ended.expect_error(OUTSIDE);
    assert!(ended.stderr.contains(LOCKED_ROLE), "the error names the role:\n{}", ended.stderr);
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("wrong-sesame-99"), "a password is never printed");
    let ended = line(LOCKED_PASSWORD).run(LIMIT);
    ended.expect_success("the right password");
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(LOCKED_PASSWORD), "a password is never printed");
}

#[test]
fn a_table_that_does_not_fit_its_view() {
    let database = Postgres::shared().database("misfit");
    let table = "CREATE TABLE page_view_counts (window_start TIMESTAMP, window_end TIMESTAMP, page_url TEXT, view_count DATE,
        PRIMARY KEY (window_start, page_url))";
    database.connect().batch_execute(table).expect("a table");
    let line = Job::user_activity(topic("misfit")).run_on(Kafka::shared(), &database).args("--bounded");
    refused(line, OUTSIDE, &["page_view_counts", "view_count"]);
    assert_eq!(
        database.number("SELECT count(*) FROM pg_tables WHERE tablename = 'user_sessions'"),
        Some(0),
        "nothing is half-created"
    );
}

#[test]
fn a_lake_that_cannot_be_written() {
    let database = Postgres::shared().database("no_lake");
    let job = Job::user_activity(topic("no_lake"));
    // A file where the folder should be: it stops root too.
    std::fs::write(job.folder().join("data"), "").expect("the folder can be written");
    refused(job.run_on(Kafka::shared(), &database).args("--bounded --state file://state"), OUTSIDE, &["data/lake"]);
}

#[test]
fn a_state_that_cannot_be_written() {
    let job = Job::generated("events=10");
    std::fs::write(job.folder().join("taken"), "").expect("the folder can be written");
    refused(job.run().args("--bounded --state file://taken/state"), OUTSIDE, &["taken/state"]);
    refused(job.run().args("--bounded --state ftp://somewhere"), OUTSIDE, &["ftp://somewhere"]);
}

#[test]
fn a_port_that_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let job = Job::generated("events=10");
    refused(job.run().args("--bounded --listen").arg(&address), OUTSIDE, &[&address]);
}

#[test]
fn a_job_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    refused(Freshet::new(folder.path()).args("run jobs/no_such_job.toml"), USAGE, &["jobs/no_such_job.toml"]);
}
