//! What a source brings: parsed records of one partition.

use std::ops::Range;

use arrow::array::{Array, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
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

/// A row that may lie too far in the future: that depends on when its epoch is cut, which is not known when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Early {
    /// The row is accepted in an epoch that is cut at this time or later.
    pub since: Timestamp,
    /// What it is in any other epoch.
    pub letter: DeadLetter,
}

/// Consecutive records of one partition, parsed into Arrow columns.
///
/// Invariants: `offsets` has one entry for each row of `columns`, ascending and inside `range`; the records of `range` are the
/// rows, the `dead` letters, and offsets that the partition never held (Kafka's transaction markers, compaction).
/// An empty batch is allowed: it tells a new [`Progress`]. Each of the `early` rows is a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    /// The partition that held the records.
    pub partition: PartitionId,
    /// The offsets covered, half-open: the next batch of the partition begins at `range.end`.
    pub range: Range<Offset>,
    /// The accepted records, in offset order: the source's declared columns in their declared order.
    #[serde(with = "crate::ipc")]
    pub columns: RecordBatch,
    /// The offset of each row.
    pub offsets: Vec<Offset>,
    /// The greatest event time of the rows.
    pub max_event_time: Option<Timestamp>,
    /// Size of the records' payloads, dead letters included.
    pub bytes: usize,
    /// The records that were not accepted.
    pub dead: Vec<DeadLetter>,
    /// The rows that are yet to be judged, in offset order.
    pub early: Vec<Early>,
    /// Where the reader stands after this batch.
    pub progress: Progress,
}

impl Batch {
    /// Splits off the records from offset `at` on; `time_column` is the index of the event-time column, if there is one.
    ///
    /// The first part keeps the batch's progress only in name: whoever splits a batch stops inside it. The payload bytes are shared out
    /// by the number of records.
    #[must_use]
    pub fn split_off(&mut self, at: Offset, time_column: Option<usize>) -> Batch {
        let at = at.clamp(self.range.start, self.range.end);
        let row = self.offsets.partition_point(|&offset| offset < at);
        let rows = self.offsets.len() - row;
        let dead: Vec<DeadLetter>;
        (self.dead, dead) = std::mem::take(&mut self.dead).into_iter().partition(|letter| letter.offset < at);
        let early = self.early.split_off(self.early.partition_point(|early| early.letter.offset < at));
        let records = self.offsets.len() + self.dead.len() + dead.len();
        let bytes = (self.bytes * (rows + dead.len())).checked_div(records).unwrap_or(0);
        let columns = self.columns.slice(row, rows);
        let rest = Batch {
            partition: self.partition,
            range: at..self.range.end,
            max_event_time: newest(&columns, time_column),
            columns,
            offsets: self.offsets.split_off(row),
            bytes,
            dead,
            early,
            progress: self.progress,
        };
        self.range.end = at;
        self.columns = self.columns.slice(0, row);
        self.max_event_time = newest(&self.columns, time_column);
        self.bytes -= bytes;
        rest
    }

    /// Accepts the early rows that any epoch accepts which is cut at this time or later.
    pub fn accept_early(&mut self, time: Timestamp) {
        self.early.retain(|early| early.since > time);
    }

    /// Judges the early rows of a batch whose epoch is cut at this time: those that still lie too far in the future become dead letters.
    ///
    /// # Panics
    /// Never: a row has one offset.
    pub fn judge_early(&mut self, time: Timestamp, time_column: Option<usize>) {
        self.accept_early(time);
        if self.early.is_empty() {
            return;
        }
        let refused = |offset| self.early.binary_search_by_key(offset, |early| early.letter.offset).is_ok();
        let accepted: Vec<bool> = self.offsets.iter().map(|offset| !refused(offset)).collect();
        let mut of_row = accepted.iter();
        self.offsets.retain(|_| of_row.next().copied().unwrap_or(true));
        self.columns = filter_record_batch(&self.columns, &BooleanArray::from(accepted)).expect("a row has one offset");
        self.max_event_time = newest(&self.columns, time_column);
        self.dead.extend(self.early.drain(..).map(|early| early.letter));
        self.dead.sort_by_key(|letter| letter.offset);
    }
}

fn newest(columns: &RecordBatch, time_column: Option<usize>) -> Option<Timestamp> {
    let times = columns.columns().get(time_column?)?.as_any().downcast_ref::<TimestampMicrosecondArray>()?;
    times.iter().flatten().max().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;
    use std::sync::Arc;

    fn letter(offset: Offset) -> DeadLetter {
        DeadLetter {
            source: "events".to_owned(),
            partition: 0,
            offset,
            reason: Reason::Malformed,
            detail: String::new(),
            payload: Vec::new(),
        }
    }

    /// Rows at the offsets 10, 12 and 15, the first and the last of them five ahead of what is accepted.
    fn batch() -> Batch {
        let times: Arc<dyn Array> = Arc::new(TimestampMicrosecondArray::from(vec![50, 20, 30]));
        Batch {
            partition: 0,
            range: 10..16,
            columns: RecordBatch::try_from_iter([("time", times)]).expect("one column"),
            offsets: vec![10, 12, 15],
            max_event_time: Some(Timestamp(50)),
            bytes: 500,
            dead: vec![letter(11), letter(13)],
            early: [(10, 45), (15, 25)].map(|(offset, since)| Early { since: Timestamp(since), letter: letter(offset) }).to_vec(),
            progress: Progress::AtEnd,
        }
    }

    #[test]
    fn the_parts_of_a_split_batch_are_the_batch() {
        for at in 9..=17 {
            let whole = batch();
            let mut first = batch();
            let rest = first.split_off(at, Some(0));
            assert_eq!((first.range.start, first.range.end, rest.range.end), (10, rest.range.start, 16));
            assert!(first.offsets.iter().all(|&offset| offset < at) && rest.offsets.iter().all(|&offset| offset >= at));
            assert!(first.dead.iter().all(|dead| dead.offset < at) && rest.dead.iter().all(|dead| dead.offset >= at));
            assert_eq!((first.columns.num_rows(), rest.columns.num_rows()), (first.offsets.len(), rest.offsets.len()));
            assert!(first.early.iter().all(|early| first.offsets.contains(&early.letter.offset)));
            assert_eq!([first.offsets, rest.offsets].concat(), whole.offsets);
            assert_eq!(first.dead.len() + rest.dead.len(), 2);
            assert_eq!([first.early, rest.early].concat(), whole.early);
            assert_eq!(first.max_event_time.max(rest.max_event_time), whole.max_event_time);
            assert_eq!(first.bytes + rest.bytes, whole.bytes);
        }
    }

    #[test]
    fn early_rows_are_accepted_from_their_time_on_and_dead_letters_before() {
        let judged = |time| {
            let mut batch = batch();
            batch.judge_early(Timestamp(time), Some(0));
            assert!(batch.early.is_empty() && batch.columns.num_rows() == batch.offsets.len());
            let dead: Vec<_> = batch.dead.iter().map(|letter| letter.offset).collect();
            (batch.offsets, dead, batch.max_event_time)
        };
        assert_eq!(judged(45), (vec![10, 12, 15], vec![11, 13], Some(Timestamp(50))));
        assert_eq!(judged(44), (vec![12, 15], vec![10, 11, 13], Some(Timestamp(30))));
        assert_eq!(judged(24), (vec![12], vec![10, 11, 13, 15], Some(Timestamp(20))));
    }
}
