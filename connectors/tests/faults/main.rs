//! Sinks that fail, or whose process is killed, at every step: each epoch is there once.
//!
//! `cargo test --release -p freshet-connectors --features failpoints --test faults`

#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tables/cluster.rs"]
mod cluster;
#[path = "../tables/commits.rs"]
mod commits;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use cluster::{Cluster, Database};
use commits::{Content, commit, hits, key, options, view, with_late};
use fail::FailScenario;
use freshet_connectors::{TableSink, open_table_sink};
use freshet_model::{Commit, Epoch};

const EPOCHS: Epoch = 5;
/// Tells the test `child` what to do.
const CHILD: &str = "FRESHET_FAULTS_URL";

/// A row of its own for each epoch, and a late event.
fn next(epoch: Epoch) -> Commit {
    with_late(commit(epoch, &Content::from([(key(epoch as i64, "/"), hits(epoch as i64))]), &[]))
}

fn start(url: &str, generation: u64) -> Box<dyn TableSink> {
    open_table_sink(url, options(generation)).unwrap()
}

/// Prepares until it succeeds, then commits all epochs that the sink does not hold, each until it succeeds; returns how often something failed.
fn run(sink: &mut dyn TableSink) -> usize {
    let mut failures = 0;
    let mut attempt = |step: &mut dyn FnMut() -> Result<(), freshet_connectors::Error>| {
        while let Err(error) = step() {
            assert!(error.is_transient(), "{error}");
            failures += 1;
            assert!(failures < 100, "{error}");
        }
    };
    let mut held = None;
    attempt(&mut || {
        held = sink.prepare(&[view("v")])?;
        Ok(())
    });
    for epoch in held.map_or(1, |held| held + 1)..=EPOCHS {
        attempt(&mut || sink.commit(&next(epoch)).map(drop));
    }
    failures
}

/// What a place is called, and how its rows, late events and records are counted.
struct Place<'a> {
    url: String,
    count: &'a mut dyn FnMut() -> [i64; 3],
}

impl Place<'_> {
    fn check(&mut self, what: &str) {
        let records: i64 = (1..=EPOCHS as i64).map(|epoch| 10 * epoch).sum();
        assert_eq!((self.count)(), [EPOCHS as i64, EPOCHS as i64, records], "{what}");
    }
}

/// Tells whether a point is passed before the first commit.
fn is_preparing(point: &str) -> bool {
    point.ends_with("::fence") || point.ends_with("::progress_read")
}

/// Runs a test at a new place for each fail point of PostgreSQL, SQLite and files.
fn everywhere(test: &mut dyn FnMut(&str, &mut Place<'_>)) {
    // Otherwise each database would start a cluster of its own.
    let _cluster = Cluster::shared();
    let steps = ["fence", "progress_read", "after_compare_and_set", "mid_copy", "commit_sent", "after_commit"];
    for point in steps.map(|step| format!("postgres::{step}")) {
        let database = Database::create();
        let mut reader = database.client();
        let mut count = || {
            let sql =
                "SELECT (SELECT count(*) FROM v), (SELECT count(*) FROM freshet.late_events), (SELECT read FROM freshet.ledger)";
            let row = reader.query_one(sql, &[]).unwrap();
            [row.get(0), row.get(1), row.get(2)]
        };
        test(&point, &mut Place { url: database.url.clone(), count: &mut count });
    }
    for point in ["sqlite::fence", "sqlite::progress_read", "sqlite::before_commit"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.db");
        let mut count = || {
            let reader = rusqlite::Connection::open(&path).unwrap();
            let number = |sql: &str| reader.query_row(sql, [], |row| row.get(0)).unwrap();
            ["SELECT count(*) FROM v", "SELECT count(*) FROM freshet_late_events", "SELECT read FROM freshet_ledger"].map(number)
        };
        test(point, &mut Place { url: format!("sqlite://{}", path.display()), count: &mut count });
    }
    for point in ["file::fence", "file::progress_read", "file::before_sidecar"] {
        let folder = tempfile::tempdir().unwrap();
        // Files have no ledger: that of the others stands in.
        let lines = |name: &str| lines(&folder.path().join(name));
        let mut count = || [lines("views.ndjson"), lines("views.late.ndjson"), 150];
        test(point, &mut Place { url: format!("file://{}/views.ndjson", folder.path().display()), count: &mut count });
    }
}

fn lines(path: &Path) -> i64 {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().for_each(|line| assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}"));
    text.lines().count() as i64
}

#[test]
fn a_step_that_fails_is_tried_again_and_each_epoch_is_there_once() {
    let scenario = FailScenario::setup();
    everywhere(&mut |point, place| {
        fail::cfg(point, "2*return->1*off->1*return->off").unwrap();
        let failures = run(&mut *start(&place.url, 1));
        fail::remove(point);
        assert!(failures >= 2, "{point} was passed");
        place.check(point);
    });
    scenario.teardown();
}

#[test]
fn a_process_that_is_killed_at_a_step_leaves_each_epoch_whole_or_not_at_all() {
    let scenario = FailScenario::setup();
    everywhere(&mut |point, place| {
        let before = if is_preparing(point) { 0 } else { 2 };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored"])
            .env(CHILD, &place.url)
            .env("FAILPOINTS", format!("{point}={before}*off->return(crash)"))
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(6), "{point}: {}", String::from_utf8_lossy(&child.stdout));
        assert_eq!(run(&mut *start(&place.url, 2)), 0, "{point}");
        place.check(point);
    });
    scenario.teardown();
}

#[test]
#[ignore = "what the killed process does"]
fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let scenario = FailScenario::setup();
    run(&mut *start(&url, 1));
    scenario.teardown();
}
