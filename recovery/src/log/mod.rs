//! The epoch log: what happened, in the order in which it was made durable.
//!
//! # Shape
//! Each generation writes segments of its own. A segment begins with the generation's Start (or, from the second on, with that Start
//! once more) and goes on with consecutive epochs. Every record names the hash of the record before; a Start names the record of an
//! older generation after which it continues.
//!
//! # Reading
//! From the newest generation that has a Start, backwards: of each older generation what lies up to the record that the newer one
//! names. What lies behind that was written by a leader that had been replaced, and is not part of the log.
//!
//! # What a crash leaves
//! A segment cut off inside a record that was being written, and hence never acknowledged: it is left out. Anything else that does
//! not fit its hash, or a record that is named and not there, is [`Error::Damaged`](crate::Error::Damaged).

mod read;
mod record;
mod segment;
mod write;

use freshet_model::Epoch;

pub(crate) use self::read::{Chain, base, read};
pub(crate) use self::write::Writer;

/// One entry of the epoch log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A generation began.
    Start {
        /// Its number.
        generation: u64,
        /// The first epoch that is its own.
        next: Epoch,
        /// What it said of itself.
        payload: Vec<u8>,
    },
    /// An epoch.
    Epoch {
        /// Its number.
        epoch: Epoch,
        /// What was logged of it.
        payload: Vec<u8>,
    },
}

/// The epoch log as it is when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// The epochs from the one asked for on, and the Starts that stand among them; before them the Start of the generation to which
    /// the first of them belongs. The last Start is always there unless the log is empty.
    pub entries: Vec<Entry>,
    /// The first epoch that the log still has; equal to `next` if it has none.
    pub first: Epoch,
    /// The epoch after the last one; 0 if nothing has ever been written.
    pub next: Epoch,
}
