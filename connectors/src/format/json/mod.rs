//! Decodes JSON records straight into Arrow columns.
//!
//! ```text
//! payload ── checks: size, UTF-8, depth ── record: one slot a column ── all good? ──┬─ yes: Arrow builders ──┐
//!                                                                                   └─ no:  dead letter ─────┴─ finish: Batch
//! ```
//!
//! Invariants:
//! - A record becomes exactly one row or one dead letter; no builder is touched before the whole record is known to be good.
//! - The outcome depends on the payload, the columns and the limits, not on the records before it or on the clock: whether a record lies too far in
//!   the future is judged when its epoch is cut. Only what [`Decoder::set_now`] says is sure to be accepted is not marked as early.
//! - Nothing in a payload makes the decoder panic, recurse, or allocate more than a multiple of the payload's size.

mod record;

use std::ops::Range;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use freshet_model::{
    Batch, Column, DeadLetter, Early, MAX_DEAD_PAYLOAD_BYTES, Offset, PartitionId, Progress, Reason, TableSchema, Timestamp,
};
use serde::de::DeserializeSeed;

use self::record::Record;
use super::columns::{Builder, Slot};
use super::depth::{MAX_DEPTH, is_too_deep};
use crate::SourceOptions;

/// A decoder that holds so many bytes of payloads should be finished: Arrow's texts end at 2 GiB.
pub const FULL_BYTES: usize = 64 << 20;

/// Turns the records of one partition into a [`Batch`].
pub struct Decoder {
    source: String,
    columns: Vec<Column>,
    schema: SchemaRef,
    time_column: Option<usize>,
    max_future_skew_micros: i64,
    max_record_bytes: usize,
    /// The latest event time that is sure to be accepted.
    sure: Timestamp,
    slots: Vec<Slot>,
    unescaped: String,
    builders: Vec<Builder>,
    offsets: Vec<Offset>,
    max_event_time: Option<Timestamp>,
    bytes: usize,
    dead: Vec<DeadLetter>,
    early: Vec<Early>,
}

impl Decoder {
    /// Prepares a decoder for the columns and limits of a source.
    #[must_use]
    pub fn new(options: &SourceOptions) -> Decoder {
        let columns = options.columns.clone();
        Decoder {
            source: options.name.clone(),
            schema: arrow_schema(&columns),
            time_column: options.time_column,
            max_future_skew_micros: i64::try_from(options.max_future_skew.as_micros()).unwrap_or(i64::MAX),
            max_record_bytes: options.max_record_bytes,
            sure: Timestamp::MIN,
            slots: vec![Slot::Null; columns.len()],
            unescaped: String::new(),
            builders: columns.iter().map(|column| Builder::new(column.column_type, 0, 0)).collect(),
            offsets: Vec::new(),
            max_event_time: None,
            bytes: 0,
            dead: Vec::new(),
            early: Vec::new(),
            columns,
        }
    }

    /// Says that what is decoded from now on belongs to epochs that are cut at this time or later.
    pub fn set_now(&mut self, now: Timestamp) {
        self.sure = now.plus_micros(self.max_future_skew_micros);
    }

    /// Returns the number of records taken since the last [`finish`](Self::finish), dead letters included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() + self.dead.len()
    }

    /// Tells whether nothing has been taken since the last [`finish`](Self::finish).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether the decoder holds [`FULL_BYTES`] of payloads; it must be finished before it takes many more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// Takes one record, as a row or a dead letter. Offsets ascend.
    pub fn decode(&mut self, offset: Offset, payload: Option<&[u8]>) {
        let payload = payload.unwrap_or_default();
        self.bytes += payload.len();
        match self.accept(payload) {
            Err((reason, detail)) => {
                let letter = self.letter(offset, reason, detail, payload);
                self.dead.push(letter);
            }
            Ok(time) => {
                self.offsets.push(offset);
                self.max_event_time = self.max_event_time.max(time);
                if let Some(time) = time.filter(|time| *time > self.sure) {
                    self.mark(offset, time, payload);
                }
            }
        }
    }

    /// Returns what has been taken as a batch of this partition, and begins anew.
    ///
    /// # Panics
    /// Never: each row has appended one value to each column.
    pub fn finish(&mut self, partition: PartitionId, range: Range<Offset>, progress: Progress) -> Batch {
        let rows = RecordBatchOptions::new().with_row_count(Some(self.offsets.len()));
        let arrays = self.builders.iter_mut().zip(&self.columns).map(|(b, column)| b.finish(column.column_type)).collect();
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &rows)
            .expect("each row has appended one value of its type to each column");
        let (mut dead, mut early) = (std::mem::take(&mut self.dead), std::mem::take(&mut self.early));
        dead.iter_mut().chain(early.iter_mut().map(|early| &mut early.letter)).for_each(|letter| letter.partition = partition);
        let room = Vec::with_capacity(self.offsets.len());
        Batch {
            partition,
            range,
            columns,
            offsets: std::mem::replace(&mut self.offsets, room),
            max_event_time: self.max_event_time.take(),
            bytes: std::mem::take(&mut self.bytes),
            dead,
            early,
            progress,
        }
    }

    /// Appends the payload as a row and returns its event time, or says why it cannot be one; then no builder has been touched.
    fn accept(&mut self, payload: &[u8]) -> Result<Option<Timestamp>, (Reason, String)> {
        let text = self.checked(payload)?;
        self.read(text)?;
        for (slot, column) in self.slots.iter().zip(&self.columns) {
            if let Slot::Misfit(reason, found) = slot {
                let (name, column_type) = (&column.name, column.column_type);
                return Err((*reason, format!("column '{name}' is {column_type}, the record holds {found}")));
            }
        }
        let time = self.event_time()?;
        for (builder, slot) in self.builders.iter_mut().zip(&self.slots) {
            builder.append(*slot, text, &self.unescaped);
        }
        Ok(time)
    }

    /// Refuses what need not even be parsed.
    fn checked<'p>(&self, payload: &'p [u8]) -> Result<&'p str, (Reason, String)> {
        if payload.is_empty() {
            return Err((Reason::EmptyPayload, "the record has no payload".to_owned()));
        }
        if payload.len() > self.max_record_bytes {
            let (size, limit) = (payload.len(), self.max_record_bytes);
            return Err((Reason::Oversized, format!("the record has {size} bytes, the source takes {limit}")));
        }
        let text = std::str::from_utf8(payload)
            .map_err(|error| (Reason::Malformed, format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
        if is_too_deep(payload) {
            return Err((Reason::TooDeep, format!("the record is nested more than {MAX_DEPTH} deep")));
        }
        Ok(text)
    }

    /// Reads a record into the slots.
    fn read(&mut self, text: &str) -> Result<(), (Reason, String)> {
        self.slots.fill(Slot::Null);
        self.unescaped.clear();
        let record = Record { columns: &self.columns, slots: &mut self.slots, unescaped: &mut self.unescaped, text };
        let mut json = serde_json::Deserializer::from_str(text);
        record.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| describe(&error))
    }

    /// Requires an event time, if the source has one.
    fn event_time(&self) -> Result<Option<Timestamp>, (Reason, String)> {
        let Some(index) = self.time_column else { return Ok(None) };
        let name = &self.columns[index].name;
        match self.slots[index] {
            Slot::Null => Err((Reason::MissingColumn, format!("column '{name}' is missing or null"))),
            Slot::Timestamp(time) if time < 0 => {
                Err((Reason::TimeOutOfRange, format!("column '{name}' holds a time before 1970")))
            }
            Slot::Timestamp(time) => Ok(Some(Timestamp(time))),
            _ => Ok(None),
        }
    }

    /// Marks the newest row as one that may lie too far in the future.
    fn mark(&mut self, offset: Offset, time: Timestamp, payload: &[u8]) {
        let name = self.time_column.map_or("", |index| &self.columns[index].name);
        let detail = format!("column '{name}' holds a time too far in the future");
        let letter = self.letter(offset, Reason::TimeOutOfRange, detail, payload);
        self.early.push(Early { since: time.plus_micros(-self.max_future_skew_micros), letter });
    }

    fn letter(&self, offset: Offset, reason: Reason, detail: String, payload: &[u8]) -> DeadLetter {
        let payload = payload[..payload.len().min(MAX_DEAD_PAYLOAD_BYTES)].to_vec();
        // The partition is known when the batch is finished.
        DeadLetter { source: self.source.clone(), partition: 0, offset, reason, detail, payload }
    }
}

/// Sorts a parser's error. Its own words for a syntax error name a place; those for a wrong type would quote the value.
fn describe(error: &serde_json::Error) -> (Reason, String) {
    if error.is_data() {
        return (Reason::Malformed, "the record is not a JSON object".to_owned());
    }
    let words = error.to_string();
    match words.starts_with("number out of range") {
        true => (Reason::WrongType, format!("a {words}")),
        false => (Reason::Malformed, format!("not JSON: {words}")),
    }
}

fn arrow_schema(columns: &[Column]) -> SchemaRef {
    TableSchema { name: String::new(), columns: columns.to_vec(), key: Vec::new(), appends: false, time_column: None }.arrow()
}

#[cfg(test)]
mod tests;
