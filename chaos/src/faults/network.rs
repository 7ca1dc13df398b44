//! No packets to one process of the cluster.

use std::thread::sleep;
use std::time::Duration;

use rand::Rng;

use super::process::be_several;
use super::{Outcome, World, over};
use crate::isolation::Cut;

/// Drops whatever is sent to one process's address for some seconds. What it sends on connections that it accepted still arrives, its
/// peers' acknowledgements do not: the connection is neither up nor down.
pub(super) fn cut(world: &mut World) -> Outcome {
    if let Err(outcome) = be_several(world) {
        return outcome;
    }
    let processes = world.job.size.processes;
    // The highest calls all others, so nobody connects to its address.
    let address = world.stage.address(world.random.random_range(0..processes - 1));
    let Some(cut) = Cut::new(address) else {
        return Outcome::Skipped("no network of its own: needs root, unshare and ip");
    };
    sleep(Duration::from_secs(8));
    drop(cut);
    over()
}
