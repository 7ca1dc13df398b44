//! Real processes: killed, stopped and started again.
//!
//! A child is this test binary itself, run with the one test `child` and a variable that says which process it is.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use common::{endless, members, role};
use freshet_cluster::{Ended, Listener, Member, run};

const VARIABLE: &str = "FRESHET_CLUSTER_TEST";
/// A child that nobody ends gives up after so many incarnations.
const MOST_INCARNATIONS: u64 = 10;

/// What a child does; nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Ok(told) = std::env::var(VARIABLE) else { return };
    let mut told = told.split(',');
    let process: usize = told.next().and_then(|index| index.parse().ok()).expect("an index");
    let generation: u64 = told.next().and_then(|number| number.parse().ok()).expect("a generation");
    let addresses: Vec<String> = told.map(str::to_owned).collect();
    let member = Member { addresses, process, ..members(1, 1).remove(0) };
    let mut listener = Listener::bind(&member).expect("the address is free");
    for generation in generation..generation + MOST_INCARNATIONS {
        let running = loop {
            let Ok(mut forming) = listener.form(role(process, generation)) else { continue };
            let Ok(_) = forming.gather(vec![process as u8]) else { continue };
            let Ok(_) = forming.scatter((process == 0).then(Vec::new)) else { continue };
            let number = forming.generation();
            let told = forming.start(|lost| println!("told lost {}", lost.process));
            let Ok(running) = told else { continue };
            println!("told running {number}");
            break running;
        };
        let handle = running.handle();
        match run(running, move |worker| endless(worker, &handle)) {
            Err(Ended::PeerLost(_)) => println!("told ended"),
            other => panic!("{other:?}"),
        }
    }
}

/// A child and what it says.
struct Process {
    child: Child,
    says: Receiver<(Instant, String)>,
}

impl Process {
    fn start(process: usize, generation: u64, members: &[Member]) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        let told = format!("{process},{generation},{}", members[0].addresses.join(","));
        command.args(["child", "--exact", "--nocapture"]).env(VARIABLE, told).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, says) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, line)) = line.split_once("told ") {
                    let _ = sender.send((Instant::now(), line.to_owned()));
                }
            }
        });
        Process { child, says }
    }

    /// Waits until it says this, and returns when that was.
    fn expect(&self, what: &str) -> Instant {
        loop {
            let (at, line) = self.says.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("never: {what}"));
            if line == what {
                return at;
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill exists");
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until everybody has said this, and returns when the last one did.
fn expect_all(processes: &[Process], what: &str) -> Instant {
    processes.iter().map(|process| process.expect(what)).max().expect("there are processes")
}

#[test]
fn a_killed_process_is_noticed_within_50_ms_and_comes_back() {
    let members = members(3, 1);
    let mut processes: Vec<Process> = (0..3).map(|process| Process::start(process, 1, &members)).collect();
    expect_all(&processes, "running 1");
    let mut all_noticed = Vec::new();
    for (generation, victim) in [(2, 1), (3, 2), (4, 0)] {
        let killed = Instant::now();
        processes[victim].child.kill().expect("it lives");
        for survivor in (0..3).filter(|process| *process != victim) {
            let noticed = processes[survivor].expect(&format!("lost {victim}")).duration_since(killed);
            println!("process {survivor} noticed the end of {victim} after {:.1} ms", noticed.as_secs_f64() * 1e3);
            all_noticed.push(noticed);
        }
        // As a supervisor does: what is not gone yet still holds the address.
        processes[victim].child.wait().expect("it was killed");
        processes[victim] = Process::start(victim, generation, &members);
        let again = expect_all(&processes, &format!("running {generation}")).duration_since(killed);
        println!("running again {:.1} ms after the kill", again.as_secs_f64() * 1e3);
        assert!(again < Duration::from_millis(1500), "{again:?}");
    }
    // The middle one of six: on a busy machine one may have had to wait for a core.
    all_noticed.sort();
    assert!(all_noticed[3] < Duration::from_millis(50), "{all_noticed:?}");
}

#[test]
fn a_stopped_process_is_noticed_within_5_s_and_comes_back() {
    let members = members(2, 1);
    let processes: Vec<Process> = (0..2).map(|process| Process::start(process, 1, &members)).collect();
    expect_all(&processes, "running 1");
    let stopped = Instant::now();
    processes[1].signal("-STOP");
    let noticed = processes[0].expect("lost 1").duration_since(stopped);
    println!("a stopped process was noticed after {:.1} s", noticed.as_secs_f64());
    assert!(noticed > Duration::from_secs(2), "not at once: {noticed:?}");
    assert!(noticed < Duration::from_secs(5), "{noticed:?}");
    processes[1].signal("-CONT");
    processes[1].expect("lost 0");
    expect_all(&processes, "running 2");
}

#[test]
fn a_short_stop_is_no_loss() {
    let members = members(2, 1);
    let processes: Vec<Process> = (0..2).map(|process| Process::start(process, 1, &members)).collect();
    expect_all(&processes, "running 1");
    processes[1].signal("-STOP");
    thread::sleep(Duration::from_millis(1500));
    processes[1].signal("-CONT");
    // Longer than the others would take to notice.
    thread::sleep(Duration::from_millis(3600));
    for process in &processes {
        assert!(process.says.try_recv().is_err(), "nothing has happened");
    }
}
