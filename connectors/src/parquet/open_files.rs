//! The parts that are being written, of all partitions of one sink, within the bounds on their number and memory.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use freshet_model::{Epoch, PartitionId};

use super::hours::Hour;
use super::lake::Lake;
use super::manifest::Part;
use super::open_file::{Format, OpenFile};
use super::{MAX_HELD_BYTES, MAX_OPEN};
use crate::Error;

/// Rows of one partition and hour go into one file at a time.
pub(super) type Slot = (PartitionId, Option<Hour>);

/// A complete part, and where it belongs.
pub(super) type Finished = (Slot, Part);

/// Files that take rows, by what belongs into them.
#[derive(Default)]
pub(super) struct OpenFiles {
    files: HashMap<Slot, OpenFile>,
    /// Counts the writes, to know which file was not written to for longest.
    writes: u64,
}

impl OpenFiles {
    /// Adds rows of an epoch to their slot's file; returns the part that had to be finished to make room, if any.
    pub(super) fn write(
        &mut self,
        lake: &Lake,
        format: &Format,
        slot: Slot,
        epoch: Epoch,
        rows: &RecordBatch,
    ) -> Result<Option<Finished>, Error> {
        let mut evicted = None;
        if !self.files.contains_key(&slot) {
            evicted = self.make_room(lake)?;
            let file = OpenFile::create(&lake.staging(slot.0), lake.stage(slot.1), slot.1, epoch, format);
            self.files.insert(slot, file.map_err(|error| lake.failed(&error))?);
        }
        self.writes += 1;
        if let Some(file) = self.files.get_mut(&slot) {
            file.write(rows, epoch, self.writes).map_err(|error| lake.failed(&error))?;
        }
        self.bound_memory(lake)?;
        Ok(evicted)
    }

    fn make_room(&mut self, lake: &Lake) -> Result<Option<Finished>, Error> {
        if self.files.len() < MAX_OPEN {
            return Ok(None);
        }
        let oldest = self.files.iter().min_by_key(|(_, file)| file.last_write()).map(|(slot, _)| *slot);
        oldest.map_or(Ok(None), |slot| self.finish(lake, slot))
    }

    fn bound_memory(&mut self, lake: &Lake) -> Result<(), Error> {
        while self.held_bytes() > MAX_HELD_BYTES {
            let Some(largest) = self.files.values_mut().max_by_key(|file| file.held_bytes()) else { break };
            largest.flush().map_err(|error| lake.failed(&error))?;
        }
        Ok(())
    }

    fn finish(&mut self, lake: &Lake, slot: Slot) -> Result<Option<Finished>, Error> {
        let Some(file) = self.files.remove(&slot) else { return Ok(None) };
        let part = file.finish().map_err(|error| lake.failed(&error))?;
        Ok(Some((slot, part)))
    }

    /// Completes the files of a partition and waits until the disk has their contents.
    pub(super) fn finish_all(&mut self, lake: &Lake, partition: PartitionId) -> Result<Vec<Finished>, Error> {
        let mut slots: Vec<Slot> = self.files.keys().filter(|slot| slot.0 == partition).copied().collect();
        slots.sort_unstable();
        slots.into_iter().filter_map(|slot| self.finish(lake, slot).transpose()).collect()
    }

    /// Returns the size that a slot's file would have now, nearly.
    pub(super) fn bytes(&self, slot: Slot) -> u64 {
        self.files.get(&slot).map_or(0, OpenFile::bytes)
    }

    /// Returns how much memory all files take.
    pub(super) fn held_bytes(&self) -> usize {
        self.files.values().map(OpenFile::held_bytes).sum()
    }

    /// Returns how many files are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Forgets all files; what they hold stays in the staging folder until it is swept.
    pub(super) fn clear(&mut self) {
        self.files.clear();
    }
}
