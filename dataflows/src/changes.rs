//! What flows between operators besides batches.

use std::sync::Arc;

use freshet_model::{Batch, DeadLetter, LateEvent};
use serde::{Deserialize, Serialize};

use crate::state::State;

/// What part of an epoch's records say of one key; adds up with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    /// The key, its hash first.
    pub key: Vec<u8>,
    /// The part.
    pub state: State,
}

/// A row of a view that is there now, or is gone; of one key and epoch, those that are gone come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Index of the view.
    pub view: usize,
    /// The packed key.
    pub key: Vec<u8>,
    /// The packed row. Of a row that is gone it is sent only where another view reads this one or HAVING hides rows, and then always; elsewhere a row that is
    /// replaced by another of the same key is not sent at all.
    pub row: Vec<u8>,
    /// 1 for a row that is there now, -1 for one that is gone.
    pub diff: i64,
}

/// Rows that are appended to a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Appended {
    /// Index of the table in its sink.
    pub table: usize,
    /// The rows. Between threads they stay where they are.
    pub rows: Arc<Batch>,
}

/// What becomes of records that are not in a view's rows, and how many of which there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// A source's records.
    Read {
        /// Index of the source.
        source: usize,
        /// Records, dead letters included.
        records: u64,
        /// Dead letters.
        dead_letters: u64,
    },
    /// A view's records.
    Counted(Counts),
    /// Records that did not come out of a stream that is made from others.
    LeftOut(LeftOut),
    /// An event that was late for a window.
    Late(Box<LateEvent>),
    /// A record that was refused.
    Dead(Box<DeadLetter>),
}

/// The records that a stream left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Index of the stream among the sources.
    pub stream: usize,
    /// Records that repeat another.
    pub repeats: u64,
    /// Records that came too late to be told from repeats.
    pub late: u64,
    /// Records for which a table has no row.
    pub unmatched: u64,
}

/// Where the records that a view read went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Index of the view.
    pub view: usize,
    /// Records that count somewhere.
    pub counted: u64,
    /// Records that the view's conditions left out.
    pub filtered: u64,
    /// Records that were late for every window of theirs.
    pub late: u64,
    /// Records for which an expression of the view has no value.
    pub failed: u64,
}
