//! Incarnations end, leave nothing behind, and the same processes form the next one.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{endless, form, is_loss, listeners, members, spawn, start, sum, wait_until};
use freshet_cluster::{Ended, Error};

/// The tests of this file count the threads and files of the process, so that they run one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const OF_INCARNATIONS: [&str; 4] = ["freshet:pulse", "freshet:link", "freshet:greet", "timely:"];

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the names of the threads that belong to incarnations, and how many sockets are open.
fn held() -> (Vec<String>, usize) {
    let entries = |folder: &str| std::fs::read_dir(folder).expect("Linux").filter_map(Result::ok).map(|entry| entry.path());
    let names = entries("/proc/self/task").filter_map(|task| std::fs::read_to_string(task.join("comm")).ok());
    let mut names: Vec<String> = names.filter(|name| OF_INCARNATIONS.iter().any(|prefix| name.starts_with(prefix))).collect();
    names.sort();
    let sockets = entries("/proc/self/fd").filter_map(|file| std::fs::read_link(file).ok());
    (names, sockets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}

/// Waits until threads and sockets are again as they were.
fn expect_held(before: &(Vec<String>, usize)) {
    wait_until(&format!("{before:?}, but {:?}", held()), Duration::from_secs(2), || held() == *before);
}

#[test]
fn twenty_incarnations_leave_neither_threads_nor_files() {
    let _alone = alone();
    let mut listeners = listeners(&members(3, 2));
    let before = held();
    let losses = Arc::new(AtomicUsize::new(0));
    for generation in 1..=20_usize {
        let culprit = generation % 3;
        let formed = form(&mut listeners, generation as u64).into_iter();
        let running: Vec<_> = formed
            .map(|forming| {
                let losses = Arc::clone(&losses);
                let count = move |_| {
                    losses.fetch_add(1, Ordering::SeqCst);
                };
                forming.expect("all are here").start(count).expect("all are here")
            })
            .collect();
        let handle = running[culprit].handle();
        let ends = spawn(running, endless);
        if generation % 2 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        handle.abandon("the test wants it");
        for (process, end) in ends.into_iter().enumerate() {
            let end = end.join().expect("no panic");
            match process == culprit {
                true => assert_eq!(end, Err(Ended::Abandoned("the test wants it".to_owned()))),
                false => assert!(is_loss(&end, culprit), "generation {generation}, process {process}: {end:?}"),
            }
        }
        assert_eq!(losses.load(Ordering::SeqCst), generation * 2, "each survivor is told once");
    }
    expect_held(&before);
    let ends = spawn(start(&mut listeners, 21), |worker, _| sum(worker, 1000));
    let total: u64 = ends.into_iter().flat_map(|end| end.join().expect("no panic").expect("nobody is lost")).sum();
    assert_eq!(total, 6 * 499_500, "the twenty-first does its work");
}

#[test]
fn good_ends_leave_nothing_either() {
    let _alone = alone();
    let mut listeners = listeners(&members(2, 1));
    let before = held();
    for generation in 1..=5 {
        let ends = spawn(start(&mut listeners, generation), |worker, _| sum(worker, 1000));
        let total: u64 = ends.into_iter().flat_map(|end| end.join().expect("no panic").expect("nobody is lost")).sum();
        assert_eq!(total, 2 * 499_500);
    }
    expect_held(&before);
}

#[test]
fn whoever_is_done_waits_for_the_one_that_is_not() {
    let _alone = alone();
    let mut members = members(3, 1);
    members.iter_mut().for_each(|member| member.timeouts.lost_after = member.timeouts.heartbeat * 2);
    let lost_after = members[0].timeouts.lost_after;
    let ends = spawn(start(&mut listeners(&members), 1), move |worker, _| {
        if worker.index() == 0 {
            // As one whose sink takes its last rows slowly: it lives, and the others have said good-bye long ago.
            std::thread::sleep(lost_after * 3);
        }
    });
    for (process, end) in ends.into_iter().enumerate() {
        assert_eq!(end.join().expect("no panic"), Ok(vec![()]), "process {process}");
    }
}

#[test]
fn a_worker_that_panics_ends_the_incarnation_for_all() {
    let _alone = alone();
    let mut listeners = listeners(&members(2, 2));
    let ends = spawn(start(&mut listeners, 1), |worker, handle| {
        if worker.index() == 3 {
            panic!("on purpose");
        }
        endless(worker, handle);
    });
    let ends: Vec<_> = ends.into_iter().map(|end| end.join().expect("no panic")).collect();
    assert!(is_loss(&ends[0], 1), "{:?}", ends[0]);
    assert_eq!(ends[1], Err(Ended::Panic("on purpose".to_owned())));
}

#[test]
fn workers_that_do_not_look_are_brought_down() {
    let _alone = alone();
    let mut listeners = listeners(&members(2, 2));
    let before = held();
    let running = start(&mut listeners, 1);
    let handle = running[0].handle();
    let ends = spawn(running, |worker, _| {
        let (mut input, probe) = common::exchange(worker, &Arc::default());
        for round in 1.. {
            (0..100).for_each(|number| input.send(number));
            input.advance_to(round);
            while probe.less_than(input.time()) {
                worker.step();
            }
        }
    });
    handle.abandon("the test wants it");
    for end in ends {
        assert!(matches!(end.join().expect("no panic"), Err(Ended::PeerLost(_) | Ended::Abandoned(_))));
    }
    expect_held(&before);
}

#[test]
fn a_loss_between_forming_and_running_is_told() {
    let _alone = alone();
    let mut listeners = listeners(&members(3, 1));
    let mut formed = form(&mut listeners, 1).into_iter().map(|forming| forming.expect("all are here"));
    let mut next = || formed.next().expect("there are three");
    let (mut leader, mut first, second) = (next(), next(), next());
    first.gather(Vec::new()).expect("it only sends");
    drop(second);
    assert!(matches!(leader.gather(Vec::new()), Err(Error::PeerLost(lost)) if lost.process == 2));
    assert!(matches!(first.scatter(None), Err(Error::PeerLost(_))));
    assert!(matches!(first.start(|_| {}), Err(Error::PeerLost(_))));
}
