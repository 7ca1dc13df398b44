//! What a source brings: parsed records of one partition.

use std::ops::Range;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::{DeadLetter, Timestamp};

/// Position of a record in its partition.
pub type Offset = i64;

/// A partition of a source; sources without partitions have only 0.
pub type PartitionId = i32;

/// How far a reader has come in a partition, as of the end of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// About this many further records are waiting.
    Behind(u64),
    /// All that the partition held has been read; more may come.
    AtEnd,
    /// The bound of a bounded run has been reached; nothing more will come.
    Finished,
}

/// Consecutive records of one partition, parsed into Arrow columns.
///
/// Invariants: `offsets` has one entry for each row of `columns`, ascending and inside `range`; the records of `range` are the
/// rows, the `dead` letters, and offsets that the partition never held (Kafka's transaction markers, compaction).
/// An empty batch is allowed: it tells a new [`Progress`].
#[derive(Debug, Clone)]
pub struct Batch {
    /// The partition that held the records.
    pub partition: PartitionId,
    /// The offsets covered, half-open: the next batch of the partition begins at `range.end`.
    pub range: Range<Offset>,
    /// The accepted records, in offset order: the source's declared columns in their declared order.
    pub columns: RecordBatch,
    /// The offset of each row.
    pub offsets: Vec<Offset>,
    /// The greatest event time of the rows.
    pub max_event_time: Option<Timestamp>,
    /// Size of the records' payloads, dead letters included.
    pub bytes: usize,
    /// The records that were not accepted.
    pub dead: Vec<DeadLetter>,
    /// Where the reader stands after this batch.
    pub progress: Progress,
}
