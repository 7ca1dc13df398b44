//! Strangers at the ports of the cluster.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use rand::RngCore;

use super::process::be_several;
use super::{Outcome, World, over};

/// Sends random bytes to each port, and holds the connections for a while; no process may end of it.
pub(super) fn send(world: &mut World) -> Outcome {
    if let Err(outcome) = be_several(world) {
        return outcome;
    }
    let mut bytes = [0; 4096];
    let mut held = Vec::new();
    for host in (0..world.job.size.processes).map(|process| world.stage.host(process)) {
        for _ in 0..20 {
            world.random.fill_bytes(&mut bytes);
            // A stranger may be refused at any moment, which is right.
            held.extend(TcpStream::connect(&host).ok().filter(|mut stream| stream.write_all(&bytes).is_ok()));
        }
    }
    sleep(Duration::from_secs(2));
    drop(held);
    let ends = world.job.take_ends();
    if ends.is_empty() { over() } else { Outcome::Wrong(format!("a process ended of it: {ends:?}")) }
}
