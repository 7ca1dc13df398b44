//! Checkpoints: the contents of keyed states as of one epoch.
//!
//! A checkpoint is a folder. Each part in it holds the entries of one fold whose key hashes lie in one range; the manifest lists the
//! parts and is written last, so that a checkpoint without one does not exist. A key's first eight bytes, big-endian, are its hash:
//! entries that are sorted by key are sorted by hash too, and a reader of any range finds its blocks by the index of each part.

mod entries;
mod index;
mod manifest;
mod part;
mod verify;

use std::fmt;

use freshet_model::Epoch;

pub use self::entries::Entries;
pub use self::manifest::{Fold, Manifest, PartInfo};
pub(crate) use self::manifest::{collect_parts, load};
pub use self::part::Part;
pub(crate) use self::verify::verify;

/// Names a checkpoint: the epoch whose contents it holds, and the generation that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checkpoint {
    /// The epoch.
    pub epoch: Epoch,
    /// The generation.
    pub generation: u64,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint of epoch {} by generation {}", self.epoch, self.generation)
    }
}

/// Returns the hash of a key: its first eight bytes, big-endian. None if it has fewer.
pub(crate) fn hash(key: &[u8]) -> Option<u64> {
    key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
