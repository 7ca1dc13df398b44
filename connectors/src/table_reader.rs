//! Tables that are read as a whole, again and again, to enrich streams from: their records, made rows.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use freshet_model::{Column, Offset, Progress};

use crate::format::{Decoder, Decoders, Format, Header};
use crate::{Error, SourceOptions};

/// A record of a table is no longer than this.
pub(crate) const MAX_RECORD_BYTES: usize = 1_000_000;
/// All records of a table together are no longer than this: the table is in memory, and each version of it in the job's state.
const MAX_TABLE_BYTES: usize = 1 << 30;
/// So many rows are made at once.
const ROWS_A_BATCH: usize = 64 * 1024;

/// What a job file says of a table by which streams are enriched, beside its URL.
#[derive(Debug, Clone)]
pub struct TableOptions {
    /// The table's name in the job.
    pub name: String,
    /// The table's name in the database, perhaps behind that of its schema; without a meaning for files.
    pub relation: String,
    /// The declared columns, in order.
    pub columns: Vec<Column>,
    /// How the records of files are written, and where in records the columns are.
    pub format: Format,
    /// A table of more rows is refused.
    pub max_rows: usize,
}

impl TableOptions {
    /// Names the table in messages.
    pub(crate) fn thing(&self) -> String {
        format!("table '{}'", self.name)
    }
}

/// A table that is read as a whole; owned and blocked by one thread.
pub trait TableReader: Send {
    /// Says that an earlier run has read the table: a system that cannot be reached is away, and not one that was never there.
    fn was_read_before(&mut self) {}

    /// Reads all rows as they are at one moment; `None` if it is plain without reading them that they are still those of the last time.
    ///
    /// # Errors
    /// The table cannot be reached, a record of it is no row, or it has more rows than it may. What was read before is still true of its time.
    fn read(&mut self) -> Result<Option<RecordBatch>, Error>;
}

/// The rows of a table on their way from records.
pub(crate) struct Rows<'a> {
    options: &'a TableOptions,
    decoders: Decoders,
    decoder: Decoder,
    header: Option<Arc<Header>>,
    /// Where the records are, for messages: ` of users.csv`; nothing if they are nowhere in particular.
    place: String,
    /// How many records came before, of the same file.
    next: Offset,
    rows: usize,
    bytes: usize,
    batches: Vec<RecordBatch>,
}

impl<'a> Rows<'a> {
    /// Begins with no row.
    pub(crate) fn new(options: &'a TableOptions) -> Result<Rows<'a>, Error> {
        let decoders = Decoders::open(&SourceOptions {
            name: options.name.clone(),
            columns: options.columns.clone(),
            format: options.format.clone(),
            time_column: None,
            max_future_skew: std::time::Duration::MAX,
            max_record_bytes: MAX_RECORD_BYTES,
            bounded: true,
            from_latest: false,
            identity: None,
            settings: std::collections::BTreeMap::new(),
        })?;
        let decoder = decoders.decoder();
        Ok(Rows {
            options,
            decoders,
            decoder,
            header: None,
            place: String::new(),
            next: 0,
            rows: 0,
            bytes: 0,
            batches: Vec::new(),
        })
    }

    /// Says that what comes next is a file's first line: a header, in a format that has them.
    pub(crate) fn begin_file(&mut self, path: &Path) -> Result<(), Error> {
        self.flush()?;
        (self.header, self.place, self.next) = (None, format!(" of {}", path.display()), 0);
        Ok(())
    }

    /// Takes a record, or a file's header; an empty line is neither.
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<(), Error> {
        self.next += 1;
        if record.is_empty() {
            return Ok(());
        }
        if self.header.is_none() {
            self.header = self.decoders.header(record);
            if let Some(header) = &self.header {
                self.decoder.set_header(header);
                return Ok(());
            }
        }
        self.rows += 1;
        self.bytes += record.len();
        let TableOptions { max_rows, .. } = self.options;
        if self.rows > *max_rows {
            let remedy = "leave out rows that no record needs, or raise its max_rows: the whole table is in memory";
            return Err(Error::setup(self.options.thing(), format!("it has more than {max_rows} rows"), remedy));
        }
        if self.bytes > MAX_TABLE_BYTES {
            let problem = format!("its records have more than {MAX_TABLE_BYTES} bytes");
            return Err(Error::setup(self.options.thing(), problem, "leave out rows and columns that no view needs"));
        }
        self.decoder.decode(self.next - 1, Some(record));
        if self.decoder.len() >= ROWS_A_BATCH { self.flush() } else { Ok(()) }
    }

    /// Takes a record that is too long to be one.
    pub(crate) fn refuse_length(&self, bytes: u64) -> Error {
        let problem = format!("record {}{} has {bytes} bytes, of at most {MAX_RECORD_BYTES}", self.next + 1, self.place);
        Error::setup(self.options.thing(), problem, "is it a table in the format that the job says?")
    }

    /// Returns all rows.
    pub(crate) fn finish(mut self) -> Result<RecordBatch, Error> {
        self.flush()?;
        if self.batches.is_empty() {
            return Ok(self.decoder.finish(0, 0..0, Progress::Finished).columns);
        }
        let all = concat_batches(&self.batches[0].schema(), &self.batches);
        all.map_err(|error| {
            Error::setup(self.options.thing(), error.to_string(), "leave out rows and columns that no view needs")
        })
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.decoder.is_empty() {
            return Ok(());
        }
        let batch = self.decoder.finish(0, 0..self.next, Progress::Finished);
        if let Some(dead) = batch.dead.first() {
            let problem = format!("record {}{} is no row of it: {} ({})", dead.offset + 1, self.place, dead.detail, dead.reason);
            return Err(Error::setup(self.options.thing(), problem, "correct the record, or the table's columns in the job"));
        }
        self.batches.push(batch.columns);
        Ok(())
    }
}
