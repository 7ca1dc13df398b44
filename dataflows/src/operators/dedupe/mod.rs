//! Passes on the first record of each key, and leaves out its repeats for a time.
//!
//! ```text
//! batches ─▶ ask ─ questions ─(by key)─▶ judge ─ repeats ─(back)─▶ release ─▶ batches without repeats
//!             │  keys, places, times       │ ▲                       ▲
//!             │                            ▼ │                       │
//!             │                        key → time                    │
//!             └──────────────── batches that wait ───────────────────┘
//! ```
//!
//! Records do not move: the worker that has a batch asks the workers that keep its keys, and they answer which of its rows are repeats. So what comes out has
//! the epochs, partitions and offsets of what went in, and whoever goes by those need not know.
//!
//! # Frontiers
//! `ask` keeps a batch until the watermark of its epoch is known. `judge` takes an epoch when it is complete (see `course.rs`), and `release`
//! when all answers are there: an epoch comes out at once, in the order in which it went in.
//!
//! # Invariants
//! - Of an epoch's records of one key the first one passes, by partition and offset, unless the key is remembered from an earlier epoch.
//! - A key is remembered from a record with time `t` until the watermark reaches `t + within`. A record that comes so late that it would be forgotten at once is late,
//!   and does not pass.
//! - What is forgotten is decided by the times alone, not by when the states are cleared of it.

mod ask;
mod judge;
mod release;

use std::sync::Arc;

use arrow::datatypes::DataType;
use freshet_model::{Batch, Epoch, Offset, PartitionId};
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::core::Concatenate;
use timely::dataflow::{Scope, Stream};

use super::partial::Announcement;
use crate::changes::Side;
use crate::epochs::Seal;
use crate::saving::{OpenSave, Restore};

/// The streams of a deduplication.
pub struct Deduped<'s> {
    /// The records that pass.
    pub batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    /// Late records, and the numbers of those that do not pass.
    pub sides: Stream<'s, Epoch, Vec<Side>>,
    /// Holds nothing: its frontier says of which epochs checkpoints have been saved.
    pub saved: Stream<'s, Epoch, Vec<()>>,
}

/// What is to be deduplicated, and by what.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Index of the stream among the sources.
    pub stream: usize,
    /// Its name, for people.
    pub name: String,
    /// The name of what it reads.
    pub reads: String,
    /// The columns of the key, with their types.
    pub keys: Vec<(usize, DataType)>,
    /// Index of the event-time column.
    pub time_column: usize,
    /// For how long a key is remembered, in microseconds.
    pub within: i64,
}

/// What a deduplication needs from outside.
pub struct Options {
    /// The rule.
    pub rule: Rule,
    /// The first watermark.
    pub begin: Announcement,
    /// Told by how much the number of remembered keys changes.
    pub keys: Box<dyn Fn(i64)>,
    /// The states that an earlier run saved of this worker's keys, in the order of keys.
    pub restore: Restore,
    /// Where states are saved.
    pub save: OpenSave,
}

/// Leaves the repeats out of batches.
pub fn dedupe<'s>(
    scope: Scope<'s, Epoch>,
    options: Options,
    batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
) -> Deduped<'s> {
    let rule = Arc::new(options.rule);
    let asked = ask::ask(scope, Arc::clone(&rule), options.begin.clone(), batches, seals.clone());
    let judge = judge::Options {
        name: rule.name.clone(),
        within: rule.within,
        begin: options.begin,
        keys: options.keys,
        restore: options.restore,
        save: options.save,
    };
    let judged = judge::judge(scope, judge, asked.questions, seals);
    let released = release::release(scope, rule.stream, &rule.name, asked.waiting, judged.answers);
    let sides = scope.concatenate([asked.sides, released.sides]);
    Deduped { batches: released.batches, sides, saved: judged.saved }
}

/// What one worker asks another about a batch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Questions {
    /// The worker that keeps the keys.
    to: u64,
    /// The worker that has the batch.
    from: u64,
    /// The batch's number there.
    batch: u64,
    /// The batch's partition.
    partition: PartitionId,
    /// The keys, hash first, end to end.
    keys: Vec<u8>,
    /// The rows, in the order of their keys in `keys`.
    rows: Vec<Question>,
}

/// Is this row a repeat?
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Question {
    /// Where its key ends.
    key_end: u32,
    row: u32,
    offset: Offset,
    time: i64,
}

/// Which rows of a batch are repeats.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    /// The worker that has the batch.
    to: u64,
    batch: u64,
    repeats: Vec<u32>,
}

/// A batch that waits for its answers.
#[derive(Debug, Clone)]
struct Waiting {
    number: u64,
    batch: Arc<Batch>,
    /// The rows that are late.
    late: Vec<u32>,
}
