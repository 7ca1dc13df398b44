//! Epochs: how input is cut, when, and what the watermark of each cut is.
//!
//! ```text
//!            ticks: "cut epoch E now"                 batches at E
//! sequencer ───────────────────────────▶ source (each worker) ──────────▶ views
//!  (worker 0) ◀──────────────────────────┘ reports: what E holds              │
//!     │  ▲                                                                    ▼
//!     │  └──────────────────────────────────────────────────────── sinks: done with E
//!     └─ seals: "E is complete, the watermark of E+1 is W" ────────▶ views, sinks
//! ```
//!
//! One sequencer decides, on worker 0, so that the epochs are the same for all workers; [`pacing`] is its sense of time and
//! [`watermark`] its knowledge of lateness, both pure. What it decided of an epoch is one [`EpochRecord`], handed out before
//! anybody hears of it: with these records and the sources' offsets everything else can be computed again.

pub mod pacing;
pub mod sequencer;
pub mod watermark;

use freshet_model::{Epoch, Offset, PartitionId, Progress, Timestamp};
use serde::{Deserialize, Serialize};

/// The part of a partition that belongs to an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Index of the source.
    pub source: usize,
    /// The partition.
    pub partition: PartitionId,
    /// First offset of the epoch.
    pub start: Offset,
    /// First offset behind the epoch.
    pub end: Offset,
    /// Accepted records.
    pub rows: u64,
    /// Refused records.
    pub dead_letters: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// The greatest event time among the accepted records.
    pub max_event_time: Option<Timestamp>,
    /// Where the reader stood at the end of the epoch.
    pub progress: Progress,
}

/// What a source operator tells the sequencer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// The open epoch has its first record.
    Pending,
    /// The open epoch holds as much as it may; the source reads no further until it is cut.
    Full,
    /// What the epoch just cut holds of one partition.
    Cut(Cut),
    /// This process has been asked to stop.
    Stop,
}

/// "Cut the epoch of this message now."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// When: the `processing_time()` of the epoch's records.
    pub processing_time: Timestamp,
    /// Whether this is the last epoch: what is read after it belongs to none, and must not enter the dataflow.
    pub last: bool,
}

/// "The epoch of this message is complete."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// For each source, the watermark of the next epoch.
    pub watermarks: Vec<Timestamp>,
    /// When the epoch was cut.
    pub processing_time: Timestamp,
    /// The greatest event time among the epoch's records.
    pub newest: Option<Timestamp>,
}

/// All that was decided about an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch.
    pub epoch: Epoch,
    /// What it holds, by source and partition.
    pub cuts: Vec<Cut>,
    /// What everybody is told of it.
    pub seal: Seal,
}
