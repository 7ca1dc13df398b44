//! State in an object store behind a network: log, checkpoints, lease and fencing, with a real server's conditional puts.
//! The server is moto, from PyPI, which needs Python 3 with venv.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use freshet_harness::s3::S3;
use freshet_recovery::{Checkpoint, Entry, Error, State};

/// Tells the test `child` where the state is: credentials come from the environment of a process.
const CHILD: &str = "FRESHET_S3_STATE";
const FOLD: &str = "fold";
/// Entries of a checkpoint: together more than goes into one request.
const ENTRIES: u64 = 20_000;

#[test]
fn log_checkpoints_lease_and_fencing_hold_on_a_server() {
    let server = S3::start("state");
    let child = Command::new(std::env::current_exe().expect("a path"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(CHILD, "s3://state/some/prefix")
        .envs(server.variables())
        .output()
        .expect("a test that runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(child.status.success(), "{}{}", text(&child.stdout), text(&child.stderr));
    assert!(text(&child.stdout).contains("1 passed"), "it ran: {}", text(&child.stdout));
    let objects = server.objects("state");
    for folder in ["generations", "log", "checkpoints"] {
        assert!(objects.iter().any(|name| name.starts_with(&format!("some/prefix/{folder}/"))), "{folder}: {objects:?}");
    }
}

#[test]
#[ignore = "what the process with credentials does"]
fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let published: Vec<Checkpoint> = (0..3).map(|_| live(&url)).collect();
    let state = State::open(&url, "job", false).expect("the state of a job that has ended");
    let log = state.read_log(published[1].epoch + 1).expect("a log");
    assert_eq!(log.next, 12, "three lives of four epochs each");
    let checkpoints = state.checkpoints().expect("a list");
    assert_eq!(checkpoints, [published[2], published[1]], "two are kept");
    let entries = state.files().parts(published[2], FOLD, 0..=u64::MAX).expect("a part");
    assert_eq!(
        entries.map(|entry| entry.expect("an entry")).filter(|(_, value)| value[..8] == 11_u64.to_le_bytes()).count() as u64,
        ENTRIES
    );
    fenced(&url, &state);
    numbers(&url);
}

/// One life of a leader: goes on where the one before ended, logs four epochs, publishes a checkpoint, collects.
fn live(url: &str) -> Checkpoint {
    let state = State::open(url, "job", false).unwrap_or_else(|error| panic!("{error}"));
    let log = state.read_log(0).expect("a log");
    if let Some(newest) = state.checkpoints().expect("a list").first() {
        state.verify(*newest).expect("a whole checkpoint");
    }
    for entry in &log.entries {
        assert!(!matches!(entry, Entry::Epoch { epoch, payload } if *payload != epoch.to_le_bytes()), "{entry:?}");
    }
    state.begin(log.next, b"start").expect("a beginning");
    for epoch in log.next..log.next + 4 {
        state.append(&[(epoch, epoch.to_le_bytes().to_vec())]).expect("a logged epoch");
    }
    let epoch = log.next + 3;
    let mut part = state.files().part(state.checkpoint(epoch), FOLD, 0..=u64::MAX).expect("a part");
    for hash in 0..ENTRIES {
        part.push(&(hash << 40).to_be_bytes(), &value(epoch, hash)).expect("an entry");
    }
    part.finish().expect("a whole part");
    let published = state.publish(epoch, &[FOLD.to_owned()], b"kept").expect("a checkpoint");
    state.collect(2).expect("a collection");
    published
}

/// A kilobyte that does not shrink when it is compressed, behind the epoch's number.
fn value(epoch: u64, hash: u64) -> Vec<u8> {
    let noise = (0..127_u64).flat_map(|n| {
        (hash * 127 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()
    });
    epoch.to_le_bytes().into_iter().chain(noise).collect()
}

/// While one has the lease others are refused, and one that takes over stops it.
fn fenced(url: &str, first: &State) {
    let held = State::open(url, "job", false);
    assert!(matches!(held, Err(Error::Held { .. })), "{held:?}");
    let second = State::open(url, "job", true).expect("a takeover");
    let next = second.read_log(0).expect("a log").next;
    second.begin(next, b"start").expect("a beginning");
    let late = first.begin(next, b"late");
    assert!(matches!(late, Err(Error::Fenced { .. })), "{late:?}");
}

/// Eight that start at once get eight numbers.
fn numbers(url: &str) {
    let take = || State::open(url, "job", true).map(|state| state.generation());
    let taken: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let numbers: BTreeSet<u64> = taken.iter().filter_map(|generation| generation.as_ref().ok()).copied().collect();
    let fenced = taken.iter().filter(|generation| matches!(generation, Err(Error::Fenced { .. }))).count();
    assert_eq!(numbers.len() + fenced, 8, "nobody shares a number, and who is overtaken hears of it: {taken:?}");
    assert!(!numbers.is_empty(), "{taken:?}");
}
