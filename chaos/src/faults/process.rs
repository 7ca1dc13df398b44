//! The job's own processes: killed, stopped, restarted in another number.

use std::thread::sleep;
use std::time::Duration;

use freshet_harness::server::wait_for;
use rand::Rng;

use super::{Outcome, World, now_micros, over};
use crate::supervisor::Size;

/// A job drains within this time.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn kill_leader(world: &mut World) -> Outcome {
    kill(world, |process| process == 0)
}

pub(super) fn kill_follower(world: &mut World) -> Outcome {
    if let Err(outcome) = be_several(world) {
        return outcome;
    }
    let processes = world.job.size.processes;
    let victim = world.random.random_range(1..processes);
    kill(world, move |process| process == victim)
}

pub(super) fn kill_all(world: &mut World) -> Outcome {
    kill(world, |_| true)
}

pub(super) fn kill_again(world: &mut World) -> Outcome {
    for _ in 0..3 {
        world.kills += world.job.signal("KILL", |_| true);
        let pause = world.random.random_range(20..400);
        sleep(Duration::from_millis(pause));
    }
    kill(world, |_| true)
}

fn kill(world: &mut World, which: impl Fn(usize) -> bool) -> Outcome {
    let before = world.reader.progress();
    let at_micros = now_micros();
    let killed = world.job.signal("KILL", which);
    world.kills += killed;
    if killed == 0 {
        return Outcome::Wrong("there was no process to kill".to_owned());
    }
    Outcome::Over { at_micros, newer_than: Some(before) }
}

pub(super) fn pause_short(world: &mut World) -> Outcome {
    pause(world, Duration::from_secs(1))
}

pub(super) fn pause_long(world: &mut World) -> Outcome {
    pause(world, Duration::from_secs(8))
}

fn pause(world: &mut World, length: Duration) -> Outcome {
    let victim = world.random.random_range(0..world.job.size.processes);
    world.job.signal("STOP", |process| process == victim);
    sleep(length);
    world.job.signal("CONT", |process| process == victim);
    over()
}

pub(super) fn rescale(world: &mut World) -> Outcome {
    let old = world.job.size;
    let next = |all: &[usize], now: usize| {
        let at = all.iter().position(|&n| n == now).map_or(0, |at| at + 1);
        all.get(at % all.len().max(1)).copied().unwrap_or(now)
    };
    // Processes are picked rather than taken in turn: a number may be in the list several times.
    let processes = world.options.processes[world.random.random_range(0..world.options.processes.len())].clamp(1, 4);
    let size = Size { workers: next(&world.options.workers, old.workers).max(1), processes };
    restart(world, size, None)
}

/// Goes on with several processes if there is one only, for what takes more.
pub(super) fn be_several(world: &mut World) -> Result<(), Outcome> {
    let most = world.options.processes.iter().copied().max().unwrap_or(1).min(4);
    if world.job.size.processes > 1 {
        return Ok(());
    }
    if most < 2 {
        return Err(Outcome::Skipped("the job is to have one process only"));
    }
    let size = Size { processes: most, ..world.job.size };
    match restart(world, size, None) {
        Outcome::Over { newer_than: Some(old), .. } => {
            let is_new = || world.reader.progress().generation > old.generation;
            if wait_for(Duration::from_secs(30), is_new) {
                Ok(())
            } else {
                Err(Outcome::Wrong("several processes did not start".to_owned()))
            }
        }
        outcome => Err(outcome),
    }
}

/// Drains the job and starts it again, measured from the request to drain.
pub(super) fn restart(world: &mut World, size: Size, failpoints: Option<&str>) -> Outcome {
    let at_micros = now_micros();
    if let Err(what) = world.job.drain(DRAIN_LIMIT) {
        world.job.start(&world.stage, None);
        return Outcome::Wrong(what);
    }
    // What was drained has been seen, so that a later commit is the new start's.
    let mut last = world.reader.progress();
    wait_for(Duration::from_millis(200), || {
        let seen = std::mem::replace(&mut last, world.reader.progress());
        seen != last
    });
    world.job.size = size;
    world.job.start(&world.stage, failpoints);
    Outcome::Over { at_micros, newer_than: Some(last) }
}
