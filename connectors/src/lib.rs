//! Freshet's outside world: one folder a system, and the formats. The only I/O, and no logic.
//!
//! A job names its sources and sinks by URL; [`open_source`], [`open_table_sink`] and [`open_batch_sink`] are the only places that
//! look at the scheme. Everything behind them is reached through five small traits:
//!
//! | trait | for | implemented by |
//! |---|---|---|
//! | [`Source`], [`Reader`] | partitioned input, read in batches | kafka, file, generator |
//! | [`TableSink`] | views: upserts and deletes, one transaction a commit | postgres, sqlite, kafka, file, console |
//! | [`TableReader`] | tables that are read as a whole, to enrich streams | postgres, file |
//! | [`BatchSink`] | append-only rows, without an aggregate before them | parquet, kafka, file, console |
//!
//! Records that did not count are read, shown and put back by [`letters`].
//! Whose schemas are needed to read or write records, a registry (`registry/`), is asked for them by the formats.
//!
//! What is absent: timely, SQL, and any decision about epochs. Each object belongs to one thread, which it may block.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use freshet_model::{Batch, Column, Commit, DeadLetter, Epoch, Offset, PartitionId, TableSchema, Timestamp};

pub mod breaker;
pub mod circuit;
pub mod console;
mod error;
mod fault;
pub mod file;
pub mod format;
pub mod generator;
mod inline;
pub mod kafka;
pub mod letters;
mod open;
pub mod parquet;
pub mod postgres;
mod registry;
pub mod retry;
pub mod sqlite;
mod table_reader;
mod tables;
mod trust;

use circuit::Circuit;
pub use error::Error;
use format::Format;
pub use inline::InlineTable;
pub use open::{
    open_batch_sink, open_group_offsets, open_rejects_sink, open_source, open_table, open_table_sink, open_table_sink_keeping,
};
pub use registry::RegistryOptions;
pub use table_reader::{TableOptions, TableReader};
pub use tables::{Staged, staged_job};

/// What a job file says of a source, beside its URL.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// The source's name in the job.
    pub name: String,
    /// The declared columns, in order; a field that is not declared is skipped.
    pub columns: Vec<Column>,
    /// How records are written, and where in them the columns are.
    pub format: Format,
    /// Index of the event-time column, which no record may lack.
    pub time_column: Option<usize>,
    /// An event time later than the time at which the record's epoch is cut, plus this, is refused.
    pub max_future_skew: Duration,
    /// A larger payload is refused.
    pub max_record_bytes: usize,
    /// Read to the end as it is now, report [`Progress::Finished`](freshet_model::Progress::Finished), and stop.
    pub bounded: bool,
    /// Begin at the end instead of the beginning.
    pub from_latest: bool,
    /// What the job has read before, in the words of [`Source::identity`]: the source must be that again, or say why it cannot.
    pub identity: Option<String>,
    /// The client library's settings, verbatim.
    pub settings: BTreeMap<String, String>,
}

/// What a job file says of a sink, beside its URL.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// The job's name.
    pub job: String,
    /// The sink's name in the job.
    pub name: String,
    /// Number of this incarnation of the job; larger for each later one.
    pub generation: u64,
    /// What becomes of what the sink holds of the job.
    pub past: Past,
    /// Rows are written in Avro, their schemas in this registry; in JSON otherwise (topics).
    pub avro: Option<RegistryOptions>,
    /// A file is closed when it has this size (lake).
    pub roll_bytes: u64,
    /// A file is closed when it has been open for so long (lake).
    pub roll_interval: Duration,
    /// The client library's settings, verbatim.
    pub settings: BTreeMap<String, String>,
}

/// What becomes of what a sink holds of a job that starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// The job goes on from it.
    Kept,
    /// It counts for nothing. Tables of views are emptied, and so are the job's own rows beside them.
    Forgotten,
    /// It counts for nothing, and the views' rows go into tables beside theirs, made anew (databases).
    Staged,
    /// The job goes on from it, with these views' rows in the place of those that their tables hold, unless that has been done (databases).
    Adopting(Staged),
}

impl Past {
    /// Tells whether the job begins anew.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        matches!(self, Past::Forgotten | Past::Staged)
    }
}

/// A stream of records in partitions.
pub trait Source: Send {
    /// Lists the partitions, ascending.
    fn partitions(&self) -> &[PartitionId];

    /// Returns the first offset that a partition holds.
    fn earliest(&self, _partition: PartitionId) -> Offset {
        0
    }

    /// Says what is read in words that change when it is another thing of the same name, such as a topic deleted and created anew; `None` if
    /// its records cannot be read a second time. A source of one identity brings the same records at the same offsets.
    fn identity(&self) -> Option<String>;

    /// Gives the circuit by which the registry of its schemas is asked again, to a source whose records need one; before a reader is opened.
    fn guard(&mut self, _circuit: &Arc<Circuit>) {}

    /// Opens a reader of some of the partitions, each from an offset, or from where the options say.
    ///
    /// # Errors
    /// The system cannot be reached or refuses, or it no longer has the offset.
    fn reader_from(&self, starts: &[(PartitionId, Option<Offset>)]) -> Result<Box<dyn Reader>, Error>;

    /// Opens a reader of some of the partitions, from where the options say.
    ///
    /// # Errors
    /// As for [`reader_from`](Self::reader_from).
    fn reader(&self, partitions: &[PartitionId]) -> Result<Box<dyn Reader>, Error> {
        let starts: Vec<_> = partitions.iter().map(|&partition| (partition, None)).collect();
        self.reader_from(&starts)
    }
}

/// A cursor over some partitions of a source; owned and blocked by one thread.
pub trait Reader: Send {
    /// Says that what is read from now on belongs to epochs that are cut at this time or later: records that lie further in the future than it allows come as
    /// [early](freshet_model::Early) rows. Before the first call all do.
    fn set_now(&mut self, now: Timestamp);

    /// Reads no further in a partition until it is told to go on; a partition that is held brings nothing new meanwhile.
    ///
    /// # Errors
    /// The system refuses for good.
    fn hold(&mut self, partition: PartitionId, held: bool) -> Result<(), Error>;

    /// Waits until records arrive or `wait` has passed, then appends what is there: at most `max_records` in all, one or more batches
    /// for each partition that brought something or whose progress changed, in offset order within a partition.
    ///
    /// Returns without waiting further as soon as something is there: freshness depends on it.
    ///
    /// # Errors
    /// Data are lost or the system refuses for good. A broker that is merely away is waited for.
    fn read(&mut self, max_records: usize, wait: Duration, out: &mut Vec<Batch>) -> Result<(), Error>;

    /// Tells whether nothing more will come: a bounded run has read each partition to its bound.
    fn is_finished(&self) -> bool;
}

/// A place that holds views as keyed tables.
pub trait TableSink: Send {
    /// Creates the tables that are missing, checks those that exist, fences older generations, and only then returns the newest epoch that the sink
    /// holds. The order of `views` gives [`ViewChanges::view`](freshet_model::ViewChanges::view).
    ///
    /// # Errors
    /// A table that does not fit its view, with the difference, or a newer generation that has the sink; nothing is half-created.
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error>;

    /// Gives the circuit by which attempts are repeated, to a sink that repeats some itself; before it is prepared.
    fn guard(&mut self, _circuit: &Arc<Circuit>) {}

    /// Tells whether the epoch is kept in the sink with each commit, so that nothing comes twice after a crash.
    fn keeps_epoch(&self) -> bool {
        true
    }

    /// Applies a commit as a whole. One whose newest epoch the sink holds is left out; one that begins with epochs that it holds must not be
    /// given, since their late events and numbers would count twice. After an error the next commit is the same one again. A row that the table cannot hold (too long, a NUL) is left out, and returned as a dead
    /// letter after it has been stored with the others.
    ///
    /// # Errors
    /// Nothing of the commit has been applied, unless the reply that it has was lost, which the next call finds out.
    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error>;
}

/// A place that holds append-only rows.
pub trait BatchSink: Send {
    /// Gives the circuit by which attempts are repeated, to a sink that repeats some itself; before it is prepared.
    fn guard(&mut self, _circuit: &Arc<Circuit>) {}

    /// Fixes the schema of the rows (`key` is empty), checks that the place can be written, and fences older generations as regards the rows of
    /// these partitions, which nobody else writes; only then returns for each the newest epoch of which the sink holds rows. It must not be
    /// given the rows of such an epoch, or an older one, again.
    ///
    /// # Errors
    /// The place cannot be written, or a newer generation has it.
    fn prepare(&mut self, rows: &TableSchema, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error>;

    /// Takes rows of one partition in one epoch. Epochs never decrease.
    ///
    /// # Errors
    /// The rows may or may not be in the sink.
    fn write(&mut self, epoch: Epoch, partition: PartitionId, rows: &RecordBatch) -> Result<(), Error>;

    /// Says that all rows up to `epoch` have been written; blocks while the sink holds more than its bounds.
    /// Called at least once a second even if nothing was written, so that files can be rolled by time.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn seal(&mut self, epoch: Epoch) -> Result<(), Error>;

    /// Makes all rows up to `epoch`, the newest one sealed, durable as a unit with the fact that they are there: a later generation's
    /// [`prepare`](Self::prepare) returns it, or regains the rows. Whether they become visible too is the sink's own affair.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn flush(&mut self, epoch: Epoch) -> Result<(), Error>;

    /// Makes everything written durable and visible.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn close(&mut self) -> Result<(), Error>;
}
