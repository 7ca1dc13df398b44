//! Fail points: places inside the program that crash, fail or wait when the environment says so.
//!
//! A program has them if it was built with the feature `failpoints`; which of them it has, its own bytes tell. Each is dealt with each action once
//! before any comes again, crashes first. What was passed is in the job's log.

use std::time::Duration;

use freshet_harness::server::wait_for;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::points::{POINTS, Point, When};
use super::process::{DRAIN_LIMIT, restart};
use super::{Outcome, World, now_micros};
use crate::stage::Stage;
use crate::supervisor::Size;

/// What happens at a point, once, so that the process can go on or start again: name, and setting.
pub(crate) const ACTIONS: [(&str, &str); 3] = [("crash", "return(crash)"), ("error", "return"), ("delay", "return(delay)")];

/// A point that a job passes at all is passed within this time.
const PASSING_LIMIT: Duration = Duration::from_secs(6);

/// Which fail points come next.
#[derive(Debug, Default)]
pub(crate) struct Deck {
    /// Those that the program has, looked for once.
    known: Option<Vec<&'static Point>>,
    cards: Vec<(&'static Point, usize)>,
    /// What was dealt last.
    last: Option<Dealt>,
}

/// A fail point that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dealt {
    pub(crate) point: &'static str,
    /// Its place in [`ACTIONS`].
    pub(crate) action: usize,
    /// Whether the job came to it.
    pub(crate) passed: bool,
}

impl Deck {
    /// Takes the next card, if the program has fail points.
    fn deal(&mut self, random: &mut StdRng) -> Option<(&'static Point, usize)> {
        let known =
            self.known.get_or_insert_with(|| find(&std::fs::read(freshet_harness::freshet::binary()).unwrap_or_default()));
        if self.cards.is_empty() {
            for action in (0..ACTIONS.len()).rev() {
                known.shuffle(random);
                self.cards.extend(known.iter().map(|point| (*point, action)));
            }
        }
        self.cards.pop()
    }

    /// Returns what was dealt since the last call.
    pub(crate) fn take_last(&mut self) -> Option<Dealt> {
        self.last.take()
    }
}

/// Restarts the job with one point set, and waits until it is passed; drains the job if that does not happen by itself.
pub(super) fn inject(world: &mut World) -> Outcome {
    let Some((point, action)) = world.points.deal(&mut world.random) else {
        return Outcome::Skipped("this freshet was built without the feature failpoints");
    };
    let passes = match point.when {
        When::Running => world.random.random_range(0..4),
        When::Seldom => world.random.random_range(0..2),
        When::Starting | When::Forming | When::Draining => 0,
    };
    let setting = format!("{}={passes}*off->1*{}->off", point.name, ACTIONS[action].1);
    let size = size(world, point.when);
    let before = length(&world.stage);
    let older = match restart(world, size, Some(&setting)) {
        Outcome::Over { newer_than, .. } => newer_than.unwrap_or_default(),
        outcome => return outcome,
    };
    let words = format!("fail point {}:", point.name);
    let has_passed = |stage: &Stage| said(stage, before).contains(&words);
    let is_up = || world.reader.progress().generation > older.generation;
    let mut passed = match point.when {
        // Nothing drains that has not begun.
        When::Draining => wait_for(PASSING_LIMIT, is_up) && has_passed(&world.stage),
        _ => wait_for(PASSING_LIMIT, || has_passed(&world.stage)),
    };
    if !passed {
        // A crash while it drains is what may be wanted.
        let drained = world.job.drain(DRAIN_LIMIT);
        passed = has_passed(&world.stage);
        world.job.start(&world.stage, None);
        if let Err(why) = drained.or_else(|why| if passed && action == 0 { Ok(()) } else { Err(why) }) {
            return Outcome::Wrong(format!("{}: {why}", point.name));
        }
    }
    world.points.last = Some(Dealt { point: point.name, action, passed });
    Outcome::Over { at_micros: now_micros(), newer_than: None }
}

/// Says how many processes it takes to pass a point.
fn size(world: &World, when: When) -> Size {
    let largest = world.options.processes.iter().copied().max().unwrap_or(1).clamp(1, 4);
    let first = world.options.processes.first().copied().unwrap_or(1).clamp(1, 4);
    let processes = if when == When::Forming { largest.max(2) } else { first };
    Size { processes, ..world.job.size }
}

fn length(stage: &Stage) -> u64 {
    std::fs::metadata(stage.log()).map_or(0, |found| found.len())
}

/// Returns what the job's log says behind a place.
fn said(stage: &Stage, from: u64) -> String {
    let all = std::fs::read(stage.log()).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(all.len());
    String::from_utf8_lossy(&all[from..]).into_owned()
}

/// Finds the points whose names a program holds, in one pass over its hundreds of megabytes.
fn find(program: &[u8]) -> Vec<&'static Point> {
    let mut found = vec![false; POINTS.len()];
    for (at, _) in program.windows(2).enumerate().filter(|(_, two)| two == b"::") {
        let is_here = |point: &Point| {
            let begin = point.name.find("::").and_then(|before| at.checked_sub(before));
            begin.is_some_and(|begin| program[begin..].starts_with(point.name.as_bytes()))
        };
        if let Some(index) = POINTS.iter().position(is_here) {
            found[index] = true;
        }
    }
    POINTS.iter().zip(found).filter_map(|(point, found)| found.then_some(point)).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn points_are_found_by_their_names_in_the_program() {
        let names = |program: &[u8]| find(program).iter().map(|point| point.name).collect::<Vec<_>>();
        assert_eq!(names(b"\0::x log::after_sync\0collect::half"), ["log::after_sync", "collect::half"]);
        assert!(names(b"log::after").is_empty());
    }

    #[test]
    fn each_point_comes_once_with_each_action_and_crashes_come_first() {
        let mut deck = Deck { known: Some(POINTS.iter().collect()), ..Deck::default() };
        let mut random = StdRng::seed_from_u64(1);
        let dealt: Vec<_> = std::iter::repeat_with(|| deck.deal(&mut random)).take(3 * POINTS.len()).flatten().collect();
        for action in 0..ACTIONS.len() {
            let mut names: Vec<_> = dealt[action * POINTS.len()..][..POINTS.len()].iter().map(|(point, _)| point.name).collect();
            assert!(dealt[action * POINTS.len()..][..POINTS.len()].iter().all(|card| card.1 == action));
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), POINTS.len());
        }
    }
}
