//! The answering side of the first words: finds out who calls, and whether it is wanted.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Refusal};
use crate::hello::{Answer, Hello, Kind, Nonce, Proofs, Unclear, VERSION};
use crate::listener::Core;
use crate::member::Member;
use crate::timed::Timed;

/// A caller has so long to say who it is and to prove it.
pub(crate) const GREETING: Duration = Duration::from_secs(2);

/// Why a caller was turned away.
enum Turned {
    Refused(Refusal),
    Unclear(&'static str),
}

impl From<io::Error> for Turned {
    fn from(error: io::Error) -> Turned {
        Turned::Unclear(match error.kind() {
            io::ErrorKind::TimedOut => "no hello within two seconds",
            io::ErrorKind::InvalidData => "not the protocol of Freshet's clusters",
            _ => "it ended before it had said who it is",
        })
    }
}

/// Hears a caller and lets it in, or refuses it with one line in the log.
pub(crate) fn greet(core: &Core, socket: &Arc<TcpStream>) {
    let Err(turned) = answer(core, socket) else { return };
    let (reason, is_usual) = match turned {
        Turned::Refused(refusal) => (refusal.name(), refusal == Refusal::Busy),
        Turned::Unclear(reason) => (reason, false),
    };
    let address = socket.peer_addr().map_or_else(|_| "an unknown address".to_owned(), |address| address.to_string());
    if is_usual {
        tracing::debug!("refused a connection from {address}: {reason}");
    } else if let Some(kept_back) = core.limit.allows(reason, Instant::now()) {
        tracing::warn!(kept_back, "refused a connection from {address}: {reason}");
    }
}

fn answer(core: &Core, socket: &Arc<TcpStream>) -> Result<(), Turned> {
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(GREETING))?;
    let mut reader = Timed { socket, until: Instant::now() + GREETING };
    let mut writer = &**socket;
    let hello = match Hello::read(&mut reader) {
        Ok(hello) => hello,
        Err(Unclear::Garbage) => return Err(Turned::Unclear("not the protocol of Freshet's clusters")),
        Err(Unclear::Io(error)) => return Err(error.into()),
        Err(Unclear::Version) => {
            let refusal = Refusal::Version(VERSION);
            let _ = writer.write_all(&Answer::Refused(refusal, [0; 32]).encode());
            return Err(Turned::Refused(refusal));
        }
    };
    let challenge = nonce().map_err(|_| Turned::Unclear("no random numbers to greet it with"))?;
    writer.write_all(&Answer::Challenge(challenge).encode())?;
    let mut proof = [0; 32];
    io::Read::read_exact(&mut reader, &mut proof)?;
    let proofs = Proofs::new(&core.member.secret, &hello, &challenge);
    if !proofs.is_caller(&proof) {
        let _ = writer.write_all(&Answer::Refused(Refusal::Secret, [0; 32]).encode());
        return Err(Turned::Refused(Refusal::Secret));
    }
    let refuse = |refusal| {
        let _ = (&**socket).write_all(&Answer::Refused(refusal, proofs.answer(Some(refusal))).encode());
        Turned::Refused(refusal)
    };
    compare(&core.member, &hello).map_err(refuse)?;
    let ticket = core.gate.admit(&hello).map_err(refuse)?;
    let welcome = Answer::Welcome(proofs.answer(None)).encode();
    let settled = writer.write_all(&welcome).and_then(|()| settle(socket));
    settled.inspect_err(|_| core.gate.release(ticket))?;
    if !core.forget(socket) {
        core.gate.release(ticket);
        return Err(Turned::Unclear("too many unknown callers at once"));
    }
    core.gate.enter(ticket, hello.seen, Arc::clone(socket));
    Ok(())
}

/// Takes the greeting's time limits off a connection.
pub(crate) fn settle(socket: &TcpStream) -> io::Result<()> {
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)
}

/// Compares what an authenticated caller says of the cluster with what this process knows of it.
fn compare(own: &Member, hello: &Hello) -> Result<(), Refusal> {
    let (process, processes, workers) = (own.process as u32, own.processes() as u32, own.workers as u32);
    let may_call = process < hello.from && hello.from < processes && ((hello.kind == Kind::Join) <= (process == 0));
    if hello.processes != processes {
        Err(Refusal::Processes(processes))
    } else if hello.to != process {
        Err(Refusal::Misdirected(process))
    } else if !may_call {
        Err(Refusal::Index)
    } else if hello.job != own.job {
        Err(Refusal::Job)
    } else if hello.workers != workers {
        Err(Refusal::Workers(workers))
    } else {
        Ok(())
    }
}

/// Returns fresh random bytes.
pub(crate) fn nonce() -> Result<Nonce, Error> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| Error::System { what: "random numbers", source: io::Error::other(error.to_string()) })?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Secret, Timeouts};

    #[test]
    fn what_differs_is_named() {
        let addresses = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
        let secret = Secret::new("s");
        let own = Member { process: 0, addresses, secret, job: 5, workers: 2, timeouts: Timeouts::default() };
        let incarnation = [0; 16];
        let good =
            Hello { kind: Kind::Join, from: 1, to: 0, processes: 3, workers: 2, job: 5, seen: 0, incarnation, nonce: [0; 32] };
        assert_eq!(compare(&own, &good), Ok(()));
        let control = Hello { kind: Kind::Control, from: 2, to: 1, ..good };
        for (hello, refusal) in [
            (Hello { processes: 2, ..good }, Refusal::Processes(3)),
            (Hello { to: 1, ..good }, Refusal::Misdirected(0)),
            (Hello { from: 3, ..good }, Refusal::Index),
            (Hello { from: 0, ..good }, Refusal::Index),
            (Hello { job: 6, ..good }, Refusal::Job),
            (Hello { workers: 1, ..good }, Refusal::Workers(2)),
        ] {
            assert_eq!(compare(&own, &hello), Err(refusal));
        }
        let follower = Member { process: 1, ..own };
        assert_eq!(compare(&follower, &control), Ok(()));
        assert_eq!(compare(&follower, &Hello { kind: Kind::Join, ..control }), Err(Refusal::Index), "only the leader is joined");
    }
}
