//! Reads the entries of a range of hashes, block by block, whatever ranges the parts were written with.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::hash;
use super::index::Block;
use super::manifest::PartInfo;
use super::verify::{Blocks, damaged, open};
use crate::bytes::Input;
use crate::error::Error;
use crate::point::point;
use crate::store::Shared;

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// The entries of one fold whose hashes lie in a range, sorted by key. Holds a few megabytes at a time.
#[derive(Debug)]
pub struct Entries {
    store: Shared,
    range: RangeInclusive<u64>,
    /// The parts that are still to be opened.
    parts: VecDeque<PartInfo>,
    /// The path of the open part, and its blocks.
    open: Option<(String, Blocks)>,
    /// The open block's entries, and how far they have been read.
    raw: Vec<u8>,
    position: usize,
}

impl Entries {
    /// Reads the range from the parts of a fold, which ascend.
    pub(crate) fn new(store: Shared, parts: &[PartInfo], range: RangeInclusive<u64>) -> Entries {
        let overlaps = |part: &&PartInfo| part.range.start() <= range.end() && part.range.end() >= range.start();
        let parts = parts.iter().filter(overlaps).cloned().collect();
        Entries { store, range, parts, open: None, raw: Vec::new(), position: 0 }
    }

    /// Reads the next block that may hold a key of the range, and tells whether there was one.
    fn advance(&mut self) -> Result<bool, Error> {
        loop {
            if let Some((path, blocks)) = &mut self.open
                && let Some((block, bytes)) = blocks.next(&*self.store, path)?
            {
                let unpacked = unpack(&block, bytes);
                self.raw = unpacked.ok_or_else(|| damaged(&*self.store, path, 0, "a block cannot be unpacked"))?;
                self.position = 0;
                point!("restore::half");
                return Ok(true);
            }
            let Some(part) = self.parts.pop_front() else { return Ok(false) };
            let index = open(&*self.store, &part)?;
            self.open = Some((part.path, Blocks::only(index.blocks, |block| block.overlaps(&self.range))));
        }
    }

    /// Returns the next entry of the open block that lies in the range, or None at its end.
    fn take(&mut self) -> Result<Option<Entry>, Error> {
        let rest = self.raw.get(self.position..).unwrap_or_default();
        let mut input = Input(rest);
        let mut found = None;
        while found.is_none() && !input.0.is_empty() {
            let path = self.open.as_ref().map_or("", |(path, _)| path);
            let (key, value) = split(&mut input).ok_or_else(|| damaged(&*self.store, path, 0, "a block ends inside an entry"))?;
            if hash(key).is_some_and(|hash| self.range.contains(&hash)) {
                found = Some((key.to_vec(), value.to_vec()));
            }
        }
        self.position += rest.len() - input.0.len();
        Ok(found)
    }

    fn find(&mut self) -> Result<Option<Entry>, Error> {
        loop {
            let found = self.take()?;
            if found.is_some() || !self.advance()? {
                return Ok(found);
            }
        }
    }

    /// Ends the iteration: after an error nothing follows.
    fn close(&mut self) {
        self.parts.clear();
        self.open = None;
        self.raw.clear();
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find();
        if found.is_err() {
            self.close();
        }
        found.transpose()
    }
}

fn unpack(block: &Block, bytes: &[u8]) -> Option<Vec<u8>> {
    // Invariant: the index has bounded the size by that of the bytes.
    let raw = lz4_flex::block::decompress(bytes, block.raw as usize).ok()?;
    (raw.len() == block.raw as usize).then_some(raw)
}

fn split<'a>(input: &mut Input<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let (key, value) = (input.u32()?, input.u32()?);
    Some((input.take(key as usize)?, input.take(value as usize)?))
}
