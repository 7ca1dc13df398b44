//! What a source brings: parsed records of one partition.

use std::ops::Range;

use arrow::array::{Array, RecordBatch, TimestampMicrosecondArray};
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
            progress: self.progress,
        };
        self.range.end = at;
        self.columns = self.columns.slice(0, row);
        self.max_event_time = newest(&self.columns, time_column);
        self.bytes -= bytes;
        rest
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

    fn batch() -> Batch {
        let times: Arc<dyn Array> = Arc::new(TimestampMicrosecondArray::from(vec![50, 20, 30]));
        let letter = |offset| DeadLetter {
            source: "events".to_owned(),
            partition: 0,
            offset,
            reason: Reason::Malformed,
            detail: String::new(),
            payload: Vec::new(),
        };
        Batch {
            partition: 0,
            range: 10..16,
            columns: RecordBatch::try_from_iter([("time", times)]).expect("one column"),
            offsets: vec![10, 12, 15],
            max_event_time: Some(Timestamp(50)),
            bytes: 500,
            dead: vec![letter(11), letter(13)],
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
            assert_eq!([first.offsets, rest.offsets].concat(), whole.offsets);
            assert_eq!(first.dead.len() + rest.dead.len(), 2);
            assert_eq!(first.max_event_time.max(rest.max_event_time), whole.max_event_time);
            assert_eq!(first.bytes + rest.bytes, whole.bytes);
        }
    }
}
