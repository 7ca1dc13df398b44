//! One leader at a time, and numbers that are handed out once.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

#[test]
fn a_second_start_is_refused_while_the_first_one_lives() {
    for place in Place::all() {
        let open = |takeover| State::open_store(place.store.clone(), "job", takeover);
        let first = open(false).expect("a state");
        let error = open(false).expect_err("held");
        let text = error.to_string();
        assert!(matches!(error, Error::Held { generation: 1, .. }), "{text}");
        let pid = std::process::id().to_string();
        assert!(text.contains(&pid) && text.contains("--takeover") && text.contains("since 20"), "{text}");
        drop(first);
        assert_eq!(open(false).expect("free again").generation(), 2);
    }
}

#[test]
fn a_takeover_fences_the_first_one_and_is_itself_held() {
    for place in Place::all() {
        let first = place.begin();
        first.check().expect("the newest");
        let second = place.take_over();
        assert_eq!(second.generation(), 2);
        let error = first.check().expect_err("fenced");
        assert!(matches!(error, Error::Fenced { mine: 1, theirs: 2, .. }), "{error}");
        assert!(matches!(first.append(&epochs(0..1)), Err(Error::Fenced { .. })));
        assert!(matches!(first.collect(1), Err(Error::Fenced { .. })));
        assert_eq!(place.read(0).expect("a log").next, 0, "nothing was written");
        // The first one ends; the second one still lives.
        drop(first);
        let third = State::open_store(place.store.clone(), "job", false);
        assert!(matches!(third, Err(Error::Held { generation: 2, .. })));
        // The second one ends while the first one would still hold its own number: only the newest counts.
        drop(second);
        let third = State::open_store(place.store.clone(), "job", false).expect("free");
        assert_eq!(third.generation(), 3);
    }
}

#[test]
fn the_state_of_another_job_is_refused() {
    for place in Place::all() {
        drop(place.take_over());
        let error = State::open_store(place.store.clone(), "other", false).expect_err("another job").to_string();
        assert!(error.contains("job job") && error.contains("--state"), "{error}");
    }
    let url = "memory://of-another-job";
    drop(State::open(url, "a", false).expect("a state"));
    assert!(crate::Files::open(url, "b").is_err());
    crate::Files::open(url, "a").expect("its own");
}

#[test]
fn simultaneous_starts_get_different_numbers() {
    for place in Place::all() {
        let start = |_| {
            let store = place.store.clone();
            std::thread::spawn(move || State::open_store(store, "job", true))
        };
        let threads: Vec<_> = (0..8).map(start).collect();
        let mut states = Vec::new();
        for thread in threads {
            match thread.join().expect("no panic") {
                Ok(state) => states.push(state),
                // Overtaken before it had begun.
                Err(error) => assert!(matches!(error, Error::Fenced { .. }), "{error}"),
            }
        }
        let mut numbers: Vec<u64> = states.iter().map(State::generation).collect();
        numbers.sort_unstable();
        assert_eq!(numbers.last(), Some(&8));
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let living = states.iter().filter(|state| state.check().is_ok()).count();
        assert_eq!(living, 1);
    }
}

#[test]
fn simultaneous_starts_without_takeover_leave_one() {
    for place in Place::all() {
        let start = |_| {
            let store = place.store.clone();
            std::thread::spawn(move || State::open_store(store, "job", false))
        };
        let threads: Vec<_> = (0..8).map(start).collect();
        let started: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        assert_eq!(started.iter().filter(|state| state.is_ok()).count(), 1);
        assert!(started.iter().flat_map(|state| state.as_ref().err()).all(|error| matches!(error, Error::Held { .. })));
    }
}

#[test]
fn many_generations_leave_few_files() {
    let place = Place::disk();
    for generation in 1..=80 {
        assert_eq!(place.take_over().generation(), generation);
    }
    assert_eq!(place.list("generations").len(), 64);
    assert_eq!(place.take_over().generation(), 81);
}

#[test]
fn a_reset_forgets_everything_but_the_numbers() {
    for place in Place::all() {
        let state = place.begin();
        state.append(&epochs(0..3)).expect("durable");
        publish(&state, 2);
        let state = place.take_over();
        state.reset().expect("a reset");
        assert_eq!(place.read(0).expect("a log"), Log::default());
        assert_eq!(state.checkpoints().expect("a list"), []);
        drop(state);
        // The process ends before it begins: the reset holds.
        let state = place.begin();
        assert_eq!(state.generation(), 3);
        state.append(&epochs(0..2)).expect("durable");
        publish(&state, 0);
        state.collect(1).expect("collected");
        let state = place.begin();
        let log = place.read(0).expect("a log");
        assert_eq!((log.first, log.next, numbers(&log)), (0, 2, vec![0, 1]));
        assert_eq!(state.checkpoints().expect("a list"), [Checkpoint { epoch: 0, generation: 3 }]);
        assert!(place.list("log").iter().all(|path| !path.contains("00001-")), "{:?}", place.list("log"));
        assert_eq!(place.list("checkpoints").len(), 2);
    }
}

#[test]
fn a_reset_by_a_replaced_leader_is_void() {
    for place in Place::all() {
        place.begin().append(&epochs(0..3)).expect("durable");
        let zombie = place.take_over();
        zombie.check().expect("the newest");
        let state = place.begin();
        publish(&state, 2);
        // It has looked for a higher generation before there was one, and goes on now.
        place.store.put_new(&crate::names::reset(zombie.generation()), b"").expect("a mark");
        state.append(&epochs(3..4)).expect("durable");
        drop(state);
        let log = place.read(0).expect("a log");
        assert_eq!((log.next, numbers(&log)), (4, vec![0, 1, 2, 3]));
        assert_eq!(place.take_over().checkpoints().expect("a list").len(), 1);
    }
}

/// Plays the leader in a process of its own, for the test below.
#[test]
#[ignore = "is started by another test"]
fn leader_of_another_process() {
    let Ok(url) = std::env::var("FRESHET_TEST_STATE") else { return };
    let state = State::open(&url, "job", false).expect("a state");
    state.read_log(0).expect("a log");
    state.begin(0, b"").expect("a beginning");
    state.append(&epochs(0..3)).expect("durable");
    println!("\nready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("never comes");
}

#[test]
fn the_lease_of_a_killed_process_is_free_at_once() {
    let place = Place::disk();
    let url = format!("file://{}", place.path("").display());
    let mut leader = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "tests::generations::leader_of_another_process", "--ignored", "--nocapture"])
        .env("FRESHET_TEST_STATE", &url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let lines = BufReader::new(leader.stdout.take().expect("its output")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    let error = State::open(&url, "job", false).expect_err("held").to_string();
    assert!(error.contains(&format!("process {}", leader.id())), "{error}");
    leader.kill().expect("killed");
    leader.wait().expect("ended");
    let state = State::open(&url, "job", false).expect("free");
    assert_eq!((state.generation(), state.read_log(0).expect("a log").next), (2, 3));
}
