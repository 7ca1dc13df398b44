//! The calling side of the first words, repeated until it is heard.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Refusal};
use crate::frame::IncarnationId;
use crate::greeting::{GREETING, nonce, settle};
use crate::hello::{Answer, Hello, Kind, Proofs};
use crate::listener::Core;
use crate::patience::{LOOK, Patience, Stop};
use crate::timed::Timed;

/// The pause after the first call that failed; each one is half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A call may take so long to get through.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection to make.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) to: usize,
    pub(crate) kind: Kind,
    pub(crate) incarnation: IncarnationId,
}

/// Why one call came to nothing.
enum Trouble {
    Refused(Refusal),
    Io(io::Error),
    Fail(Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Fail(error)
    }
}

/// Calls until the other process lets this one in, `goes_on` is false, or there is no use in it.
pub(crate) fn call(
    core: &Core,
    call: Call,
    patience: &mut Patience<'_>,
    goes_on: &dyn Fn() -> bool,
) -> Result<Arc<TcpStream>, Stop> {
    let address = &core.member.addresses[call.to];
    let mut pause = FIRST_PAUSE;
    let mut taken_since = None;
    loop {
        let trouble = match once(core, call) {
            Ok(socket) => return Ok(Arc::new(socket)),
            Err(Trouble::Fail(error)) => return Err(error.into()),
            Err(trouble) => trouble,
        };
        if let Trouble::Refused(refusal) = trouble
            && is_final(core, refusal, &mut taken_since)
        {
            return Err(Error::Refused { process: call.to, address: address.clone(), refusal }.into());
        }
        let until = Instant::now() + pause;
        loop {
            if !goes_on() {
                return Err(Stop::Again);
            }
            patience.look(&|| format!("process {} at {address}: {}", call.to, text(&trouble, call.to)))?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(LOOK));
        }
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Tells whether a refusal will not pass.
///
/// A process that comes back may find its place taken by what it was before, until the others have noticed that this is gone.
fn is_final(core: &Core, refusal: Refusal, taken_since: &mut Option<Instant>) -> bool {
    if refusal != Refusal::Taken {
        *taken_since = None;
        return !refusal.may_pass();
    }
    let enough = core.member.timeouts.lost_after * 2 + Duration::from_secs(1);
    taken_since.get_or_insert_with(Instant::now).elapsed() > enough
}

fn text(trouble: &Trouble, process: usize) -> String {
    match trouble {
        Trouble::Refused(refusal) => refusal.text(process),
        Trouble::Io(error) => error.to_string(),
        Trouble::Fail(error) => error.to_string(),
    }
}

fn once(core: &Core, call: Call) -> Result<TcpStream, Trouble> {
    let socket = connect(&core.member.addresses[call.to])?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(GREETING))?;
    let hello = hello(core, call)?;
    point!("cluster::before_hello");
    let mut reader = Timed { socket: &socket, until: Instant::now() + GREETING };
    let mut writer = &socket;
    writer.write_all(&hello.opening())?;
    let challenge = match Answer::read(&mut reader)? {
        Answer::Challenge(challenge) => challenge,
        Answer::Refused(refusal @ Refusal::Version(_), _) => return Err(Trouble::Refused(refusal)),
        _ => return Err(not_a_peer().into()),
    };
    let proofs = Proofs::new(&core.member.secret, &hello, &challenge);
    writer.write_all(&proofs.caller())?;
    match Answer::read(&mut reader)? {
        Answer::Welcome(proof) if proofs.is_answer(None, &proof) => {}
        // Who knows another secret can't prove that with ours.
        Answer::Refused(Refusal::Secret, _) => return Err(Trouble::Refused(Refusal::Secret)),
        Answer::Refused(refusal, proof) if proofs.is_answer(Some(refusal), &proof) => return Err(Trouble::Refused(refusal)),
        _ => return Err(not_a_peer().into()),
    }
    settle(&socket)?;
    Ok(socket)
}

fn hello(core: &Core, call: Call) -> Result<Hello, Error> {
    let member = &core.member;
    Ok(Hello {
        kind: call.kind,
        from: member.process as u32,
        to: call.to as u32,
        processes: member.processes() as u32,
        workers: member.workers as u32,
        job: member.job,
        seen: core.seen.load(Ordering::SeqCst),
        incarnation: call.incarnation,
        nonce: nonce()?,
    })
}

fn not_a_peer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "who answers there does not prove that it knows the secret")
}

/// Connects to the first address of the name that can be reached.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            // While nobody listens there, a call within one machine can meet itself.
            Ok(socket) if socket.local_addr()? == socket.peer_addr()? => last = io::ErrorKind::ConnectionRefused.into(),
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forming::{Forming, Role};
    use crate::listener::Listener;
    use crate::member::{Member, Secret, Timeouts};

    fn listeners() -> [Listener; 2] {
        let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let addresses = ports.each_ref().map(|port| port.local_addr().expect("bound").to_string()).to_vec();
        drop(ports);
        [0, 1].map(|process| {
            let (addresses, secret, timeouts) = (addresses.clone(), Secret::new("of the tests"), Timeouts::default());
            Listener::bind(&Member { process, addresses, secret, job: 1, workers: 1, timeouts }).expect("free")
        })
    }

    fn form([leader, follower]: &mut [Listener; 2]) -> [Forming; 2] {
        thread::scope(|scope| {
            let led = scope.spawn(|| leader.form(Role::Leader { generation: 1, greeting: Vec::new() }));
            let followed = follower.form(Role::Follower).expect("the leader is there");
            [led.join().expect("no panic").expect("the follower is there"), followed]
        })
    }

    #[test]
    fn a_connection_of_another_incarnation_is_refused() {
        let mut listeners = listeners();
        let late = |kind| Call { to: 0, kind, incarnation: [9; 16] };
        let refused = |core: &Core, kind, expected| {
            let outcome = once(core, late(kind));
            assert!(matches!(outcome, Err(Trouble::Refused(refusal)) if refusal == expected), "{kind:?}");
        };
        refused(listeners[1].core(), Kind::Data, Refusal::Busy);
        let formed = form(&mut listeners);
        refused(listeners[1].core(), Kind::Data, Refusal::Incarnation);
        refused(listeners[1].core(), Kind::Join, Refusal::Taken);
        drop(formed);
        refused(listeners[1].core(), Kind::Data, Refusal::Busy);
    }

    #[test]
    fn who_does_not_prove_the_secret_is_not_believed() {
        let impostor = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addresses = vec![impostor.local_addr().expect("bound").to_string(), "127.0.0.1:0".to_owned()];
        let (secret, timeouts) = (Secret::new("of the tests"), Timeouts::default());
        let member = Member { process: 1, addresses, secret, job: 1, workers: 1, timeouts };
        let listener = Listener::bind(&member).expect("free");
        let lie = thread::spawn(move || {
            let (mut socket, _) = impostor.accept().expect("it calls");
            let hello = Hello::read(&mut socket).expect("whole");
            socket.write_all(&Answer::Challenge([1; 32]).encode()).expect("it listens");
            let theirs = Secret::new("a guess");
            let welcome = Answer::Welcome(Proofs::new(&theirs, &hello, &[1; 32]).answer(None));
            socket.write_all(&welcome.encode()).expect("it listens");
            socket
        });
        let outcome = once(listener.core(), Call { to: 0, kind: Kind::Join, incarnation: [0; 16] });
        assert!(matches!(outcome, Err(Trouble::Io(error)) if error.kind() == io::ErrorKind::InvalidData));
        drop(lie.join());
    }
}
