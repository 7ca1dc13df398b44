//! Dead letters and late events as rows: the columns of the tables that keep them, for PostgreSQL and SQLite alike.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::json::LineDelimitedWriter;
use freshet_model::{Commit, DeadLetter, Epoch, LateEvent, Reason, Rejects, TableSchema, Timestamp};

/// Beside views, a dead letter keeps this much of its record. A place that was made for dead letters keeps what the job says.
pub(crate) const SHORT_PAYLOAD_BYTES: usize = 4096;

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
    ("time", Cell::Time),
];

/// The columns of `late_events` that may be NULL, since earlier versions made the table without them.
pub(crate) const LATE_ADDED: &[(&str, Cell)] = &[("time", Cell::Time)];

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
    ("bytes", Cell::BigInt),
    ("time", Cell::Time),
];

/// The columns of `dead_letters` that may be NULL, as in [`LATE_ADDED`]. A sink never writes the last one: a replay does.
pub(crate) const DEAD_ADDED: &[(&str, Cell)] = &[("bytes", Cell::BigInt), ("time", Cell::Time), ("replayed_at", Cell::Time)];

/// Lists the columns of a table of rejects in the words of SQL, for one that is made: `column` writes a name and its type.
pub(crate) fn declared(columns: &[(&str, Cell)], added: &[(&str, Cell)], column: impl Fn(&str, Cell) -> String) -> String {
    let is_added = |name: &str| added.iter().any(|(added, _)| *added == name);
    let required = columns.iter().filter(|(name, _)| !is_added(name)).map(|&(name, cell)| column(name, cell) + " NOT NULL");
    required.chain(added.iter().map(|&(name, cell)| column(name, cell))).collect::<Vec<_>>().join(", ")
}

/// The columns of the ledger's counts, after its job, sink, view and epoch.
pub(crate) const LEDGER_COUNTS: [&str; 5] = ["read", "counted", "filtered", "late", "dead_letters"];

/// Makes a dead letter of a row that a table does not hold: it has no partition and no offset.
pub(crate) fn refused_row(view: &TableSchema, rows: &RecordBatch, row: usize, reason: Reason, detail: &str) -> DeadLetter {
    let payload = json(&rows.slice(row, 1));
    DeadLetter { source: view.name.clone(), partition: -1, offset: -1, reason, detail: detail.to_owned(), payload }
}

/// Renders one row as JSON.
fn json(row: &RecordBatch) -> Vec<u8> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    // Every column type has a JSON form; should one lack it, the letter is better kept without its payload than lost.
    let _ = writer.write(row);
    let mut json = writer.into_inner();
    json.truncate(json.trim_ascii_end().len());
    json
}

/// A dead letter, with the epoch that refused it and the time at which that was cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dated<'a> {
    epoch: Epoch,
    time: Timestamp,
    letter: &'a DeadLetter,
}

/// Returns the dead letters of a commit, and those of the rows that the sink itself refused.
pub(crate) fn dated<'a>(commit: &'a Commit, refused: impl IntoIterator<Item = &'a DeadLetter>) -> Vec<Dated<'a>> {
    let read = |(part, letter): (&Rejects, &'a DeadLetter)| Dated { epoch: part.epoch, time: part.processing_time, letter };
    let own = |letter| Dated { epoch: commit.epoch, time: commit.processing_time, letter };
    commit.dead().map(read).chain(refused.into_iter().map(own)).collect()
}

/// Returns the late events of a commit as rows of [`LATE_COLUMNS`].
pub(crate) fn late_rows(job: &str, sink: &str, commit: &Commit) -> RecordBatch {
    let late: Vec<_> = commit.late().collect();
    let time = |of: fn(&LateEvent) -> Timestamp| times(late.iter().map(|(_, event)| of(event).0));
    let text = |of: fn(&LateEvent) -> &str| texts(late.iter().map(|(_, event)| of(event)));
    let columns: Vec<ArrayRef> = vec![
        texts(late.iter().map(|_| job)),
        texts(late.iter().map(|_| sink)),
        integers(late.iter().map(|(part, _)| bigint(part.epoch))),
        text(|event| &event.view),
        text(|event| &event.source),
        integers(late.iter().map(|(_, event)| i64::from(event.partition))),
        integers(late.iter().map(|(_, event)| event.offset)),
        time(|event| event.window_start),
        time(|event| event.window_end),
        time(|event| event.event_time),
        time(|event| event.watermark),
        text(|event| &event.event),
        times(late.iter().map(|(part, _)| part.processing_time.0)),
    ];
    rows(LATE_COLUMNS, columns)
}

/// Returns dead letters as rows of [`DEAD_COLUMNS`], with so much of each payload at most.
pub(crate) fn dead_rows(job: &str, sink: &str, dead: &[Dated<'_>], max_payload_bytes: usize) -> RecordBatch {
    let text = |of: fn(&DeadLetter) -> &str| texts(dead.iter().map(|dated| of(dated.letter)));
    let payload = |dated: &Dated<'_>| dated.letter.payload[..dated.letter.payload.len().min(max_payload_bytes)].to_vec();
    let columns: Vec<ArrayRef> = vec![
        texts(dead.iter().map(|_| job)),
        texts(dead.iter().map(|_| sink)),
        integers(dead.iter().map(|dated| bigint(dated.epoch))),
        text(|letter| &letter.source),
        integers(dead.iter().map(|dated| i64::from(dated.letter.partition))),
        integers(dead.iter().map(|dated| dated.letter.offset)),
        text(|letter| letter.reason.code()),
        text(|letter| &letter.detail),
        Arc::new(BinaryArray::from_iter_values(dead.iter().map(payload))),
        integers(dead.iter().map(|dated| bigint(dated.letter.payload.len() as u64))),
        times(dead.iter().map(|dated| dated.time.0)),
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
    fn a_refused_row_becomes_json_without_a_place() {
        let columns = vec![Column { name: "k".to_owned(), column_type: ColumnType::Text(None) }];
        let view = TableSchema { name: "v".to_owned(), columns, key: vec![0], appends: false, time_column: None };
        let column: ArrayRef = Arc::new(StringArray::from(vec!["ä"]));
        let batch = RecordBatch::try_new(view.arrow(), vec![column]).unwrap();
        let letter = refused_row(&view, &batch, 0, Reason::TooLong, "why");
        assert_eq!(str::from_utf8(&letter.payload), Ok(r#"{"k":"ä"}"#));
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
            payload: vec![7; 2 * SHORT_PAYLOAD_BYTES],
        };
        let dated = Dated { epoch: 3, time: Timestamp(4), letter: &letter };
        let rows = dead_rows("job", "sink", &[dated], SHORT_PAYLOAD_BYTES);
        assert_eq!(rows.num_columns(), DEAD_COLUMNS.len());
        assert_eq!(rows.get_array_memory_size() / SHORT_PAYLOAD_BYTES, 1);
    }

    #[test]
    fn columns_that_came_later_may_be_null() {
        let sql = declared(LATE_COLUMNS, LATE_ADDED, |name, _| name.to_owned());
        assert!(sql.starts_with("job NOT NULL, ") && sql.ends_with(", event NOT NULL, time"), "{sql}");
    }
}
