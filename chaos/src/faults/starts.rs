//! The same job started a second time.

use std::process::Child;
use std::time::Duration;

use freshet_harness::server::wait_for;

use super::{Outcome, World, now_micros, over};
use crate::supervisor::{FENCED, HELD, second};

const LIMIT: Duration = Duration::from_secs(20);
const NO_STATE: Outcome = Outcome::Skipped("this freshet has no --state");
const ONE_ONLY: Outcome = Outcome::Skipped("for one process only");

pub(super) fn second_start(world: &mut World) -> Outcome {
    if !world.stage.has_state {
        return NO_STATE;
    }
    if world.job.size.processes > 1 {
        return ONE_ONLY;
    }
    let before = world.reader.progress();
    let mut child = second(&world.stage, world.job.size, &[]);
    let code = end_of(&mut child);
    if code != Some(HELD) {
        return Outcome::Wrong(format!("a second start ended with {code:?}, not {HELD}"));
    }
    let ends = world.job.take_ends();
    if !ends.is_empty() || world.reader.progress().generation != before.generation {
        return Outcome::Wrong(format!("a second start disturbed the first: {ends:?}"));
    }
    over()
}

pub(super) fn takeover(world: &mut World) -> Outcome {
    if !world.stage.has_state {
        return NO_STATE;
    }
    if world.job.size.processes > 1 {
        return ONE_ONLY;
    }
    let before = world.reader.progress();
    let at_micros = now_micros();
    let new = second(&world.stage, world.job.size, &["--takeover"]);
    match world.job.replace(new, LIMIT).map(|status| status.code()) {
        Some(Some(FENCED)) => Outcome::Over { at_micros, newer_than: Some(before) },
        Some(code) => Outcome::Wrong(format!("the first instance ended with {code:?}, not {FENCED}")),
        None => Outcome::Wrong(format!("the first instance still ran after {LIMIT:?}")),
    }
}

/// Waits for the end and returns the exit code.
fn end_of(child: &mut Child) -> Option<i32> {
    let mut code = None;
    wait_for(LIMIT, || {
        code = child.try_wait().ok().flatten().map(|status| status.code());
        code.is_some()
    });
    // After the limit it has not ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    code.flatten()
}
