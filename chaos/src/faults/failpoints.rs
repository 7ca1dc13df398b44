//! Fail points: places inside the program that crash, fail or wait when the environment says so.
//!
//! A program has them if it was built with the feature `failpoints`; which of them it has, its own bytes tell.

use std::sync::OnceLock;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::process::restart;
use super::{Outcome, World};

/// The fail points of all parts, in the order in which an epoch passes them.
const POINTS: &[&str] = &[
    "generation::raised",
    "cluster::before_hello",
    "cluster::before_gather",
    "cluster::before_scatter",
    "cluster::started",
    "restore::half",
    "log::before_write",
    "log::after_write",
    "log::after_sync",
    "sink::fence",
    "sink::progress_read",
    "postgres::after_compare_and_set",
    "postgres::mid_copy",
    "postgres::commit_sent",
    "postgres::after_commit",
    "kafka::begin",
    "kafka::half_produced",
    "kafka::offsets_added",
    "kafka::endtxn_sent",
    "kafka::committed",
    "lake::partial_file",
    "lake::before_manifest",
    "lake::after_manifest",
    "lake::half_renamed",
    "lake::half_reset",
    "lake::parts_half_deleted",
    "checkpoint::part_half",
    "checkpoint::before_manifest",
    "checkpoint::after_manifest",
    "collect::half",
];

/// What a point does, in the words of the crate `fail`; once, so that the process can go on or start again.
const ACTIONS: [&str; 3] = ["panic", "return", "sleep(1500)"];

/// Restarts the job with one point set, which it passes at its start or soon after.
pub(super) fn inject(world: &mut World) -> Outcome {
    static FOUND: OnceLock<Vec<&'static str>> = OnceLock::new();
    let points = FOUND.get_or_init(|| find(&std::fs::read(freshet_harness::freshet::binary()).unwrap_or_default()));
    let Some(point) = points.choose(&mut world.random) else {
        return Outcome::Skipped("this freshet was built without the feature failpoints");
    };
    // Not at the very first time, so that some work is under way.
    let passes = world.random.random_range(0..4);
    let action = ACTIONS[world.random.random_range(0..ACTIONS.len())];
    let setting = format!("{point}={passes}*off->1*{action}->off");
    let size = world.job.size;
    restart(world, size, Some(&setting))
}

/// Finds the points whose names a program holds, in one pass over its hundreds of megabytes.
fn find(program: &[u8]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (at, _) in program.windows(2).enumerate().filter(|(_, two)| two == b"::") {
        let is_here = |point: &&&str| {
            let begin = point.find("::").and_then(|before| at.checked_sub(before));
            begin.is_some_and(|begin| program[begin..].starts_with(point.as_bytes()))
        };
        found.extend(POINTS.iter().find(is_here));
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_found_by_their_names_in_the_program() {
        assert_eq!(find(b"\0::x log::after_sync\0collect::half"), ["collect::half", "log::after_sync"]);
        assert!(find(b"log::after").is_empty());
    }
}
