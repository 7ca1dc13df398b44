//! Why a job does not start: something is lost or foreign, and going on would hide it.

use std::fmt;

use crate::Epoch;

/// A contradiction between the job's state and its sinks, or within the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A sink holds an epoch that the log does not have.
    SinkAhead {
        /// The sink's name.
        sink: String,
        /// What it holds.
        epoch: Epoch,
        /// The first epoch that the log does not have.
        end: Epoch,
    },
    /// A sink lacks epochs that it held when older parts of the state were given up.
    SinkBehind {
        /// The sink's name.
        sink: String,
        /// What it holds.
        epoch: Option<Epoch>,
        /// The oldest epoch from which the state can be restored.
        oldest: Epoch,
    },
    /// The log's beginning was collected, and no checkpoint is left that goes before it.
    NoCheckpoint {
        /// The first epoch that the log still has.
        first: Epoch,
    },
    /// A checkpoint is of an epoch that the log does not have.
    CheckpointAhead {
        /// The checkpoint's epoch.
        checkpoint: Epoch,
        /// The first epoch that the log does not have.
        end: Epoch,
    },
    /// A segment of the log begins after the end of the one that it goes on from.
    Gap {
        /// The segment's generation.
        generation: u64,
        /// The first epoch that is missing.
        missing: Epoch,
    },
}

impl Refusal {
    /// Returns the way out.
    #[must_use]
    pub fn way_out(&self) -> String {
        const ANEW: &str = "or start once with --reset to compute everything anew from the sources";
        match self {
            Refusal::SinkAhead { .. } => format!("point --state at the state that belongs to this sink, {ANEW}"),
            Refusal::SinkBehind { sink, .. } => format!("restore what sink '{sink}' held, {ANEW}"),
            Refusal::NoCheckpoint { .. } | Refusal::CheckpointAhead { .. } | Refusal::Gap { .. } => {
                format!("restore the job's state from a copy, {ANEW}")
            }
        }
    }
}

impl fmt::Display for Refusal {
    /// Says what contradicts what, without the way out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::SinkAhead { sink, epoch, end } => write!(
                f,
                "sink '{sink}' holds epoch {epoch}, but the job's log {}: the state was lost, or it is that of another job",
                ends(*end)
            ),
            Refusal::SinkBehind { sink, epoch, oldest } => {
                let held = epoch.map_or_else(|| "holds no epoch".to_owned(), |epoch| format!("holds epoch {epoch} only"));
                write!(f, "sink '{sink}' {held}, but it had held epoch {oldest}, the oldest to start from: rows were lost there")
            }
            Refusal::NoCheckpoint { first } => {
                write!(f, "the job's log begins at epoch {first}, and there is no valid checkpoint to begin from")
            }
            Refusal::CheckpointAhead { checkpoint, end } => {
                write!(f, "there is a checkpoint of epoch {checkpoint}, but the job's log {}: its end was lost", ends(*end))
            }
            Refusal::Gap { generation, missing } => {
                write!(f, "the job's log lacks epoch {missing}, which generation {generation} had found there")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Says where a log ends.
fn ends(end: Epoch) -> String {
    end.checked_sub(1).map_or_else(|| "is empty".to_owned(), |last| format!("ends with epoch {last}"))
}
