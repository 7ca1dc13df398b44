//! The end of a part: what it holds, and where each block lies.
//!
//! ```text
//!  block … block │ index │ length of the index u64 │ its hash u64 │ "FRSHPART"
//! ```
//! Blocks follow each other without a gap from the first byte on, each with its hash in the index, and the index with its own:
//! every byte of a part is under a checksum.

use std::ops::{Range, RangeInclusive};

use crate::bytes::{Input, Output, checksum};

/// Length of what follows the index.
pub(super) const TRAILER_BYTES: u64 = 24;
/// A block is closed when its entries have this size.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// An entry's key and value together have at most this size.
pub(super) const MAX_ENTRY_BYTES: usize = 256 << 20;
const MAGIC: &[u8; 8] = b"FRSHPART";
const VERSION: u32 = 3;
/// Length of a block's line in the index.
const LINE_BYTES: usize = 36;
/// LZ4 makes a byte of at most so many.
const MAX_RATIO: u64 = 256;

/// A block: entries, compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Its length as it lies in the part.
    pub(super) length: u32,
    /// The length of its entries.
    pub(super) raw: u32,
    /// The number of its entries.
    pub(super) entries: u32,
    /// The hashes of its first and last key.
    pub(super) hashes: (u64, u64),
    /// The hash of its bytes as they lie in the part.
    pub(super) checksum: u64,
}

impl Block {
    /// Tells whether the block may hold a key of the range.
    pub(super) fn overlaps(&self, range: &RangeInclusive<u64>) -> bool {
        self.hashes.0 <= *range.end() && self.hashes.1 >= *range.start()
    }
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) fold: String,
    pub(super) range: RangeInclusive<u64>,
    pub(super) entries: u64,
    pub(super) blocks: Vec<Block>,
}

impl Index {
    /// Returns the bytes that follow the blocks, and the hash of the index.
    pub(super) fn encode(&self) -> (Vec<u8>, u64) {
        let mut out = Vec::with_capacity(self.blocks.len() * LINE_BYTES + 100);
        out.u32(VERSION);
        out.counted(self.fold.as_bytes());
        out.u64(*self.range.start());
        out.u64(*self.range.end());
        out.u64(self.entries);
        out.u32(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX));
        for block in &self.blocks {
            out.u32(block.length);
            out.u32(block.raw);
            out.u32(block.entries);
            out.u64(block.hashes.0);
            out.u64(block.hashes.1);
            out.u64(block.checksum);
        }
        let (length, hash) = (out.len() as u64, checksum(&out));
        out.u64(length);
        out.u64(hash);
        out.extend_from_slice(MAGIC);
        (out, hash)
    }

    /// Tells whether the index is in the format of this version.
    pub(super) fn is_current(bytes: &[u8]) -> bool {
        Input(bytes).u32() == Some(VERSION)
    }

    /// Reads the index of a part whose blocks have `blocks_bytes` bytes together.
    pub(super) fn decode(bytes: &[u8], blocks_bytes: u64) -> Option<Index> {
        let mut input = Input(bytes);
        if input.u32()? != VERSION {
            return None;
        }
        let fold = input.text()?;
        let range = input.u64()?..=input.u64()?;
        let entries = input.u64()?;
        let count = input.count(LINE_BYTES)?;
        let blocks: Vec<Block> = (0..count).map(|_| block(&mut input)).collect::<Option<_>>()?;
        let is_plausible = |block: &Block| {
            let bound = (u64::from(block.length) + 1) * MAX_RATIO;
            u64::from(block.raw) <= bound && block.raw as usize <= BLOCK_BYTES + MAX_ENTRY_BYTES + 8
        };
        let is_whole = blocks.iter().map(|block| u64::from(block.length)).sum::<u64>() == blocks_bytes
            && blocks.iter().map(|block| u64::from(block.entries)).sum::<u64>() == entries;
        (input.0.is_empty() && is_whole && blocks.iter().all(is_plausible)).then_some(Index { fold, range, entries, blocks })
    }
}

fn block(input: &mut Input<'_>) -> Option<Block> {
    Some(Block {
        length: input.u32()?,
        raw: input.u32()?,
        entries: input.u32()?,
        hashes: (input.u64()?, input.u64()?),
        checksum: input.u64()?,
    })
}

/// Reads the trailer of a part of `length` bytes: where its index lies, and the index's hash.
pub(super) fn decode_trailer(trailer: &[u8], length: u64) -> Option<(Range<u64>, u64)> {
    let mut input = Input(trailer);
    let (index_bytes, hash) = (input.u64()?, input.u64()?);
    let end = length.checked_sub(TRAILER_BYTES)?;
    let begin = end.checked_sub(index_bytes)?;
    (input.0 == MAGIC).then_some((begin..end, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_back() {
        let block = Block { length: 10, raw: 100, entries: 3, hashes: (5, 9), checksum: 1 };
        let index = Index { fold: "users".to_owned(), range: 5..=10, entries: 6, blocks: vec![block.clone(), block] };
        let (bytes, hash) = index.encode();
        let length = 20 + bytes.len() as u64;
        let (place, found) = decode_trailer(&bytes[bytes.len() - 24..], length).expect("a trailer");
        assert_eq!((place.clone(), found), (20..length - 24, hash));
        let body = &bytes[..(place.end - place.start) as usize];
        assert!(Index::is_current(body) && !Index::is_current(&[0, 0, 0, 0]));
        assert_eq!(Index::decode(body, 20), Some(index));
        assert_eq!(Index::decode(body, 21), None, "a gap between the blocks and the index");
    }

    #[test]
    fn a_block_that_claims_to_be_huge_is_refused() {
        let block = Block { length: 10, raw: u32::MAX, entries: 3, hashes: (5, 9), checksum: 1 };
        let (bytes, _) = Index { fold: String::new(), range: 0..=1, entries: 3, blocks: vec![block] }.encode();
        assert_eq!(Index::decode(&bytes[..bytes.len() - 24], 10), None);
    }
}
