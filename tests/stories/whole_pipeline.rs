//! From a topic to tables, a lake and a second topic: every row as the oracle computes it, for any number of workers and processes.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use freshet_harness::freshet::Freshet;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::oracle::{self, Late, Topic};
use freshet_harness::postgres::Postgres;
use freshet_harness::server::{free_ports, wait_for};
use postgres::Client;

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

#[test]
fn a_job_killed_again_and_again_and_begun_with_other_numbers_of_workers_agrees_with_the_oracle() {
    let [first, second] = free_ports();
    let cluster = tempfile::NamedTempFile::new().expect("a temporary file");
    let hosts = format!("hosts = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]\n");
    std::fs::write(&cluster, hosts).expect("a temporary file can be written");
    agree("killed", |job| {
        let alone = |workers: usize| vec![job().args(&format!("-w {workers}"))];
        let both = (0..2).map(|i| job().args(&format!("-w 1 -n 2 -p {i} --cluster")).arg(cluster.path())).collect();
        let killed = |processes| Crew { processes, is_killed: true };
        let mut crews: Vec<Crew> = [1, 2, 4, 3].map(alone).map(killed).into();
        crews.push(killed(both));
        crews.push(Crew { processes: vec![job().args("-w 1 --bounded")], is_killed: false });
        crews
    });
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

/// The processes of one run, and whether they are killed on the way.
struct Crew {
    processes: Vec<Freshet>,
    is_killed: bool,
}

/// Runs the job to the end of the topic, in as many processes as `processes` makes, and checks all that it wrote.
fn agrees(name: &str, processes: impl FnOnce(&dyn Fn() -> Freshet) -> Vec<Freshet>) {
    agree(name, |job| vec![Crew { processes: processes(job), is_killed: false }]);
}

/// Lets crews run the job, one after the other; the last one runs to the end of the topic.
fn run_crew(name: &str, crew: Crew, client: &mut Client) {
    let before = committed(client);
    let mut running: Vec<_> = crew.processes.into_iter().map(Freshet::start).collect();
    if crew.is_killed {
        // Each gets a little further than the one before it: epochs are small at first.
        let mut ends = || running.iter_mut().any(|process| !process.is_running());
        wait_for(LIMIT, || committed(client) > before || ends());
        assert!(!ends(), "{name}: it was to be killed, and ended by itself\n{}", running[0].output());
        return drop(running);
    }
    for process in running {
        process.wait(LIMIT).expect_success(name);
    }
}

/// Returns the newest epoch in the database, or 0.
fn committed(client: &mut Client) -> i64 {
    client.query_one("SELECT coalesce(max(epoch), 0) FROM freshet.progress", &[]).map_or(0, |row| row.get(0))
}

/// Lets crews run the job one after the other, and checks all that they wrote together.
fn agree(name: &str, crews: impl FnOnce(&dyn Fn() -> Freshet) -> Vec<Crew>) {
    let kafka = Kafka::shared();
    let topic = filled_topic();
    let enriched = format!("{TOPIC}_{name}_enriched");
    kafka.create(&enriched, 2);
    let job = Job::user_activity(TOPIC).replace(&format!("/{TOPIC}_enriched"), &format!("/{enriched}")).short_epochs();
    let job = job.append("[checkpoint]\ninterval = \"100ms\"\n");
    let database = Postgres::shared().database(&format!("pipeline_{name}"));

    for crew in crews(&|| job.run_on(kafka, &database)) {
        run_crew(name, crew, &mut database.connect());
    }

    let mut client = database.connect();
    let late = Late::read(&mut client, topic);
    // Epochs grow while a worker is behind, so only one that reads alone is sure to have several of them.
    assert!(!late.is_empty() || name != "w1", "some events are late");
    oracle::check_tables(&mut client, topic, &late);
    oracle::check_ledger(&mut client, topic, &late);
    oracle::check_dead_letters(&mut client, topic);
    oracle::lake_contents(&job.folder().join("data/lake")).expect(&topic.contents(), "the lake");
    oracle::topic_contents(kafka, &enriched).expect(&topic.contents(), "the enriched topic");
}
