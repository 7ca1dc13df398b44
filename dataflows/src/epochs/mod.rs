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
//! [`watermark`] its knowledge of lateness, both pure. What it decided of an epoch is one [`EpochRecord`], which goes into the
//! epoch log and is durable before anybody hears of it: with these records and the sources' offsets everything else can be
//! computed again. A run that continues another one first repeats the records that it is given, and decides nothing until it has.

pub mod pacing;
mod sequence;
pub mod sequencer;
pub mod watermark;

use std::collections::BTreeMap;

use freshet_model::{Epoch, Offset, PartitionId, Progress, Timestamp};
use serde::{Deserialize, Serialize};

use watermark::Watermark;

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

/// The number of a version of a table, from 1.
pub type Version = u64;

/// The first epoch of a run, and what is in force in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct First {
    /// The epoch.
    pub epoch: Epoch,
    /// The watermark of each source.
    pub watermarks: Vec<Timestamp>,
    /// The version of each table.
    pub versions: Vec<Version>,
}

impl First {
    /// Finds out where a run over so many sources begins, after a checkpoint or at the beginning of the log.
    #[must_use]
    pub fn after(checkpoint: Option<&Checkpoint>, log: &[LogEntry], sources: usize) -> First {
        if let Some(Checkpoint { epoch, seal, .. }) = checkpoint {
            return First { epoch: epoch + 1, watermarks: seal.watermarks.clone(), versions: seal.versions.clone() };
        }
        let starts = log.iter().map_while(|entry| if let LogEntry::Start(start) = entry { Some(start) } else { None });
        let versions = starts.last().map(|start| start.versions.clone()).unwrap_or_default();
        First { epoch: 0, watermarks: vec![Timestamp::MIN; sources], versions }
    }
}

/// What a source operator tells the sequencer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// The open epoch has its first record.
    Pending,
    /// The open epoch holds as much as it may; the source reads no further until it is cut.
    Full,
    /// The open epoch holds the last of the records that were known to wait in a partition, which was behind when the epoch before was cut.
    CaughtUp {
        /// Index of the source.
        source: usize,
        /// The partition.
        partition: PartitionId,
    },
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
    /// For each table, the version that is in force in the next epoch.
    pub versions: Vec<Version>,
    /// When the epoch was cut.
    pub processing_time: Timestamp,
    /// The greatest event time among the epoch's records.
    pub newest: Option<Timestamp>,
    /// Whether everybody is to keep what it holds as of the next epoch, for a later run to begin with.
    pub checkpoint: bool,
}

/// What the epoch log tells, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogEntry {
    /// A run began here.
    Start(Start),
    /// An epoch was sealed.
    Epoch(EpochRecord),
}

/// The begin of a run: what its clock and its sources said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When it began: partitions are idle from then on at the earliest.
    pub time: Timestamp,
    /// For each source its partitions.
    pub partitions: Vec<Vec<PartitionId>>,
    /// For each table its newest version, which is in force in the first epoch of all.
    pub versions: Vec<Version>,
}

/// What the sequencer knows as of an epoch: its part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The epoch, which is the last one that the checkpoint holds.
    pub epoch: Epoch,
    /// What everybody was told of it.
    pub seal: Seal,
    /// For each source, what is known of its partitions.
    pub watermarks: Vec<Watermark>,
    /// For each source and partition, the first offset behind the epoch.
    pub ends: Vec<BTreeMap<PartitionId, Offset>>,
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
