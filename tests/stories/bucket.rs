//! A job whose state lies in a bucket: refused, taken over, cut off from its store, killed, started again; and every row is as the oracle's.

use std::path::Path;
use std::time::Duration;

use freshet_harness::freshet::{Freshet, Running};
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::oracle::{self, Late, Topic};
use freshet_harness::postgres::{Database, Postgres};
use freshet_harness::s3::S3;
use freshet_harness::server::wait_for;

const LIMIT: Duration = Duration::from_secs(90);
const TOPIC: &str = "bucket";
/// The store is away for so long: less than a leader bears.
const AWAY: Duration = Duration::from_secs(3);
/// Exit code of an instance that a newer start has fenced.
const FENCED: i32 = 5;
/// Exit code of a start while another instance lives.
const HELD: i32 = 6;

/// The job with its state in the bucket.
struct Story {
    server: S3,
    kafka: &'static Kafka,
    database: Database,
    job: Job,
}

impl Story {
    fn run(&self, arguments: &str) -> Freshet {
        let freshet = self.job.run_on(self.kafka, &self.database).args("--state s3://freshet/jobs/activity").args(arguments);
        self.server.variables().iter().fold(freshet, |freshet, (name, value)| freshet.env(name, value))
    }

    /// Returns the newest epoch in the database, or 0.
    fn committed(&self) -> i64 {
        self.database.number("SELECT max(epoch) FROM freshet.progress").unwrap_or(0)
    }

    /// Waits until a later epoch is there than now, and some more.
    fn moves(&self, running: &mut Running) {
        let before = self.committed();
        let moved = wait_for(LIMIT, || self.committed() > before + 5 || !running.is_running());
        assert!(moved && running.is_running(), "nothing is committed\n{}", running.output());
    }

    /// Starts again as a service manager does, until nobody has the lease any more.
    fn start_when_free(&self, arguments: &str) -> (Running, usize) {
        let mut refused = 0;
        loop {
            let before = self.committed();
            let mut running = self.run(arguments).start();
            wait_for(LIMIT, || !running.is_running() || self.committed() > before);
            match running.ended() {
                None => return (running, refused),
                Some(_) => running.wait(LIMIT).expect_error(HELD),
            }
            refused += 1;
        }
    }
}

#[test]
fn a_job_with_its_state_in_a_bucket_brings_each_event_once_through_kills_takeover_and_an_outage() {
    let kafka = Kafka::shared();
    kafka.create(TOPIC, 3);
    kafka.create("bucket_enriched", 2);
    let job = Job::user_activity(TOPIC).append("[checkpoint]\ninterval = \"500ms\"\n");
    let story = Story { server: S3::start("freshet"), kafka, database: Postgres::shared().database(TOPIC), job };
    let line = format!("generate full --to {}/{TOPIC} --events 120000 --rate 6000 --seed 7 --partitions 3", kafka.url());
    let events = Freshet::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).args(&line).start();

    let mut first = story.run("-w 2").start();
    story.moves(&mut first);
    story.run("-w 2").run(LIMIT).expect_error(HELD);
    story.moves(&mut first);

    let mut second = story.run("-w 1 --takeover").start();
    first.wait(LIMIT).expect_error(FENCED);
    story.moves(&mut second);

    story.server.server.signal("STOP");
    std::thread::sleep(AWAY);
    story.server.server.signal("CONT");
    story.moves(&mut second);

    // Killed, it cannot give its lease back.
    drop(second);
    let (mut third, refused) = story.start_when_free("-w 3");
    assert!(refused > 0, "the lease of who was killed lives on for some seconds");
    story.moves(&mut third);
    drop(third);

    events.wait(LIMIT).expect_success("the generator");
    story.run("-w 2 --takeover --bounded").succeed(LIMIT);
    check(&story);
}

fn check(story: &Story) {
    let topic = Topic::read(story.kafka, TOPIC);
    let mut client = story.database.connect();
    let late = Late::read(&mut client, &topic);
    oracle::check_tables(&mut client, &topic, &late);
    oracle::check_ledger(&mut client, &topic, &late);
    oracle::check_dead_letters(&mut client, &topic);
    oracle::lake_contents(&story.job.folder().join("data/lake")).expect(&topic.contents(), "the lake");
    oracle::topic_contents(story.kafka, "bucket_enriched").expect(&topic.contents(), "the enriched topic");
    let objects = story.server.objects("freshet");
    assert!(
        objects.iter().any(|name| name.starts_with("jobs/activity/checkpoints/") && name.ends_with("/manifest")),
        "{objects:?}"
    );
    assert!(!story.job.folder().join("data/state").exists(), "nothing of the state is on the disk");
}
