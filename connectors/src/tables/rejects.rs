//! Dead letters and late events as rows: the columns of the tables that keep them, for PostgreSQL and SQLite alike.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::json::LineDelimitedWriter;
use freshet_model::{Commit, DeadLetter, Epoch, LateEvent, MAX_DEAD_PAYLOAD_BYTES, Reason, TableSchema, Timestamp};

/// The type of a column of a table of rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// UTF-8 text without NUL.
    Text,
    /// A 32-bit integer, carried as `Int64`.
    Int,
    /// A 64-bit integer.
    BigInt,
    /// A time; the two ends of [`Timestamp`] are infinite.
    Time,
    /// Bytes.
    Bytes,
}

/// The columns of `late_events`.
pub(crate) const LATE_COLUMNS: &[(&str, Cell)] = &[
    ("job", Cell::Text),
    ("sink", Cell::Text),
    ("epoch", Cell::BigInt),
    ("view", Cell::Text),
    ("source", Cell::Text),
    ("partition", Cell::Int),
    ("offset", Cell::BigInt),
    ("window_start", Cell::Time),
    ("window_end", Cell::Time),
    ("event_time", Cell::Time),
    ("watermark", Cell::Time),
    ("event", Cell::Text),
];

/// The columns of `dead_letters`.
pub(crate) const DEAD_COLUMNS: &[(&str, Cell)] = &[
    ("job", Cell::Text),
    ("sink", Cell::Text),
    ("epoch", Cell::BigInt),
    ("source", Cell::Text),
    ("partition", Cell::Int),
    ("offset", Cell::BigInt),
    ("reason", Cell::Text),
    ("detail", Cell::Text),
    ("payload", Cell::Bytes),
];

/// The columns of the ledger's counts, after its job, sink, view and epoch.
pub(crate) const LEDGER_COUNTS: [&str; 5] = ["read", "counted", "filtered", "late", "dead_letters"];

/// Makes a dead letter of a row that a table does not hold: it has no partition and no offset.
pub(crate) fn refused_row(view: &TableSchema, rows: &RecordBatch, row: usize, reason: Reason, detail: &str) -> DeadLetter {
    let payload = json(&rows.slice(row, 1));
    DeadLetter { source: view.name.clone(), partition: -1, offset: -1, reason, detail: detail.to_owned(), payload }
}

/// Renders one row as JSON, cut at a character.
fn json(row: &RecordBatch) -> Vec<u8> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    // Every column type has a JSON form; should one lack it, the letter is better kept without its payload than lost.
    let _ = writer.write(row);
    let text = String::from_utf8(writer.into_inner()).unwrap_or_default();
    let text = text.trim_end();
    text.as_bytes()[..text.floor_char_boundary(MAX_DEAD_PAYLOAD_BYTES)].to_vec()
}

/// Returns the late events of a commit as rows of [`LATE_COLUMNS`].
pub(crate) fn late_rows(job: &str, sink: &str, commit: &Commit) -> RecordBatch {
    let late = &commit.late;
    let time = |of: fn(&LateEvent) -> Timestamp| times(late.iter().map(|event| of(event).0));
    let columns: Vec<ArrayRef> = vec![
        texts(late.iter().map(|_| job)),
        texts(late.iter().map(|_| sink)),
        integers(late.iter().map(|_| bigint(commit.epoch))),
        texts(late.iter().map(|event| event.view.as_str())),
        texts(late.iter().map(|event| event.source.as_str())),
        integers(late.iter().map(|event| i64::from(event.partition))),
        integers(late.iter().map(|event| event.offset)),
        time(|event| event.window_start),
        time(|event| event.window_end),
        time(|event| event.event_time),
        time(|event| event.watermark),
        texts(late.iter().map(|event| event.event.as_str())),
    ];
    rows(LATE_COLUMNS, columns)
}

/// Returns dead letters as rows of [`DEAD_COLUMNS`]: the commit's, and those of the rows that the sink itself refused.
pub(crate) fn dead_rows(job: &str, sink: &str, epoch: Epoch, dead: &[&DeadLetter]) -> RecordBatch {
    let payload = |letter: &&DeadLetter| letter.payload[..letter.payload.len().min(MAX_DEAD_PAYLOAD_BYTES)].to_vec();
    let columns: Vec<ArrayRef> = vec![
        texts(dead.iter().map(|_| job)),
        texts(dead.iter().map(|_| sink)),
        integers(dead.iter().map(|_| bigint(epoch))),
        texts(dead.iter().map(|letter| letter.source.as_str())),
        integers(dead.iter().map(|letter| i64::from(letter.partition))),
        integers(dead.iter().map(|letter| letter.offset)),
        texts(dead.iter().map(|letter| letter.reason.code())),
        texts(dead.iter().map(|letter| letter.detail.as_str())),
        Arc::new(BinaryArray::from_iter_values(dead.iter().map(payload))),
    ];
    rows(DEAD_COLUMNS, columns)
}

/// Returns a count or number as the databases' 64-bit integer.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Replaces NUL characters, which neither database keeps in a text.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn rows(names: &[(&str, Cell)], columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_from_iter(names.iter().map(|&(name, _)| name).zip(columns)).expect("the columns are of one length")
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values.map(without_nul)))
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use freshet_model::{Column, ColumnType};

    use super::*;

    #[test]
    fn a_refused_row_is_kept_as_json_of_bounded_size() {
        let columns = vec![Column { name: "k".to_owned(), column_type: ColumnType::Text(None) }];
        let view = TableSchema { name: "v".to_owned(), columns, key: vec![0], appends: false, time_column: None };
        let column: ArrayRef = Arc::new(StringArray::from(vec!["ä".repeat(5000)]));
        let batch = RecordBatch::try_new(view.arrow(), vec![column]).unwrap();
        let letter = refused_row(&view, &batch, 0, Reason::TooLong, "why");
        assert!(letter.payload.len() > MAX_DEAD_PAYLOAD_BYTES - 4 && letter.payload.len() <= MAX_DEAD_PAYLOAD_BYTES);
        assert!(str::from_utf8(&letter.payload).is_ok_and(|text| text.starts_with(r#"{"k":"ää"#)));
        assert_eq!((letter.partition, letter.offset), (-1, -1));
    }

    #[test]
    fn rejects_become_rows_of_their_tables_columns() {
        let letter = DeadLetter {
            source: "s\0".to_owned(),
            partition: 1,
            offset: 2,
            reason: Reason::Malformed,
            detail: String::new(),
            payload: vec![7; 2 * MAX_DEAD_PAYLOAD_BYTES],
        };
        let rows = dead_rows("job", "sink", 3, &[&letter]);
        assert_eq!(rows.num_columns(), DEAD_COLUMNS.len());
        assert_eq!(rows.get_array_memory_size() / MAX_DEAD_PAYLOAD_BYTES, 1);
    }
}
