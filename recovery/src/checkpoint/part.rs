//! Writes one part of a checkpoint: the entries of one fold whose hashes lie in one range.

use std::ops::RangeInclusive;

use super::index::{BLOCK_BYTES, Block, Index, MAX_ENTRY_BYTES};
use super::{Checkpoint, hash};
use crate::bytes::{Output, checksum};
use crate::error::Error;
use crate::names;
use crate::point::point;
use crate::store::{Store, Upload};

/// A fold's name has at most this length.
const MAX_FOLD_BYTES: usize = 4096;

/// A part of a checkpoint being written. It exists once it is finished, and counts once the checkpoint is published.
#[derive(Debug)]
pub struct Part {
    upload: Box<dyn Upload>,
    index: Index,
    /// The entries of the open block, as `key length, value length, key, value`.
    raw: Vec<u8>,
    entries: u32,
    /// The hashes of the open block's first and last key.
    hashes: (u64, u64),
    last_key: Vec<u8>,
}

impl Part {
    pub(crate) fn create(store: &dyn Store, id: Checkpoint, fold: &str, range: RangeInclusive<u64>) -> Result<Part, Error> {
        if fold.len() > MAX_FOLD_BYTES || range.is_empty() {
            return Err(Error::Order(format!("a part of fold {fold:.100} was begun with the range {range:?}")));
        }
        let upload = store.create(&names::part(id, fold, &range))?;
        let index = Index { fold: fold.to_owned(), range, entries: 0, blocks: Vec::new() };
        Ok(Part { upload, index, raw: Vec::with_capacity(BLOCK_BYTES), entries: 0, hashes: (0, 0), last_key: Vec::new() })
    }

    /// Appends an entry. Keys never descend, and their hashes lie in the part's range.
    ///
    /// # Errors
    /// The key is out of order or range, or the place cannot be written.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let hash = hash(key).filter(|hash| self.index.range.contains(hash)).ok_or_else(|| self.refuse("outside its range"))?;
        if *key < *self.last_key {
            return Err(self.refuse("below the one before"));
        }
        let size = key.len().saturating_add(value.len());
        if size > MAX_ENTRY_BYTES {
            return Err(self.refuse("of more than 256 MB"));
        }
        if self.entries == 0 {
            self.hashes.0 = hash;
        }
        self.hashes.1 = hash;
        self.raw.u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
        self.raw.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.raw.extend_from_slice(key);
        self.raw.extend_from_slice(value);
        self.entries += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        if self.raw.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// Writes what is open and makes the part durable.
    ///
    /// # Errors
    /// The place cannot be written; the part does not exist.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.entries > 0 {
            self.close_block()?;
        }
        point!("checkpoint::part_half");
        let (end, _) = self.index.encode();
        self.upload.write(&end)?;
        self.upload.finish()
    }

    fn close_block(&mut self) -> Result<(), Error> {
        let bytes = lz4_flex::block::compress(&self.raw);
        self.upload.write(&bytes)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (raw, entries, hashes) = (length(&self.raw), self.entries, self.hashes);
        self.index.blocks.push(Block { length: length(&bytes), raw, entries, hashes, checksum: checksum(&bytes) });
        self.index.entries += u64::from(entries);
        self.raw.clear();
        self.entries = 0;
        Ok(())
    }

    fn refuse(&self, problem: &str) -> Error {
        Error::Order(format!("a part of fold {} in {:?} was given a key {problem}", self.index.fold, self.index.range))
    }
}
