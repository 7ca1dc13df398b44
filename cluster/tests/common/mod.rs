//! Members on free loopback ports, and a dataflow that exchanges data.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use freshet_cluster::{Ended, Error, Forming, Handle, Listener, Lost, Member, Role, Running, Secret, Timeouts, run};
use timely::dataflow::operators::probe::Probe;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Exchange, Inspect};
use timely::dataflow::{InputHandleVec, ProbeHandle};
use timely::worker::Worker;

/// Describes the processes of a cluster on this machine.
pub(crate) fn members(processes: usize, workers: usize) -> Vec<Member> {
    // All are held until each has its own.
    let ports: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let addresses: Vec<String> = ports.iter().map(|port| port.local_addr().expect("bound").to_string()).collect();
    let timeouts = Timeouts { join: Some(Duration::from_secs(30)), ..Timeouts::default() };
    let secret = Secret::new("of the tests");
    let member = |process| Member { process, addresses: addresses.clone(), secret: secret.clone(), job: 7, workers, timeouts };
    (0..processes).map(member).collect()
}

/// Binds a listener for each member.
pub(crate) fn listeners(members: &[Member]) -> Vec<Listener> {
    members.iter().map(|member| Listener::bind(member).expect("the port is free")).collect()
}

/// Returns the role of a process in an incarnation.
pub(crate) fn role(process: usize, generation: u64) -> Role {
    match process {
        0 => Role::Leader { generation, greeting: format!("generation {generation}").into_bytes() },
        _ => Role::Follower,
    }
}

/// Lets each listener form on a thread of its own, and returns what each came to.
pub(crate) fn form(listeners: &mut [Listener], generation: u64) -> Vec<Result<Forming, Error>> {
    thread::scope(|scope| {
        let form = |(process, listener): (usize, &mut Listener)| listener.form(role(process, generation));
        let threads: Vec<_> = listeners.iter_mut().enumerate().map(|member| scope.spawn(move || form(member))).collect();
        threads.into_iter().map(|thread| thread.join().expect("forming does not panic")).collect()
    })
}

/// Forms a whole cluster and makes it ready to run; losses are ignored.
pub(crate) fn start(listeners: &mut [Listener], generation: u64) -> Vec<Running> {
    let formed = form(listeners, generation).into_iter();
    formed.map(|forming| forming.expect("all are here").start(|_| {}).expect("all are here")).collect()
}

/// Runs each process's workers on a thread of its own.
pub(crate) fn spawn<T: Send + 'static>(
    running: Vec<Running>,
    work: impl Fn(&mut Worker, &Handle) -> T + Clone + Send + Sync + 'static,
) -> Vec<JoinHandle<Result<Vec<T>, Ended>>> {
    let one = |running: Running| {
        let (work, handle) = (work.clone(), running.handle());
        thread::spawn(move || run(running, move |worker| work(worker, &handle)))
    };
    running.into_iter().map(one).collect()
}

/// Sends `count` numbers from each worker to where they belong, and returns the sum of those that came to this one.
pub(crate) fn sum(worker: &mut Worker, count: u64) -> u64 {
    let sum = Arc::new(AtomicU64::new(0));
    let (mut input, probe) = exchange(worker, &sum);
    for number in 0..count {
        input.send(number);
    }
    input.close();
    while !probe.done() {
        worker.step();
    }
    sum.load(Ordering::SeqCst)
}

/// Exchanges numbers without end until the incarnation is over.
pub(crate) fn endless(worker: &mut Worker, handle: &Handle) {
    let (mut input, probe) = exchange(worker, &Arc::default());
    let mut round = 0;
    while !handle.is_over() {
        (0..100).for_each(|number| input.send(number));
        round += 1;
        input.advance_to(round);
        while probe.less_than(input.time()) && !handle.is_over() {
            worker.step_or_park(Some(Duration::from_millis(50)));
        }
    }
}

/// Sends numbers to the worker that each belongs to, and adds those up that come to this one.
pub(crate) fn exchange(worker: &mut Worker, sum: &Arc<AtomicU64>) -> (InputHandleVec<u64, u64>, ProbeHandle<u64>) {
    let sum = Arc::clone(sum);
    worker.dataflow::<u64, _, _>(|scope| {
        let (input, stream) = scope.new_input::<u64>();
        let counted = stream.exchange(|number| *number).inspect(move |number| {
            sum.fetch_add(*number, Ordering::SeqCst);
        });
        let (probe, _) = counted.probe();
        (input, probe)
    })
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Tells whether the end is the loss of a process.
pub(crate) fn is_loss<T>(end: &Result<Vec<T>, Ended>, process: usize) -> bool {
    matches!(end, Err(Ended::PeerLost(Lost { process: lost, .. })) if *lost == process)
}
