//! The lake: append-only rows as Parquet files, in folders by event time.
//!
//! ```text
//! lake/event_date=2026-01-29/event_hour=09/g000007-p00003-e000000000012-000000000345-user_activity.lake.parquet
//! lake/_staging/user_activity.lake/g000007-p00001-h0000491361-e000000000012.parquet        not finished yet
//! ```
//!
//! A file holds rows of one partition and one hour, of the epochs in its name, written by one generation of the job's sink: its name is
//! a function of what it holds, whichever worker wrote it. Rows without an event time are in the folders
//! `event_date=__HIVE_DEFAULT_PARTITION__/event_hour=__HIVE_DEFAULT_PARTITION__`; a table without an event-time column has no folders.
//!
//! Invariants:
//! - A file outside `_staging` is complete, on disk, and never changes. Readers skip names that begin with `_`.
//! - A file appears at a seal or at the close only, hence holds whole epochs: those of its name, unless the same epoch's rows
//!   of the hour did not fit into one file (`-1`, `-2` behind the epochs).
//! - At most [`MAX_OPEN`] files are open, and they hold at most [`MAX_HELD_BYTES`] in memory.
//!
//! What is absent: a list of the epochs that the lake holds. Rows that a restarted job replays are there again, in files of the
//! later generation, unless the caller leaves them out.
//!
//! What a crash leaves in `_staging` is removed by a later generation of the same sink.

mod hours;
mod lake;
mod open_file;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use ::parquet::file::properties::WriterPropertiesPtr;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use freshet_model::{ColumnType, Epoch, PartitionId, TableSchema};

use self::hours::Hour;
use self::lake::{Finished, Lake, Place};
use self::open_file::{OpenFile, properties};
use crate::open::path_of;
use crate::{BatchSink, Error, SinkOptions};

/// At most so many files are open at once; the one that was not written to for longest is finished to make room.
pub const MAX_OPEN: usize = 64;
/// At most so much is held in memory by all open files together; the one that holds most writes it to disk.
pub const MAX_HELD_BYTES: usize = 256 << 20;

/// Rows of one partition and hour go into one file at a time.
type Slot = (PartitionId, Option<Hour>);

/// Writes rows to a lake.
pub struct ParquetSink {
    lake: Lake,
    roll_bytes: u64,
    roll_interval: Duration,
    schema: Option<SchemaRef>,
    time_column: Option<usize>,
    properties: WriterPropertiesPtr,
    open: HashMap<Slot, OpenFile>,
    /// Complete files that wait for the next seal.
    finished: Vec<Finished>,
    /// How many files each slot has begun in `epoch`.
    begun: HashMap<Slot, u32>,
    epoch: Epoch,
    /// Counts the writes, to know which file was not written to for longest.
    writes: u64,
}

impl ParquetSink {
    /// Names the lake, `parquet://folder`; nothing is touched yet.
    ///
    /// # Errors
    /// The URL names no folder.
    pub fn open(url: &str, options: SinkOptions) -> Result<ParquetSink, Error> {
        let lake = Lake::new(path_of(url), &options)?;
        Ok(ParquetSink {
            lake,
            roll_bytes: options.roll_bytes,
            roll_interval: options.roll_interval,
            schema: None,
            time_column: None,
            properties: properties(None),
            open: HashMap::new(),
            finished: Vec::new(),
            begun: HashMap::new(),
            epoch: 0,
            writes: 0,
        })
    }

    fn write_hour(&mut self, slot: Slot, rows: &RecordBatch) -> Result<(), Error> {
        if !self.open.contains_key(&slot) {
            self.begin(slot)?;
        }
        self.writes += 1;
        let Some(file) = self.open.get_mut(&slot) else { return Ok(()) };
        file.write(rows, self.epoch, self.writes).map_err(|error| self.lake.failed(&error))?;
        self.bound_memory()
    }

    fn begin(&mut self, slot: Slot) -> Result<(), Error> {
        let Some(schema) = self.schema.clone() else {
            return Err(Error::setup(self.lake.thing(), "rows before the schema is known", "prepare the sink first"));
        };
        if self.open.len() >= MAX_OPEN
            && let Some(oldest) = self.open.iter().min_by_key(|(_, file)| file.last_write()).map(|(slot, _)| *slot)
        {
            self.finish(oldest)?;
        }
        let begun = self.begun.entry(slot).or_default();
        let place = Place { partition: slot.0, hour: slot.1, first: self.epoch, part: *begun };
        *begun += 1;
        let file = OpenFile::create(self.lake.staging(&place), place, schema, &self.properties);
        self.open.insert(slot, file.map_err(|error| self.lake.failed(&error))?);
        Ok(())
    }

    fn finish(&mut self, slot: Slot) -> Result<(), Error> {
        if let Some(file) = self.open.remove(&slot) {
            let finished = file.finish().map_err(|error| self.lake.failed(&error))?;
            self.finished.push(finished);
        }
        Ok(())
    }

    fn bound_memory(&mut self) -> Result<(), Error> {
        while self.open.values().map(OpenFile::held_bytes).sum::<usize>() > MAX_HELD_BYTES {
            let Some(largest) = self.open.values_mut().max_by_key(|file| file.held_bytes()) else { break };
            largest.flush().map_err(|error| self.lake.failed(&error))?;
        }
        Ok(())
    }

    /// Finishes the files for which a condition holds, in the order of their slots, and shows all finished ones.
    fn show(&mut self, condition: impl Fn(&OpenFile) -> bool) -> Result<(), Error> {
        let mut due: Vec<Slot> = self.open.iter().filter(|(_, file)| condition(file)).map(|(slot, _)| *slot).collect();
        due.sort_unstable();
        for slot in due {
            self.finish(slot)?;
        }
        self.lake.show(&mut self.finished, self.time_column.is_some())
    }
}

impl BatchSink for ParquetSink {
    fn prepare(&mut self, rows: &TableSchema, _: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error> {
        let time = rows.time_column.and_then(|index| rows.columns.get(index));
        if let Some(column) = time.filter(|column| column.column_type != ColumnType::Timestamp) {
            let problem = format!("column '{}' is {} and not a timestamp", column.name, column.column_type);
            return Err(Error::setup(self.lake.thing(), problem, "choose another time column"));
        }
        self.lake.prepare()?;
        self.schema = Some(rows.arrow());
        self.time_column = rows.time_column;
        self.properties = properties(time.map(|column| column.name.as_str()));
        Ok(BTreeMap::new())
    }

    fn write(&mut self, epoch: Epoch, partition: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        if epoch != self.epoch {
            self.begun.clear();
            self.epoch = epoch;
        }
        for (hour, rows) in hours::split(rows, self.time_column).map_err(|error| self.lake.unfit(&error))? {
            self.write_hour((partition, hour), &rows)?;
        }
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<(), Error> {
        let (now, bytes, interval) = (Instant::now(), self.roll_bytes, self.roll_interval);
        self.show(|file| file.bytes() >= bytes || file.age(now) >= interval)
    }

    fn flush(&mut self, _: Epoch) -> Result<(), Error> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.show(|_| true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
