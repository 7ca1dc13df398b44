//! The broker: killed, or silent for a while.

use std::thread::sleep;
use std::time::Duration;

use rand::Rng;

use super::{Outcome, World, over};

pub(super) fn killed(world: &mut World) -> Outcome {
    let kafka = &mut world.stage.kafka;
    kafka.server.signal("KILL");
    kafka.server.start_again();
    kafka.wait_until_ready();
    over()
}

pub(super) fn paused(world: &mut World) -> Outcome {
    let seconds = world.random.random_range(1..12);
    world.stage.kafka.server.signal("STOP");
    sleep(Duration::from_secs(seconds));
    world.stage.kafka.server.signal("CONT");
    over()
}
