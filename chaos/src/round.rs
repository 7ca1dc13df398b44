//! One fault after another, each waited for until the job commits again.

use std::time::{Duration, Instant};

use freshet_harness::server::wait_for;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::audit;
use crate::faults::{self, Fault, Outcome, World, now_micros};
use crate::follower::Follower;
use crate::options::Options;
use crate::producer::Producer;
use crate::reader::{Progress, Reader};
use crate::report::{Event, Report};
use crate::stage::{ENRICHED, ENRICHED_PARTITIONS, Stage, TOPIC};
use crate::supervisor::{Size, Supervisor};

/// A job that does not commit for so long will not do it any more.
const LIMIT: Duration = Duration::from_secs(90);
/// A job that is behind gets so long to read everything that there is.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(180);

/// Sets the stage, breaks things for as long as the options say, and looks at what is left.
pub(crate) fn run(options: &Options) -> Report {
    let mut chosen = choose(options);
    let stage = Stage::build(options.keep);
    let mut producer = Producer::start(stage.kafka.client(), TOPIC, options.rate, options.seed);
    let first = |all: &[usize]| all.first().copied().unwrap_or(1).max(1);
    let size = Size { workers: first(&options.workers), processes: first(&options.processes) };
    let mut job = Supervisor::new(size);
    job.start(&stage, None);
    let reader = Reader::start(&stage.database.url);
    let follower = Follower::start(stage.kafka.client(), ENRICHED, ENRICHED_PARTITIONS);
    let random = StdRng::seed_from_u64(options.seed);
    let points = faults::Deck::default();
    let mut world = World { options: options.clone(), stage, job, reader, follower, random, points, kills: 0 };

    let mut report = Report::new(options.seed);
    // Only a job that has read something has something to lose.
    if wait_for(LIMIT, || world.reader.read() > 0) {
        inject_all(&mut world, &mut chosen, &mut report);
    } else {
        report.fail(format!("the job read nothing within {LIMIT:?}"));
    }
    finish(world, producer.stop(), &mut report);
    report
}

/// Lists the faults that were asked for.
fn choose(options: &Options) -> Vec<&'static Fault> {
    let known = |name: &String| faults::ALL.iter().any(|fault| fault.name == name);
    if let Some(name) = options.faults.iter().find(|name| !known(name)) {
        panic!("there is no fault '{name}'; --list names them");
    }
    let wanted = |fault: &&Fault| options.faults.is_empty() || options.faults.iter().any(|name| name == fault.name);
    faults::ALL.iter().filter(wanted).collect()
}

/// Deals the faults like a deck of cards: all of them before any comes again.
fn inject_all(world: &mut World, chosen: &mut [&'static Fault], report: &mut Report) {
    let began = Instant::now();
    let duration = world.options.duration();
    let is_over = |world: &World| began.elapsed() >= duration || world.options.kills.is_some_and(|kills| world.kills >= kills);
    while !is_over(world) {
        chosen.shuffle(&mut world.random);
        let before = report.injected();
        for fault in chosen.iter() {
            if is_over(world) {
                return;
            }
            let pause = world.options.pause;
            let calm = world.random.random_range(pause / 8..=pause);
            if inject(world, fault, began, report) {
                std::thread::sleep(Duration::from_millis(calm));
            }
        }
        if report.injected() == before {
            return;
        }
    }
}

/// Injects a fault and waits for the job; tells whether there was one.
fn inject(world: &mut World, fault: &'static Fault, began: Instant, report: &mut Report) -> bool {
    let (_, torn, sentences) = world.reader.take_torn();
    report.torn_before(torn, sentences);
    world.job.take_ends();
    world.follower.take_longest();
    let outcome = (fault.inject)(world);
    let result = match outcome {
        Outcome::Skipped(why) => {
            report.skip(fault.name, why);
            return false;
        }
        Outcome::Wrong(why) => Err(why),
        Outcome::Over { at_micros, newer_than } => committing_again(world, at_micros, newer_than),
    };
    let result = result.and_then(|seconds| Ok((seconds, following_again(world)?)));
    if result.is_err() {
        // What comes next shall not be blamed for this.
        revive(world);
    }
    let (_, torn, sentences) = world.reader.take_torn();
    let at = began.elapsed().as_secs_f64();
    let (size, point) = (world.job.size, world.points.take_last());
    report.add(Event { fault: fault.name, at, size, point, until_micros: now_micros(), result, torn, sentences });
    true
}

/// Waits until the database shows a commit that was made after a time, by a newer generation if need be; returns the seconds.
fn committing_again(world: &World, at_micros: i64, newer_than: Option<Progress>) -> Result<f64, String> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        let now = world.reader.progress();
        // A start raises the generation before it commits anything.
        let is_new = newer_than.is_none_or(|old| now.generation > old.generation && now.epoch > old.epoch);
        if is_new && now.committed_micros > at_micros {
            return Ok((now_micros() - at_micros) as f64 / 1e6);
        }
        if let Some(why) = world.job.given_up() {
            return Err(why);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(format!("no commit within {LIMIT:?}"))
}

/// Waits until somebody who follows the enriched topic gets records again; returns the longest time, in seconds, in which there were none.
fn following_again(world: &World) -> Result<f64, String> {
    let from = now_micros();
    if wait_for(LIMIT, || world.follower.last_micros() > from) {
        return Ok(world.follower.take_longest());
    }
    Err(format!("no enriched event within {LIMIT:?}"))
}

/// Brings the job back after it has failed, as a person would.
fn revive(world: &mut World) {
    if world.job.is_up() && committing_again(world, now_micros(), None).is_ok() {
        return;
    }
    // Whatever comes of it, all processes are gone afterwards.
    let _ = world.job.drain(Duration::from_secs(10));
    world.job.take_ends();
    world.job.start(&world.stage, None);
    let _ = committing_again(world, now_micros(), None);
}

/// Lets the job read everything and end, and compares what it has written with the oracle.
fn finish(mut world: World, produced: u64, report: &mut Report) {
    let all = i64::try_from(produced).unwrap_or(i64::MAX);
    if !wait_for(CATCH_UP_LIMIT, || world.reader.read() >= all) {
        report.fail(format!("{} of {produced} records were read within {CATCH_UP_LIMIT:?}", world.reader.read()));
    }
    // Twice: the first end may pass a fail point, and leaves its rest to the next start.
    for is_last in [false, true] {
        if let Err(why) = world.job.drain(Duration::from_secs(60)) {
            report.fail(format!("the end: {why}"));
        }
        if !is_last {
            world.job.start(&world.stage, None);
            let _ = committing_again(&world, now_micros(), None);
        }
    }
    let (looks, torn, sentences) = world.reader.take_torn();
    report.torn_before(torn, sentences);
    report.close(produced, looks, world.kills);
    audit::audit(&world.stage, report);
}
