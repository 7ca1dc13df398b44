//! Files of the job's state with one byte flipped, between two starts.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use freshet_harness::server::wait_for;
use rand::Rng;

use super::process::DRAIN_LIMIT;
use super::{Outcome, World, now_micros};

/// A start that refuses does so within this time.
const REFUSAL_LIMIT: Duration = Duration::from_secs(15);

/// The newest checkpoint is damaged: the job has to come back by the one before it, or by the log.
pub(super) fn checkpoint(world: &mut World) -> Outcome {
    damage(world, "checkpoints", false)
}

/// The log is damaged: the job comes back if it does not need the record, or refuses; with the file as it was it has to come back.
pub(super) fn log(world: &mut World) -> Outcome {
    damage(world, "log", true)
}

fn damage(world: &mut World, kind: &str, may_refuse: bool) -> Outcome {
    if newest(&world.stage.state().join(kind)).is_none() {
        return Outcome::Skipped("there is no such file");
    }
    let at_micros = now_micros();
    if let Err(what) = world.job.drain(DRAIN_LIMIT) {
        world.job.start(&world.stage, None);
        return Outcome::Wrong(what);
    }
    let before = world.reader.progress();
    let Some(path) = newest(&world.stage.state().join(kind)) else {
        world.job.start(&world.stage, None);
        return Outcome::Skipped("there is no such file");
    };
    let whole = std::fs::read(&path).unwrap_or_default();
    let mut damaged = whole.clone();
    if let Some(length @ 1..) = Some(damaged.len()) {
        let at = world.random.random_range(0..length);
        damaged[at] ^= 1 << world.random.random_range(0..8);
    }
    std::fs::write(&path, damaged).expect("the state can be written");
    world.job.start(&world.stage, None);
    let refused = may_refuse && refuses(world);
    if refused {
        world.job.drain(DRAIN_LIMIT).unwrap_or_default();
        std::fs::write(&path, whole).expect("the state can be written");
        world.job.start(&world.stage, None);
    }
    Outcome::Over { at_micros: if refused { now_micros() } else { at_micros }, newer_than: Some(before) }
}

/// Waits until the job commits or a process ends with an error.
fn refuses(world: &World) -> bool {
    let before = world.reader.progress();
    let mut failed = false;
    wait_for(REFUSAL_LIMIT, || {
        failed = !world.job.take_ends().is_empty();
        failed || world.reader.progress() != before
    });
    failed
}

/// Finds the file below a folder that was written last.
fn newest(folder: &Path) -> Option<PathBuf> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if metadata.len() > 0 => files.extend(metadata.modified().ok().map(|time| (time, entry.path()))),
                _ => {}
            }
        }
    }
    files.into_iter().max().map(|(_, path)| path)
}
