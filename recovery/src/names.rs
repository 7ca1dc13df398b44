//! Where each thing lies below the state's place, and how its name is read back.
//!
//! Numbers are written with leading zeros, so that names sort as their numbers do. A name that is none of ours is passed over.

use std::ops::RangeInclusive;

use freshet_model::Epoch;

use crate::Checkpoint;
use crate::bytes::checksum;

/// Holds one file a generation, which says who it is.
pub(crate) const GENERATIONS: &str = "generations";
/// Holds the renewed leases of generations (object stores only).
pub(crate) const LEASES: &str = "leases";
/// Holds the segments of the epoch log.
pub(crate) const LOG: &str = "log";
/// Holds marks of epochs before which the log need not reach any more.
pub(crate) const FLOORS: &str = "floors";
/// Holds marks of generations before which everything is forgotten.
pub(crate) const RESETS: &str = "resets";
/// Holds one folder a checkpoint.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// Holds one folder a table, with the versions of its rows.
pub(crate) const TABLES: &str = "tables";
/// Names the job to which the state belongs.
pub(crate) const JOB: &str = "job";

/// Returns the path of a generation's file.
pub(crate) fn generation(number: u64) -> String {
    format!("{GENERATIONS}/{number:020}")
}

/// Returns the path of a generation's lease.
pub(crate) fn lease(number: u64) -> String {
    format!("{LEASES}/{number:020}")
}

/// Returns the path of the mark that forgets everything before a generation.
pub(crate) fn reset(number: u64) -> String {
    format!("{RESETS}/{number:020}")
}

/// Returns the path of the mark before which the log need not reach.
pub(crate) fn floor(floor: SegmentName) -> String {
    format!("{FLOORS}/{}", floor.pair())
}

/// Reads the number at the end of a path of a generation, lease or reset.
pub(crate) fn number(path: &str) -> Option<u64> {
    digits(path.rsplit('/').next()?)
}

/// A segment of the log: whose it is, and its first epoch. Also names a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    /// The generation that wrote it.
    pub(crate) generation: u64,
    /// The epoch of its first record.
    pub(crate) first: Epoch,
}

impl SegmentName {
    fn pair(self) -> String {
        format!("{:020}-{:020}", self.generation, self.first)
    }

    /// Returns the path of the segment.
    pub(crate) fn path(self) -> String {
        format!("{LOG}/{}.log", self.pair())
    }

    /// Reads the path of a segment, of a piece of one, or of a floor.
    pub(crate) fn parse(path: &str) -> Option<SegmentName> {
        let name = path.split('/').nth(1)?;
        let (generation, first) = pair(name.strip_suffix(".log").unwrap_or(name))?;
        Some(SegmentName { generation, first })
    }
}

/// Returns the path of a checkpoint's folder.
pub(crate) fn checkpoint(checkpoint: Checkpoint) -> String {
    format!("{CHECKPOINTS}/{:020}-{:020}", checkpoint.epoch, checkpoint.generation)
}

/// Returns the path of a checkpoint's manifest.
pub(crate) fn manifest(checkpoint: Checkpoint) -> String {
    format!("{}/manifest", self::checkpoint(checkpoint))
}

/// Returns the path of a part. The fold's name may be anything, so its hash stands beside what of it can be read.
pub(crate) fn part(checkpoint: Checkpoint, fold: &str, range: &RangeInclusive<u64>) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let readable: String = fold.chars().filter(plain).take(64).collect();
    let hash = checksum(fold.as_bytes());
    format!("{}/{readable}-{hash:016x}-{:016x}-{:016x}.part", self::checkpoint(checkpoint), range.start(), range.end())
}

/// Reads the checkpoint to which a path below `checkpoints/` belongs.
pub(crate) fn parse_checkpoint(path: &str) -> Option<Checkpoint> {
    let (epoch, generation) = pair(path.split('/').nth(1)?)?;
    Some(Checkpoint { epoch, generation })
}

/// Returns the path of a version of a table.
pub(crate) fn version(table: &str, version: u64) -> String {
    format!("{TABLES}/{table}/{version:020}")
}

/// Reads the table and the number from the path of a version.
pub(crate) fn parse_version(path: &str) -> Option<(&str, u64)> {
    let (table, number) = path.strip_prefix(TABLES)?.strip_prefix('/')?.split_once('/')?;
    Some((table, digits(number)?))
}

/// Tells whether a name is that of a file that was never finished.
pub(crate) fn is_unfinished(path: &str) -> bool {
    path.ends_with(".tmp")
}

fn pair(name: &str) -> Option<(u64, u64)> {
    let (a, b) = name.split_once('-')?;
    Some((digits(a)?, digits(b)?))
}

fn digits(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_strange_ones_passed_over() {
        let segment = SegmentName { generation: 3, first: u64::MAX };
        assert_eq!(SegmentName::parse(&segment.path()), Some(segment));
        assert_eq!(SegmentName::parse(&format!("{}/0000000001", segment.path())), Some(segment));
        assert_eq!(SegmentName::parse(&floor(segment)), Some(segment));
        let id = Checkpoint { epoch: 9, generation: 2 };
        assert_eq!(parse_checkpoint(&manifest(id)), Some(id));
        assert_eq!(number(&generation(12)), Some(12));
        assert_eq!(parse_version(&version("users", 12)), Some(("users", 12)));
        assert_eq!(parse_version("tables/users/00000000000000000012.tmp"), None);
        for strange in ["log/x", "log", "log/1-2.log", "checkpoints/+0000000000000000009-00000000000000000002/manifest"] {
            assert_eq!((SegmentName::parse(strange), parse_checkpoint(strange)), (None, None), "{strange}");
        }
        assert_eq!(number("generations/99999999999999999999"), None);
    }

    #[test]
    fn folds_with_the_same_letters_have_different_parts() {
        let id = Checkpoint { epoch: 1, generation: 1 };
        assert_ne!(part(id, "a/b", &(0..=1)), part(id, "a.b", &(0..=1)));
        assert!(!part(id, "../../etc", &(0..=1)).contains(".."));
    }
}
