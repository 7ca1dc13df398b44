//! The broker: killed, or silent for a while.

use std::thread::sleep;
use std::time::Duration;

use rand::Rng;

use super::{Outcome, World, over};

/// Longer than clients keep what they could not send by default, and than transactions live.
const DOWN: Duration = Duration::from_secs(30);

pub(super) fn killed(world: &mut World) -> Outcome {
    kill(world, Duration::ZERO)
}

pub(super) fn down(world: &mut World) -> Outcome {
    kill(world, DOWN)
}

fn kill(world: &mut World, away: Duration) -> Outcome {
    let kafka = &mut world.stage.kafka;
    kafka.server.signal("KILL");
    sleep(away);
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
