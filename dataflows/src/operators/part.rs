//! Rows of one epoch on their way into partials, in parts that can be cut where an expression fails.

use arrow::array::RecordBatch;
use freshet_model::{DeadLetter, MAX_DEAD_PAYLOAD_BYTES, Offset, PartitionId, Reason, Timestamp};

/// Part of a batch, or of a view's changed rows.
#[derive(Clone)]
pub(super) struct Part<'a> {
    pub(super) columns: RecordBatch,
    pub(super) offsets: &'a [Offset],
    /// How often each row counts, where rows can be taken back.
    pub(super) weights: Option<&'a [i64]>,
    pub(super) partition: PartitionId,
    pub(super) watermark: Timestamp,
}

impl Part<'_> {
    pub(super) fn halves(&self) -> (Self, Self) {
        let middle = self.offsets.len() / 2;
        let (left, right) = self.offsets.split_at(middle);
        (
            Part {
                columns: self.columns.slice(0, middle),
                offsets: left,
                weights: self.weights.map(|w| &w[..middle]),
                ..self.clone()
            },
            Part {
                columns: self.columns.slice(middle, right.len()),
                offsets: right,
                weights: self.weights.map(|w| &w[middle..]),
                ..self.clone()
            },
        )
    }

    /// Makes the first row a dead letter of a view.
    pub(super) fn dead_letter(&self, view: &str, error: &str) -> DeadLetter {
        let mut payload = json(&self.columns, 0).into_bytes();
        payload.truncate(MAX_DEAD_PAYLOAD_BYTES);
        let detail = error.lines().next().unwrap_or_default().to_owned();
        let reason = Reason::ExpressionFailed;
        DeadLetter { source: view.to_owned(), partition: self.partition, offset: self.offsets[0], reason, detail, payload }
    }
}

/// Writes a row as JSON, for people; used for late and refused records alone.
pub(super) fn json(columns: &RecordBatch, row: usize) -> String {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    let written = writer.write(&columns.slice(row, 1)).and_then(|()| writer.finish());
    debug_assert!(written.is_ok(), "plain columns have a JSON form");
    String::from_utf8_lossy(&writer.into_inner()).trim_end().to_owned()
}
