//! What a table sink applies at once.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::{DeadLetter, Epoch, LateEvent, Rejects, Timestamp};

/// The changes of one view between two epochs, each key at most once; where all rows are kept, all that came.
#[derive(Debug, Clone)]
pub struct ViewChanges {
    /// Index of the view among those that the sink was prepared with.
    pub view: usize,
    /// Rows to insert or replace: all columns of the view, sorted by key; those of a view that appends in the order in which they came.
    pub upserts: RecordBatch,
    /// Keys of rows to delete: the key columns in the key's order, sorted. Disjoint from the keys of `upserts`.
    pub deletes: RecordBatch,
}

/// Where the records of a view went in the epochs of one commit: `read = counted + filtered + late + dead_letters`.
///
/// A sink that keeps a ledger adds these numbers to those that it holds, in the same atomic unit as its epoch: so the sums since the job's
/// first epoch survive the process, which does not know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Name of the view.
    pub view: String,
    /// Records read from the view's source.
    pub read: u64,
    /// Records that count in at least one window, or pass into the view.
    pub counted: u64,
    /// Records that the view's conditions left out.
    pub filtered: u64,
    /// Records that were late for every window of theirs.
    pub late: u64,
    /// Records that were not accepted by the source.
    pub dead_letters: u64,
}

/// All that one or several consecutive epochs change in one table sink; applied as a whole or not at all.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The newest epoch that the commit holds.
    pub epoch: Epoch,
    /// The watermark after that epoch.
    pub watermark: Timestamp,
    /// The time at which that epoch was cut.
    pub processing_time: Timestamp,
    /// Changes of the views; those without any are left out.
    pub views: Vec<ViewChanges>,
    /// Records that do not count, of each epoch that has some, in the epochs' order. What an epoch rejects, and in which order, is the same
    /// whatever other epochs share its commit.
    pub rejects: Vec<Rejects>,
    /// What these epochs add to the ledger: one row for each view.
    pub ledger: Vec<LedgerRow>,
}

impl Commit {
    /// Returns what the newest epoch rejects, to be added to.
    #[must_use]
    pub fn newest_rejects(&mut self) -> &mut Rejects {
        if self.rejects.last().is_none_or(|last| last.epoch != self.epoch) {
            let (epoch, processing_time) = (self.epoch, self.processing_time);
            self.rejects.push(Rejects { epoch, processing_time, late: Vec::new(), dead: Vec::new() });
        }
        let last = self.rejects.len() - 1;
        &mut self.rejects[last]
    }

    /// Returns the events that were late, each with its epoch's part.
    pub fn late(&self) -> impl Iterator<Item = (&Rejects, &LateEvent)> + Clone {
        self.rejects.iter().flat_map(|part| part.late.iter().map(move |event| (part, event)))
    }

    /// Returns the records that were refused, each with its epoch's part.
    pub fn dead(&self) -> impl Iterator<Item = (&Rejects, &DeadLetter)> + Clone {
        self.rejects.iter().flat_map(|part| part.dead.iter().map(move |letter| (part, letter)))
    }
}
