//! Reads the pieces of a part and checks each against its hash.

use std::ops::Range;

use super::index::{Block, Index, TRAILER_BYTES, decode_trailer};
use super::manifest::{Manifest, PartInfo};
use crate::bytes::checksum;
use crate::error::{Damaged, Error};
use crate::store::Store;

/// Consecutive blocks are read together up to this size: an object store takes its time for each request.
pub(super) const READ_BYTES: u64 = 4 << 20;

/// Reads all bytes of all parts and checks them.
pub(crate) fn verify(store: &dyn Store, manifest: &Manifest) -> Result<(), Error> {
    for part in manifest.folds.iter().flat_map(|fold| &fold.parts) {
        let index = open(store, part)?;
        let mut blocks = Blocks::new(index.blocks);
        while let Some((block, bytes)) = blocks.next(store, &part.path)? {
            debug_assert_eq!(block.length as usize, bytes.len(), "a block is read whole");
        }
    }
    Ok(())
}

/// Reads the index of a part that a manifest lists.
pub(super) fn open(store: &dyn Store, part: &PartInfo) -> Result<Index, Error> {
    let length = store.length(&part.path)?;
    if length != Some(part.bytes) {
        let problem = match length {
            None => "the part is missing".to_owned(),
            Some(length) => format!("the part has {length} bytes, and {} in the manifest", part.bytes),
        };
        return Err(damaged(store, &part.path, 0, &problem).into());
    }
    let (place, hash) = read_trailer(store, &part.path, part.bytes)?;
    if hash != part.checksum {
        return Err(damaged(store, &part.path, place.end, "the part is another one than the manifest lists").into());
    }
    let index = read_index(store, &part.path, place, hash)?;
    if index.range != part.range || index.entries != part.entries {
        return Err(damaged(store, &part.path, 0, "the part holds other keys than the manifest lists").into());
    }
    Ok(index)
}

/// Reads where the index of a part lies, and its hash.
pub(super) fn read_trailer(store: &dyn Store, path: &str, length: u64) -> Result<(Range<u64>, u64), Error> {
    let begin = length.saturating_sub(TRAILER_BYTES);
    let trailer = if length < TRAILER_BYTES { Vec::new() } else { store.read_range(path, begin..length)?.unwrap_or_default() };
    let damage = || damaged(store, path, begin, "the end of the part is missing or not what was written");
    Ok(decode_trailer(&trailer, length).ok_or_else(damage)?)
}

/// Reads the index of a part from its place.
pub(super) fn read_index(store: &dyn Store, path: &str, place: Range<u64>, hash: u64) -> Result<Index, Error> {
    let begin = place.start;
    let damage = || damaged(store, path, begin, "the index of the part does not fit its checksum");
    if place.is_empty() {
        return Err(damage().into());
    }
    let bytes = store.read_range(path, place)?.unwrap_or_default();
    if checksum(&bytes) != hash {
        return Err(damage().into());
    }
    if !Index::is_current(&bytes) {
        return Err(damaged(store, path, begin, "another version of Freshet has written it, in a format of its own").into());
    }
    Ok(Index::decode(&bytes, begin).ok_or_else(damage)?)
}

/// Some blocks of a part, read in order and in groups.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The blocks that are still to come, last one first, with their places.
    rest: Vec<(u64, Block)>,
    /// Bytes of the part that have been read, and where they begin.
    read: (u64, Vec<u8>),
}

impl Blocks {
    /// Takes all blocks of a part.
    pub(super) fn new(blocks: Vec<Block>) -> Blocks {
        Self::only(blocks, |_| true)
    }

    /// Takes those blocks of a part for which `wanted` holds.
    pub(super) fn only(blocks: Vec<Block>, wanted: impl Fn(&Block) -> bool) -> Blocks {
        let mut offset = 0;
        let mut rest = Vec::with_capacity(blocks.len());
        for block in blocks {
            let begin = offset;
            offset += u64::from(block.length);
            if wanted(&block) {
                rest.push((begin, block));
            }
        }
        rest.reverse();
        Blocks { rest, read: (0, Vec::new()) }
    }

    /// Returns the next block and its bytes, which fit their checksum.
    pub(super) fn next(&mut self, store: &dyn Store, path: &str) -> Result<Option<(Block, &[u8])>, Error> {
        let Some((begin, block)) = self.rest.pop() else { return Ok(None) };
        let end = begin + u64::from(block.length);
        if self.read.0 > begin || self.read.0 + (self.read.1.len() as u64) < end {
            let mut until = end;
            for (next, block) in self.rest.iter().rev() {
                let next_end = next + u64::from(block.length);
                if *next != until || next_end - begin > READ_BYTES {
                    break;
                }
                until = next_end;
            }
            self.read = (begin, store.read_range(path, begin..until)?.unwrap_or_default());
        }
        let from = usize::try_from(begin - self.read.0).unwrap_or(usize::MAX);
        let bytes = self.read.1.get(from..from.saturating_add(block.length as usize));
        match bytes.filter(|bytes| checksum(bytes) == block.checksum) {
            Some(bytes) => Ok(Some((block, bytes))),
            None => Err(damaged(store, path, begin, "the block does not fit its checksum").into()),
        }
    }
}

pub(super) fn damaged(store: &dyn Store, path: &str, offset: u64, problem: &str) -> Damaged {
    Damaged::checkpoint(format!("{}/{path}", store.place()), offset, problem)
}
