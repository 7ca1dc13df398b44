//! Starting again: what goes on by itself, what is refused, and the ways out.

use std::path::Path;
use std::time::Duration;

use freshet_harness::freshet::Running;
use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::Postgres;
use freshet_harness::server::wait_for;

use super::embedded::{TABLES, open};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns the newest epoch of the embedded tables, and the number of records that they account for.
fn progress(folder: &Path) -> Option<(i64, i64)> {
    let query = "SELECT p.epoch, l.read FROM freshet_progress p JOIN freshet_ledger l ON l.sink = p.sink WHERE l.view = 'page_view_counts'";
    open(&folder.join(TABLES))?.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).ok()
}

fn number(folder: &Path, query: &str) -> Option<f64> {
    open(&folder.join(TABLES))?.query_row(query, [], |row| row.get(0)).ok()
}

fn wait_for_progress(job: &Job, beyond: i64, running: &mut Running) {
    let moved = wait_for(LIMIT, || progress(job.folder()).is_some_and(|(epoch, _)| epoch > beyond) || !running.is_running());
    assert!(moved && running.is_running(), "nothing is committed\n{}", running.output());
}

#[test]
fn a_second_start_is_refused_and_one_with_takeover_fences_the_first() {
    let job = Job::generated("rate=2000");
    let mut first = job.run().start();
    wait_for_progress(&job, 0, &mut first);

    let refused = job.run().run(LIMIT);
    refused.expect_error(6);
    assert!(refused.stderr.contains("--takeover"), "{}", refused.stderr);
    assert!(first.is_running(), "the first goes on\n{}", first.output());

    let mut second = job.run().args("--takeover").start();
    let fenced = first.wait(LIMIT);
    fenced.expect_error(5);
    let (epoch, _) = progress(job.folder()).expect("tables");
    wait_for_progress(&job, epoch, &mut second);
    second.interrupt();
    second.wait(LIMIT).expect_success("the second");
}

#[test]
fn a_job_that_was_stopped_goes_on_from_its_checkpoint_and_one_that_has_changed_is_refused() {
    let job = Job::generated("rate=2000");
    let mut first = job.run().args("-w 2").start();
    wait_for_progress(&job, 0, &mut first);
    first.interrupt();
    first.wait(LIMIT).expect_success("the first run");
    let (epoch, read) = progress(job.folder()).expect("tables");

    let mut second = job.run().args("-w 3").start();
    wait_for_progress(&job, epoch, &mut second);
    assert!(second.output().contains("going on from the job's state"), "{}", second.output());
    assert!(second.output().contains("repeat=0"), "a clean stop leaves nothing to repeat\n{}", second.output());
    second.interrupt();
    second.wait(LIMIT).expect_success("the second run");
    assert!(progress(job.folder()).expect("tables").1 > read, "it counts on");

    let changed = job.replace("INTERVAL '1 minute')\nWHERE", "INTERVAL '2 minutes')\nWHERE");
    let refused = changed.run().run(LIMIT);
    refused.expect_error(2);
    assert!(
        refused.stderr.contains("view 'page_view_counts' is now") && refused.stderr.contains("--reset"),
        "{}",
        refused.stderr
    );

    let mut anew = changed.run().args("--reset").start();
    let two_minutes = || {
        let query = "SELECT min(julianday(window_end) - julianday(window_start)) * 1440 FROM page_view_counts";
        number(changed.folder(), query).is_some_and(|minutes| minutes > 1.5)
    };
    assert!(wait_for(LIMIT, || two_minutes() || !anew.is_running()), "it begins anew\n{}", anew.output());
    anew.interrupt();
    anew.wait(LIMIT).expect_success("the job begun anew");
    assert!(two_minutes(), "no row of the former view is left");
}

/// Requires that a view's table in a database holds each event once that the ledger there says was counted.
fn check_counted(job: &Job, database: &str, view: &str, column: &str) {
    let number = |query: &str| open(&job.folder().join(database))?.query_row(query, [], |row| row.get::<_, f64>(0)).ok();
    let counted = number(&format!("SELECT counted FROM freshet_ledger WHERE view = '{view}'")).expect("a ledger");
    assert!(counted > 0.0, "{view} has counted something");
    assert_eq!(number(&format!("SELECT sum({column}) FROM {view}")), Some(counted), "{view} in {database}");
}

#[test]
fn views_come_and_go_after_a_clean_stop_and_the_others_go_on() {
    const KINDS: &str = r#"
[view.kinds]
sql = "SELECT window_start, window_end, event_type, count(*) AS events FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start, window_end, event_type"

[sink.second]
url = "sqlite://data/second.db"
views = ["kinds"]
"#;
    let (few, more) = (r#""user_sessions"]"#, r#""user_sessions", "kinds"]"#);
    let job = Job::generated("rate=2000");
    let mut first = job.run().args("-w 2").start();
    wait_for_progress(&job, 0, &mut first);
    first.interrupt();
    first.wait(LIMIT).expect_success("the first run");
    let (epoch, read) = progress(job.folder()).expect("tables");

    let job = job.replace(few, more).append(KINDS);
    let mut second = job.run().args("-w 3").start();
    wait_for_progress(&job, epoch, &mut second);
    assert!(second.output().contains("view 'kinds' is new"), "{}", second.output());
    second.signal("KILL");
    second.wait(LIMIT);
    let (epoch, _) = progress(job.folder()).expect("tables");

    // What the job with the new view has left must not be repeated by one without it.
    let job = job.replace(KINDS, "").replace(more, few);
    let refused = job.run().run(LIMIT);
    refused.expect_error(2);
    assert!(refused.stderr.contains("start the former job once and stop it"), "{}", refused.stderr);

    let job = job.replace(few, more).append(KINDS);
    let mut third = job.run().start();
    wait_for_progress(&job, epoch, &mut third);
    third.interrupt();
    third.wait(LIMIT).expect_success("the third run");
    check_counted(&job, TABLES, "page_view_counts", "view_count");
    check_counted(&job, TABLES, "kinds", "events");
    check_counted(&job, "data/second.db", "kinds", "events");
    let since = number(job.folder(), "SELECT read FROM freshet_ledger WHERE view = 'kinds'");
    let all = progress(job.folder()).expect("tables").1;
    assert_eq!(since, Some((all - read) as f64), "the new view has read what came after the first run");

    let job = job.replace(KINDS, "").replace(more, few);
    let mut fourth = job.run().start();
    let (epoch, _) = progress(job.folder()).expect("tables");
    wait_for_progress(&job, epoch, &mut fourth);
    assert!(fourth.output().contains("view 'kinds' is gone"), "{}", fourth.output());
    fourth.interrupt();
    fourth.wait(LIMIT).expect_success("the fourth run");
    check_counted(&job, TABLES, "page_view_counts", "view_count");
    check_counted(&job, TABLES, "kinds", "events");
    check_counted(&job, "data/second.db", "kinds", "events");
}

#[test]
fn a_bounded_run_that_has_ended_is_not_run_again_without_being_told() {
    let job = Job::generated("events=5000&rate=0&span=10m");
    job.run().args("--bounded").succeed(LIMIT);
    let again = job.run().args("--bounded").run(LIMIT);
    again.expect_error(2);
    assert!(again.stderr.contains("has run to the end"), "{}", again.stderr);
    job.run().args("--bounded --reset").succeed(LIMIT);
    assert_eq!(progress(job.folder()).expect("tables").1, 5000);
}

#[test]
fn a_state_without_its_log_is_not_taken_for_a_new_job() {
    let job = Job::generated("rate=2000");
    let mut first = job.run().start();
    wait_for_progress(&job, 0, &mut first);
    drop(first);
    std::fs::remove_dir_all(job.folder().join("data/state")).expect("the state is there");
    let refused = job.run().run(LIMIT);
    refused.expect_error(1);
    assert!(refused.stderr.contains("sink 'warehouse' holds epoch"), "{}", refused.stderr);
}

#[test]
fn a_supervised_job_waits_for_a_database_that_is_away() {
    let kafka = Kafka::shared();
    kafka.create("supervised", 1);
    let mut server = Postgres::start(false);
    let database = server.database("supervised");
    let job = Job::user_activity("supervised");
    server.server.signal("KILL");
    let mut running = job.run_on(kafka, &database).args("--supervise").start();
    let waits = wait_for(LIMIT, || running.output().contains("starting again in") || !running.is_running());
    assert!(waits && running.is_running(), "it waits\n{}", running.output());
    server.server.start_again();
    server.wait_until_ready();
    let committed = || {
        let client = postgres::Client::connect(&database.url, postgres::NoTls).ok();
        client
            .and_then(|mut client| client.query_one("SELECT count(*) FROM freshet.progress WHERE epoch > 0", &[]).ok())
            .is_some_and(|row| row.get::<_, i64>(0) > 0)
    };
    assert!(wait_for(LIMIT, committed), "it goes on\n{}", running.output());
    running.interrupt();
    running.wait(LIMIT).expect_success("a supervised job");
}
