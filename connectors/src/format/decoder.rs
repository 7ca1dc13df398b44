//! Turns the records of one partition into batches, whatever their format.
//!
//! ```text
//! payload ── size ── the format: one slot a column ── settle ── time ── all good? ──┬─ yes: Arrow builders ──┐
//!                                                                                   └─ no:  dead letter ─────┴─ finish: Batch
//! ```
//!
//! Invariants:
//! - A record becomes exactly one row or one dead letter; no builder is touched before the whole record is known to be good.
//! - A record that cannot be judged yet, because the registry is away, is kept with all that come after it until it can.
//! - The outcome depends on the payload, the columns and the limits, not on the records before it or on the clock: whether a record lies too far in
//!   the future is judged when its epoch is cut. Only what [`Decoder::set_now`] says is sure to be accepted is not marked as early.
//! - Nothing in a payload makes the decoder panic, recurse without bound, or allocate more than a multiple of the payload's size.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use freshet_model::{
    Batch, Column, DeadLetter, Early, MAX_DEAD_PAYLOAD_BYTES, Offset, PartitionId, Progress, Reason, TableSchema, Timestamp,
};

use super::columns::{Builder, Slot};
use super::layout::{Layout, Values};
use super::{Encoding, Header, avro, csv, json, protobuf};
use crate::circuit::Circuit;
use crate::registry::{Language, Registry, Trouble};
use crate::{Error, SourceOptions};

/// A decoder that holds so many bytes of payloads should be finished: Arrow's texts end at 2 GiB.
pub const FULL_BYTES: usize = 64 << 20;

/// Makes the decoders of a source, which share what is the same for all of its records.
#[derive(Clone)]
pub struct Decoders {
    options: SourceOptions,
    layout: Layout,
    /// Where the schemas of the records are, if they have any.
    registry: Option<Arc<Registry>>,
}

impl Decoders {
    /// Prepares for the columns, the format and the limits of a source.
    ///
    /// # Errors
    /// The columns cannot be read from records of this format, or what is said of the registry is wrong.
    pub fn open(options: &SourceOptions) -> Result<Decoders, Error> {
        let thing = || format!("source '{}'", options.name);
        let layout = Layout::new(&options.columns, &options.format.fields);
        let layout = layout.map_err(|problem| Error::setup(thing(), problem, "correct its columns"))?;
        let registry = match &options.format.encoding {
            Encoding::Avro(registry) => Some(Arc::new(Registry::open(&thing(), registry, Language::Avro)?)),
            Encoding::Protobuf(registry) => Some(Arc::new(Registry::open(&thing(), registry, Language::Protobuf)?)),
            Encoding::Json | Encoding::Csv { .. } => None,
        };
        Ok(Decoders { options: options.clone(), layout, registry })
    }

    /// Takes the circuit by which the registry is asked again, if the format needs one.
    pub(crate) fn guard(&self, circuit: &Arc<Circuit>) {
        if let Some(registry) = &self.registry {
            registry.guard(circuit);
        }
    }

    /// Replaces the registry.
    #[cfg(test)]
    pub(super) fn with_registry(self, registry: Registry) -> Decoders {
        Decoders { registry: Some(Arc::new(registry)), ..self }
    }

    /// Reads the first line of a file as its header, if the format has such a thing.
    pub(crate) fn header(&self, line: &[u8]) -> Option<Arc<Header>> {
        match self.options.format.encoding {
            Encoding::Csv { delimiter } => Some(Arc::new(csv::Line::new(delimiter).read_header(line, &self.layout))),
            Encoding::Json | Encoding::Avro(_) | Encoding::Protobuf(_) => None,
        }
    }

    /// Makes a decoder.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        let Decoders { options, layout, registry } = self;
        let columns = options.columns.clone();
        Decoder {
            source: options.name.clone(),
            schema: arrow_schema(&columns),
            time_column: options.time_column,
            max_future_skew_micros: i64::try_from(options.max_future_skew.as_micros()).unwrap_or(i64::MAX),
            max_record_bytes: options.max_record_bytes,
            sure: Timestamp::MIN,
            record: match (&options.format.encoding, registry) {
                (Encoding::Csv { delimiter }, _) => Record::Csv(csv::Line::new(*delimiter)),
                (Encoding::Protobuf(_), Some(registry)) => Record::Protobuf(protobuf::Confluent::new(Arc::clone(registry))),
                (_, Some(registry)) => Record::Avro(avro::Confluent::new(Arc::clone(registry))),
                (_, None) => Record::Json(json::Fields::of(layout)),
            },
            values: Values::default(),
            builders: columns.iter().map(|column| Builder::new(column.column_type, 0, 0)).collect(),
            offsets: Vec::new(),
            max_event_time: None,
            bytes: 0,
            dead: Vec::new(),
            early: Vec::new(),
            waiting: VecDeque::new(),
            lasting: None,
            dead_run: DeadRun { most: options.format.max_dead_run.map_or(u64::MAX, |most| most.get()), now: 0 },
            layout: layout.clone(),
        }
    }
}

/// Turns the records of one partition into a [`Batch`].
pub struct Decoder {
    source: String,
    layout: Layout,
    schema: SchemaRef,
    time_column: Option<usize>,
    max_future_skew_micros: i64,
    max_record_bytes: usize,
    /// The latest event time that is sure to be accepted.
    sure: Timestamp,
    record: Record,
    values: Values,
    builders: Vec<Builder>,
    offsets: Vec<Offset>,
    max_event_time: Option<Timestamp>,
    bytes: usize,
    dead: Vec<DeadLetter>,
    early: Vec<Early>,
    /// Records that cannot be judged yet, and those after them.
    waiting: VecDeque<(Offset, Vec<u8>)>,
    /// What a person has to change before anything goes on.
    lasting: Option<Error>,
    dead_run: DeadRun,
}

/// What reads a record into slots.
enum Record {
    Json(json::Fields),
    Csv(csv::Line),
    Avro(avro::Confluent),
    Protobuf(protobuf::Confluent),
}

/// Why a record is not a row.
pub(super) enum Refusal {
    /// It never will be.
    Dead(Reason, String),
    /// It is not known yet, or a person has to change something first.
    Trouble(Trouble),
}

impl From<(Reason, String)> for Refusal {
    fn from((reason, detail): (Reason, String)) -> Refusal {
        Refusal::Dead(reason, detail)
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Refusal {
        Refusal::Trouble(trouble)
    }
}

/// The dead letters that came without a good record between them.
struct DeadRun {
    most: u64,
    now: u64,
}

impl Decoder {
    /// Says that what is decoded from now on belongs to epochs that are cut at this time or later.
    pub fn set_now(&mut self, now: Timestamp) {
        self.sure = now.plus_micros(self.max_future_skew_micros);
    }

    /// Says which names the values of the records to come have.
    pub(crate) fn set_header(&mut self, header: &Arc<Header>) {
        if let Record::Csv(line) = &mut self.record {
            line.set_header(header);
        }
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

    /// Tells whether the decoder holds [`FULL_BYTES`] of payloads, or waits; it must be finished before it takes many more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES || !self.waiting.is_empty()
    }

    /// Returns the offset of the first record that waits for the registry: the batch to come ends there.
    #[must_use]
    pub fn waits_at(&self) -> Option<Offset> {
        self.waiting.front().map(|(offset, _)| *offset)
    }

    /// Forgets the records that wait.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Tries again to judge the records that wait.
    pub fn resume(&mut self) {
        while let Some((offset, payload)) = self.waiting.pop_front() {
            if !self.judge(offset, &payload) {
                self.waiting.push_front((offset, payload));
                return;
            }
        }
    }

    /// Takes one record, as a row or a dead letter. Offsets ascend.
    pub fn decode(&mut self, offset: Offset, payload: Option<&[u8]>) {
        let payload = payload.unwrap_or_default();
        if !self.waiting.is_empty() || !self.judge(offset, payload) {
            self.waiting.push_back((offset, payload.to_vec()));
        }
    }

    /// Makes a row or a dead letter of a record, unless that must wait.
    fn judge(&mut self, offset: Offset, payload: &[u8]) -> bool {
        match self.accept(payload) {
            Ok(time) => {
                self.offsets.push(offset);
                self.dead_run.now = 0;
                self.max_event_time = self.max_event_time.max(time);
                if let Some(time) = time.filter(|time| *time > self.sure) {
                    self.mark(offset, time, payload);
                }
            }
            Err(Refusal::Dead(reason, detail)) => {
                self.dead_run.now += 1;
                let letter = self.letter(offset, reason, detail, payload);
                self.dead.push(letter);
            }
            Err(Refusal::Trouble(trouble)) => {
                if let Trouble::Lasting(error) = trouble {
                    self.lasting = Some(error);
                }
                return false;
            }
        }
        self.bytes += payload.len();
        true
    }

    /// Fails when it makes no sense to go on. Asked before a batch is finished.
    ///
    /// # Errors
    /// The registry refuses for good, or so many dead letters have come in a row that the stream is not what the job takes it for.
    pub fn check(&mut self) -> Result<(), Error> {
        if let Some(error) = self.lasting.take() {
            return Err(error);
        }
        let Some(last) = self.dead.last().filter(|_| self.dead_run.now >= self.dead_run.most) else { return Ok(()) };
        Err(Error::setup(
            format!("source '{}'", self.source),
            format!(
                "{} records in a row are dead letters, the last of them at offset {}: {} ({})",
                self.dead_run.now, last.offset, last.detail, last.reason
            ),
            "correct the columns or the format of the source, or raise its 'max_dead_run'",
        ))
    }

    /// Returns what has been taken as a batch of this partition, and begins anew.
    ///
    /// # Panics
    /// Never: each row has appended one value to each column.
    pub fn finish(&mut self, partition: PartitionId, range: Range<Offset>, progress: Progress) -> Batch {
        let rows = RecordBatchOptions::new().with_row_count(Some(self.offsets.len()));
        let columns = self.builders.iter_mut().zip(&self.layout.columns);
        let arrays = columns.map(|(builder, column)| builder.finish(column.column_type)).collect();
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
    fn accept(&mut self, payload: &[u8]) -> Result<Option<Timestamp>, Refusal> {
        self.check_size(payload)?;
        self.layout.begin(&mut self.values);
        let text = match &mut self.record {
            Record::Json(fields) => json::read(payload, fields, &mut self.values)?,
            Record::Csv(line) => line.read(payload, &self.layout, &mut self.values)?,
            Record::Avro(messages) => messages.read(payload, &self.layout, &mut self.values).map(|()| "")?,
            Record::Protobuf(messages) => messages.read(payload, &self.layout, &mut self.values).map(|()| "")?,
        };
        self.layout.settle(&mut self.values)?;
        let time = self.event_time()?;
        for (builder, slot) in self.builders.iter_mut().zip(&self.values.slots) {
            builder.append(*slot, text, &self.values.texts);
        }
        Ok(time)
    }

    /// Refuses what need not even be parsed.
    fn check_size(&self, payload: &[u8]) -> Result<(), (Reason, String)> {
        if payload.is_empty() {
            return Err((Reason::EmptyPayload, "the record has no payload".to_owned()));
        }
        if payload.len() > self.max_record_bytes {
            let (size, limit) = (payload.len(), self.max_record_bytes);
            return Err((Reason::Oversized, format!("the record has {size} bytes, the source takes {limit}")));
        }
        Ok(())
    }

    /// Requires an event time, if the source has one.
    fn event_time(&self) -> Result<Option<Timestamp>, (Reason, String)> {
        let Some(index) = self.time_column else { return Ok(None) };
        let name = &self.layout.columns[index].name;
        match self.values.slots[index] {
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
        let name = self.time_column.map_or("", |index| &self.layout.columns[index].name);
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

/// Refuses bytes that are no text.
pub(super) fn as_text(payload: &[u8]) -> Result<&str, (Reason, String)> {
    std::str::from_utf8(payload).map_err(|error| (Reason::Malformed, format!("not UTF-8 from byte {} on", error.valid_up_to())))
}

fn arrow_schema(columns: &[Column]) -> SchemaRef {
    TableSchema { name: String::new(), columns: columns.to_vec(), key: Vec::new(), appends: false, time_column: None }.arrow()
}
