//! Records that do not count: dead letters, and events that came too late.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Offset, PartitionId, Timestamp};

/// A dead letter carries at most this much of its record: all of any record that a topic is likely to hold. How much of that is kept, the place
/// decides that keeps it.
pub const MAX_DEAD_PAYLOAD_BYTES: usize = 16 << 20;

/// Why a record became a dead letter, as a stable code for people and programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Null or zero-length payload.
    EmptyPayload,
    /// Larger than the source's limit.
    Oversized,
    /// Not UTF-8, or not of the source's format at all.
    Malformed,
    /// Nested deeper than the parser goes.
    TooDeep,
    /// A column's value is of another type than declared.
    WrongType,
    /// A required column is missing or null.
    MissingColumn,
    /// The event time lies outside `[1970-01-01, processing time + max_future_skew]`.
    TimeOutOfRange,
    /// A text holds a NUL character.
    NulCharacter,
    /// A text is longer than its column allows.
    TooLong,
    /// The target table refuses the value.
    DoesNotFit,
    /// The registry knows no schema of the record's id.
    UnknownSchema,
    /// The schema that the record was written with cannot be read into the columns.
    IncompatibleSchema,
    /// An expression of the view has no value for the record (a division by zero, a cast that fails).
    ExpressionFailed,
}

impl Reason {
    /// Returns the code as stored in tables and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Reason::EmptyPayload => "empty_payload",
            Reason::Oversized => "oversized",
            Reason::Malformed => "malformed",
            Reason::TooDeep => "too_deep",
            Reason::WrongType => "wrong_type",
            Reason::MissingColumn => "missing_column",
            Reason::TimeOutOfRange => "time_out_of_range",
            Reason::NulCharacter => "nul_character",
            Reason::TooLong => "too_long",
            Reason::DoesNotFit => "does_not_fit",
            Reason::UnknownSchema => "unknown_schema",
            Reason::IncompatibleSchema => "incompatible_schema",
            Reason::ExpressionFailed => "expression_failed",
        }
    }
}

/// The records of one epoch that do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejects {
    /// The epoch.
    pub epoch: Epoch,
    /// The time at which it was cut.
    pub processing_time: Timestamp,
    /// Events that were late, sorted.
    pub late: Vec<LateEvent>,
    /// Records that were refused, sorted.
    pub dead: Vec<DeadLetter>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A record that cannot be parsed or accepted, with its place and the reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Name of the source, or of the view whose row a sink refused.
    pub source: String,
    /// The record's partition.
    pub partition: PartitionId,
    /// The record's offset.
    pub offset: Offset,
    /// Why, as a code.
    pub reason: Reason,
    /// Why, for a person: names the column and the value's type, not the value.
    pub detail: String,
    /// The first [`MAX_DEAD_PAYLOAD_BYTES`] of the record.
    pub payload: Vec<u8>,
}

/// An event that was late for one window of one view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LateEvent {
    /// Name of the view.
    pub view: String,
    /// Name of the source.
    pub source: String,
    /// The record's partition.
    pub partition: PartitionId,
    /// The record's offset.
    pub offset: Offset,
    /// Start of the window that had closed; for a session the event's own time.
    pub window_start: Timestamp,
    /// End of that window; for a session the event's time plus the gap.
    pub window_end: Timestamp,
    /// The event's time.
    pub event_time: Timestamp,
    /// The watermark in force: `watermark - window_end` is how late the event was.
    pub watermark: Timestamp,
    /// The event's columns as JSON.
    pub event: String,
}
