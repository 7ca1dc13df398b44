//! One view is computed anew, with another query, while all others stay as they are.

use std::path::Path;
use std::time::Duration;

use freshet_harness::freshet::{Freshet, Running};
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{Database, Postgres};
use freshet_harness::server::wait_for;

const LIMIT: Duration = Duration::from_secs(120);
const TOPIC: &str = "resets";

/// Events by their kind; the number stands for what makes the query another one.
fn kinds(view: &str, minutes: usize) -> String {
    format!(
        "[view.{view}]\nsql = \"SELECT window_start, window_end, event_type, count(*) AS events, count(DISTINCT user_id) AS users \
         FROM tumble(user_activity, INTERVAL '{minutes} minutes') GROUP BY window_start, window_end, event_type\"\n"
    )
}

fn epoch(database: &Database) -> i64 {
    database.number("SELECT max(epoch)::bigint FROM freshet.progress").unwrap_or(0)
}

fn moves(running: &mut Running, database: &Database) {
    let before = epoch(database);
    let moved = wait_for(LIMIT, || epoch(database) > before + 2 || !running.is_running());
    assert!(moved && running.is_running(), "nothing is committed\n{}", running.output());
}

fn stop(running: Running) {
    running.interrupt();
    running.wait(LIMIT).expect_success("a run that was stopped");
}

#[test]
fn a_view_is_computed_anew_from_the_beginning_and_the_others_go_on() {
    let (kafka, database) = (Kafka::shared(), Postgres::shared().database(TOPIC));
    kafka.create(TOPIC, 3);
    kafka.create(&format!("{TOPIC}_enriched"), 1);
    let line = format!("generate full --to {}/{TOPIC} --rate 3000 --late 0 --seed 5 --partitions 3", kafka.url());
    let mut events = Freshet::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).args(&line).start();
    let (short, long) = (kinds("kinds", 1), kinds("kinds", 3));
    let job = Job::user_activity(TOPIC).append(&short).append(&kinds("reference", 3)).append("[checkpoint]\ninterval = \"1s\"\n");
    let views = "\"user_sessions\"]";
    let job = job.replace(views, "\"user_sessions\", \"kinds\", \"reference\"]");
    let mut first = job.run_on(kafka, &database).args("-w 2").start();
    moves(&mut first, &database);
    moves(&mut first, &database);

    let running_still = job.run_on(kafka, &database).args("--reset kinds").run(LIMIT);
    running_still.expect_error(6);
    stop(first);
    let rows = database.number("SELECT count(*) FROM kinds");

    let job = job.replace(&short, &long);
    let refused = job.run_on(kafka, &database).run(LIMIT);
    refused.expect_error(2);
    assert!(refused.stderr.contains("view 'kinds' is now") && refused.stderr.contains("--reset VIEW"), "{}", refused.stderr);
    let unknown = job.run_on(kafka, &database).args("--reset kindes").run(LIMIT);
    unknown.expect_error(2);
    assert!(unknown.stderr.contains("has no such view") && unknown.stderr.contains("kinds"), "{}", unknown.stderr);
    assert_eq!(database.number("SELECT count(*) FROM kinds"), rows, "nothing has changed yet");

    let before = epoch(&database);
    let mut second = job.run_on(kafka, &database).args("-w 3 --reset kinds").start();
    moves(&mut second, &database);
    assert!(second.output().contains("computing anew: kinds"), "{}", second.output());
    second.signal("KILL");
    second.wait(LIMIT);
    assert!(epoch(&database) > before, "epochs go on");
    let mut third = job.run_on(kafka, &database).start();
    moves(&mut third, &database);
    events.interrupt();
    assert!(wait_for(LIMIT, || events.ended().is_some()), "the generator ends");
    moves_to_rest(&database);
    stop(third);

    let rows = |view: &str| {
        let query = format!("SELECT r::text, l::text FROM {view} r LEFT JOIN freshet.ledger l ON l.view = '{view}' ORDER BY 1");
        let rows = database.connect().query(&query, &[]).expect("the view can be read");
        rows.iter()
            .map(|row| format!("{} {}", row.get::<_, String>(0), row.get::<_, String>(1).replace(view, "view")))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows("kinds"), rows("reference"), "the view is what it would be if it had always been so");
    assert!(database.number("SELECT count(*) FROM kinds") > Some(3), "it has rows");
    for (view, column) in [("kinds", "events"), ("reference", "events"), ("page_view_counts", "view_count")] {
        let counted = database.number(&format!("SELECT counted FROM freshet.ledger WHERE view = '{view}'"));
        assert_eq!(database.number(&format!("SELECT sum({column})::bigint FROM {view}")), counted, "{view}");
    }
    assert_eq!(
        database.number("SELECT count(*) FROM freshet.progress"),
        database.number("SELECT count(DISTINCT sink) FROM freshet.progress"),
        "nothing is left of the run beside the job"
    );
}

/// Waits until no epoch has brought anything for a while.
fn moves_to_rest(database: &Database) {
    let read = || database.number("SELECT sum(read)::bigint FROM freshet.ledger");
    let mut last = read();
    let rests = wait_for(LIMIT, || {
        std::thread::sleep(Duration::from_millis(500));
        let seen = std::mem::replace(&mut last, read());
        seen == last
    });
    assert!(rests, "the topic comes to its end");
}
