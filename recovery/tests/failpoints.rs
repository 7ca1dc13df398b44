//! Each fail point, set to return an error and to panic: the next start finds everything that was acknowledged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use fail::FailScenario;
use freshet_recovery::{Checkpoint, Entry, Error, State};

/// What a job does, as far as it comes; epochs that were acknowledged are counted, and so is the checkpoint.
#[derive(Debug, Default)]
struct Done {
    epochs: u64,
    published: Option<Checkpoint>,
}

/// Names a place of its own, of each kind.
fn urls(folder: &tempfile::TempDir) -> [String; 2] {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    [format!("file://{}/{number}", folder.path().display()), format!("memory://failpoints-{number}")]
}

fn run(url: &str, done: &mut Done) -> Result<(), Error> {
    let state = State::open(url, "job", false)?;
    let log = state.read_log(0)?;
    let newest = state.checkpoints()?.first().copied();
    if let Some(id) = newest {
        state.verify(id)?;
        for entry in state.files().parts(id, "fold", 0..=u64::MAX)? {
            entry?;
        }
    }
    state.begin(log.next, b"start")?;
    for epoch in log.next..log.next + 4 {
        state.append(&[(epoch, epoch.to_le_bytes().to_vec())])?;
        done.epochs = epoch + 1;
    }
    let epoch = done.epochs - 1;
    let mut part = state.files().part(state.checkpoint(epoch), "fold", 0..=u64::MAX)?;
    for hash in 0..100u64 {
        part.push(&hash.to_be_bytes(), &epoch.to_le_bytes())?;
    }
    part.finish()?;
    done.published = Some(state.publish(epoch, &["fold".to_owned()], b"kept")?);
    state.collect(1)
}

/// Checks that everything acknowledged is there, and nothing else but what was under way.
fn check(url: &str, done: &Done, what: &str) {
    let state = State::open(url, "job", false).unwrap_or_else(|error| panic!("{what}: {error}"));
    let log = state.read_log(0).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(log.next == done.epochs || log.next == done.epochs + 1, "{what}: {} of {}", log.next, done.epochs);
    let epochs: Vec<_> = log.entries.iter().filter(|entry| matches!(entry, Entry::Epoch { .. })).collect();
    for (found, epoch) in epochs.iter().zip(log.first..) {
        assert_eq!(**found, Entry::Epoch { epoch, payload: epoch.to_le_bytes().to_vec() }, "{what}");
    }
    assert_eq!(epochs.len() as u64, log.next - log.first, "{what}");
    let checkpoints = state.checkpoints().expect("a list");
    assert!(done.published.is_none_or(|id| checkpoints.contains(&id)), "{what}: {checkpoints:?}");
    for id in &checkpoints {
        let manifest = state.verify(*id).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(manifest.payload, b"kept");
    }
    assert!(checkpoints.is_empty() || log.first <= checkpoints[0].epoch + 1, "{what}");
    assert!(!checkpoints.is_empty() || log.first == 0, "{what}: without a checkpoint the log is whole");
}

#[test]
fn what_was_acknowledged_survives_every_fail_point() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    let points = [
        "generation::raised",
        "log::before_write",
        "log::after_write",
        "log::after_sync",
        "checkpoint::part_half",
        "checkpoint::before_manifest",
        "checkpoint::after_manifest",
        "collect::half",
        "restore::half",
    ];
    for point in points {
        for action in ["return", "panic"] {
            for url in urls(&folder) {
                let what = format!("{point} {action} {url}");
                let mut done = Done::default();
                run(&url, &mut done).unwrap_or_else(|error| panic!("{what}: {error}"));
                fail::cfg(point, action).expect("a point");
                let outcome = catch_unwind(AssertUnwindSafe(|| run(&url, &mut done)));
                fail::remove(point);
                assert!(!matches!(outcome, Ok(Ok(()))), "{what}: the point was not reached");
                check(&url, &done, &what);
                // And the job goes on.
                run(&url, &mut done).unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&url, &done, &what);
            }
        }
    }
    scenario.teardown();
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    for url in urls(&folder) {
        let state = State::open(&url, "job", false).expect("a state");
        state.read_log(0).expect("a log");
        state.begin(0, b"").expect("a beginning");
        fail::cfg("log::after_write", "return").expect("a point");
        assert!(matches!(state.append(&[(0, Vec::new())]), Err(Error::Unavailable { .. })));
        fail::remove("log::after_write");
        assert!(matches!(state.append(&[(0, Vec::new())]), Err(Error::Order(_))), "nobody knows what is there");
        assert!(matches!(state.publish(0, &[], b""), Err(Error::Order(_))));
    }
    scenario.teardown();
}
