//! Whoever does not belong to the cluster is refused, with a reason in the log, and the cluster lives on.

mod common;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{endless, form, is_loss, listeners, members, role, spawn, start, sum, wait_until};
use freshet_cluster::{Error, Listener, Member, Refusal, Secret};

/// Lines that the processes of this file logged.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn capture_log() {
    let _ = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).try_init();
}

fn logged(text: &str) -> bool {
    String::from_utf8_lossy(&LOG.lock().expect("no panic")).contains(text)
}

/// Lets one process with a mistake meet a leader that waits; returns its error, and makes sure that the cluster forms later.
fn refused(mistake: impl Fn(&mut Member)) -> Error {
    let members = members(2, 1);
    let mut leader = Listener::bind(&members[0]).expect("free");
    thread::scope(|scope| {
        let waiting = scope.spawn(move || leader.form(role(0, 1)).expect("the right one comes at last"));
        let mut wrong = members[1].clone();
        mistake(&mut wrong);
        let error = {
            let begun = Instant::now();
            let mut listener = Listener::bind(&wrong).expect("free");
            let error = listener.form(role(1, 1)).err().expect("it is refused");
            assert!(begun.elapsed() < Duration::from_secs(1), "it does not wait");
            error
        };
        let right = Listener::bind(&members[1]).expect("free").form(role(1, 1)).expect("it belongs there");
        drop((waiting.join().expect("no panic"), right));
        error
    })
}

#[test]
fn a_misconfigured_process_ends_with_the_reason() {
    for (mistake, text) in [
        (
            &(|member: &mut Member| member.secret = Secret::new("wrong")) as &dyn Fn(&mut Member),
            "the secret differs from that of process 0",
        ),
        (&|member| member.job += 1, "the job differs from that of process 0"),
        (&|member| member.workers = 2, "process 0 has 1 workers"),
        (&|member| member.addresses.push("c:1".to_owned()), "process 0 counts 2 processes"),
    ] {
        let error = refused(mistake);
        assert!(matches!(error, Error::Refused { process: 0, .. }), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}

#[test]
fn a_second_process_with_the_same_index_gives_up() {
    let mut members = members(3, 1);
    for member in &mut members {
        (member.timeouts.heartbeat, member.timeouts.lost_after) = (Duration::from_millis(50), Duration::from_millis(200));
    }
    let mut all = listeners(&members);
    let running = start(&mut all, 1);
    let handle = running[0].handle();
    let ends = spawn(running, endless);

    // It has an address of its own, or it could not even listen.
    let mut second = members[1].clone();
    second.addresses[1] = common::members(1, 1)[0].addresses[0].clone();
    let error = Listener::bind(&second).expect("free").form(role(1, 1)).err().expect("the place is taken");
    assert!(matches!(error, Error::Refused { process: 0, refusal: Refusal::Taken, .. }), "{error}");
    let error = Listener::bind(&members[1]).err().expect("the address is taken");
    assert!(error.to_string().starts_with(&format!("cannot listen at {}", members[1].addresses[1])), "{error}");

    assert!(!handle.is_over(), "the cluster lives on");
    handle.abandon("the test is over");
    ends.into_iter().skip(1).for_each(|end| assert!(is_loss(&end.join().expect("no panic"), 0)));
}

/// Says something to a process, and waits until that closes the connection.
fn say(address: &str, bytes: &[u8]) -> Duration {
    let mut stranger = TcpStream::connect(address).expect("somebody listens");
    let begun = Instant::now();
    // It may close before it has read everything.
    let _ = stranger.write_all(bytes);
    let _ = stranger.read_to_end(&mut Vec::new());
    begun.elapsed()
}

#[test]
fn garbage_is_refused_while_forming_and_while_running() {
    capture_log();
    let members = members(2, 1);
    let mut all = listeners(&members);
    let huge = [&b"freshet\0\x01\0"[..], &u32::MAX.to_le_bytes(), &[7; 100_000]].concat();
    let floods: [&[u8]; 4] = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[0; 4096], &huge, b"freshet\0\x01\0\x05\0\0\0abcde"];
    let (leader, follower) = all.split_at_mut(1);
    let running = thread::scope(|scope| {
        let waiting = scope.spawn(|| leader[0].form(role(0, 1)).expect("the other comes"));
        for garbage in floods {
            assert!(say(&members[0].addresses[0], garbage) < Duration::from_secs(1), "at once");
        }
        let silent = say(&members[0].addresses[0], b"fresh");
        assert!((1900..3000).contains(&silent.as_millis()), "after two seconds, not {silent:?}");
        let joined = follower[0].form(role(1, 1)).expect("the leader is there");
        [waiting.join().expect("no panic"), joined].map(|forming| forming.start(|_| {}).expect("all are here"))
    });
    let handle = running[0].handle();
    let ends = spawn(running.into(), endless);
    for garbage in floods {
        for member in &members {
            say(&member.addresses[member.process], garbage);
        }
    }
    assert!(!handle.is_over());
    handle.abandon("the test is over");
    ends.into_iter().for_each(|end| drop(end.join().expect("no panic")));
    wait_until("the log names address and reason", Duration::from_secs(1), || {
        logged("refused a connection from 127.0.0.1:")
            && logged("not the protocol of Freshet's clusters")
            && logged("no hello within two seconds")
    });
}

#[test]
fn a_hello_of_another_version_is_told_so() {
    let members = members(2, 1);
    let _leader = Listener::bind(&members[0]).expect("free");
    let mut stranger = TcpStream::connect(&members[0].addresses[0]).expect("it listens");
    stranger.write_all(b"freshet\0\x63\0").expect("it listens");
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer).expect("it answers");
    assert_eq!(answer[..10], [38, 0, 0, 0, 2, 0, 1, 0, 0, 0], "refused, for the version, which is 1");
}

#[test]
fn a_flood_of_silent_callers_keeps_nobody_out() {
    let members = members(2, 1);
    let mut all = listeners(&members);
    let is_formed = AtomicBool::new(false);
    let formed = thread::scope(|scope| {
        scope.spawn(|| {
            // Many more than are heard at once, and always new ones.
            let mut flood = VecDeque::new();
            while !is_formed.load(Ordering::SeqCst) {
                flood.extend(TcpStream::connect(&members[0].addresses[0]));
                thread::sleep(Duration::from_millis(1));
                flood.drain(..flood.len().saturating_sub(200));
            }
        });
        thread::sleep(Duration::from_millis(300));
        let formed = form(&mut all, 1);
        is_formed.store(true, Ordering::SeqCst);
        formed
    });
    let running = formed.into_iter().map(|forming| forming.expect("in time").start(|_| {}).expect("all are here"));
    let ends = spawn(running.collect(), |worker, _| sum(worker, 10));
    ends.into_iter().for_each(|end| drop(end.join().expect("no panic").expect("nobody is lost")));
}
