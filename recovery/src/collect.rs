//! Deletes what no restart will need.
//!
//! Everything here may stop at any point, and the next collection goes on. It may also be done by a leader that is replaced while it
//! deletes: whoever came after it found its Start in the log, hence shares its view of what is older.

use std::collections::BTreeSet;

use freshet_model::Epoch;

use crate::Checkpoint;
use crate::error::Error;
use crate::names::{self, CHECKPOINTS, FLOORS, LOG, SegmentName};
use crate::store::Store;

/// Deletes checkpoints older than the newest `keep`, and those that will never be finished.
pub(crate) fn checkpoints(store: &dyn Store, mine: u64, base: u64, keep: usize) -> Result<(), Error> {
    let paths = store.list(CHECKPOINTS)?;
    let published = published(&paths, base);
    let newest = published.last().map_or(0, |id| id.epoch);
    let kept: BTreeSet<Checkpoint> = published.iter().rev().take(keep.max(1)).copied().collect();
    // One of this generation that has no manifest yet may be in the making, unless a later one is done.
    let is_open = |id: &Checkpoint| id.generation == mine && id.epoch >= newest && !published.contains(id);
    // Nor does a leader that has been replaced touch what is being made after it.
    let is_old = |path: &&String| {
        names::parse_checkpoint(path).is_some_and(|id| id.generation <= mine && !kept.contains(&id) && !is_open(&id))
    };
    let (manifests, parts): (Vec<&String>, Vec<&String>) =
        paths.iter().filter(is_old).partition(|path| path.ends_with("/manifest"));
    // Without its manifest a checkpoint is none, however many of its parts are left.
    manifests.into_iter().chain(parts).try_for_each(|path| store.delete(path))
}

/// Deletes segments that lie wholly before the oldest of `keep` checkpoints, and those that are not in the chain.
pub(crate) fn log(store: &dyn Store, mine: u64, base: u64, keep: usize, chain: &[SegmentName]) -> Result<(), Error> {
    let published = published(&store.list(CHECKPOINTS)?, base);
    let oldest: Option<Epoch> = published.iter().rev().nth(keep.max(1) - 1).map(|id| id.epoch);
    let begin =
        oldest.and_then(|oldest| chain.iter().rposition(|segment| segment.first <= oldest.saturating_add(1))).unwrap_or(0);
    let (old, kept) = chain.split_at(begin);
    if let (Some(floor), false) = (kept.first(), old.is_empty()) {
        store.put_new(&names::floor(*floor), b"The log begins no later than here.\n")?;
    }
    let is_old = |path: &&String| {
        let Some(name) = SegmentName::parse(path) else { return false };
        old.contains(&name) || (name.generation < mine && !kept.contains(&name))
    };
    store.list(LOG)?.iter().filter(is_old).try_for_each(|path| store.delete(path))?;
    let Some(floor) = kept.first().filter(|_| !old.is_empty()) else { return Ok(()) };
    let is_passed = |path: &&String| SegmentName::parse(path).is_some_and(|name| name < *floor);
    store.list(FLOORS)?.iter().filter(is_passed).try_for_each(|path| store.delete(path))
}

/// Returns the published checkpoints since the last reset, oldest first.
fn published(paths: &[String], base: u64) -> BTreeSet<Checkpoint> {
    let manifests = paths.iter().filter(|path| path.ends_with("/manifest"));
    manifests.filter_map(|path| names::parse_checkpoint(path)).filter(|id| id.generation >= base).collect()
}
