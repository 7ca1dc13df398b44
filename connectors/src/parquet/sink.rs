//! The sink: takes rows, and moves each partition on at seals and flushes.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use arrow::array::RecordBatch;
use freshet_model::{ColumnType, Epoch, PartitionId, TableSchema};

use super::hours::{self, Hour};
use super::lake::Lake;
use super::open_file::Format;
use super::open_files::{Finished, OpenFiles};
use super::partition::Partition;
use super::take_over::take_over;
use crate::open::path_of;
use crate::{BatchSink, Error, SinkOptions};

/// Writes rows to a lake.
pub struct ParquetSink {
    lake: Lake,
    roll_bytes: u64,
    roll_interval: Duration,
    reset: bool,
    format: Option<Format>,
    time_column: Option<usize>,
    partitions: BTreeMap<PartitionId, Partition>,
    pub(super) open: OpenFiles,
    /// Rows of epochs that are not sealed.
    waiting: BTreeMap<Epoch, Vec<(PartitionId, RecordBatch)>>,
    sealed: Option<Epoch>,
    /// Whether an error has left the partitions in a state that only the next generation can bring into order.
    failed: bool,
}

impl ParquetSink {
    /// Names the lake, `parquet://folder`; nothing is touched yet.
    ///
    /// # Errors
    /// The URL names no folder.
    pub fn open(url: &str, options: SinkOptions) -> Result<ParquetSink, Error> {
        Ok(ParquetSink {
            lake: Lake::new(path_of(url), &options)?,
            roll_bytes: options.roll_bytes,
            roll_interval: options.roll_interval,
            reset: options.past.is_forgotten(),
            format: None,
            time_column: None,
            partitions: BTreeMap::new(),
            open: OpenFiles::default(),
            waiting: BTreeMap::new(),
            sealed: None,
            failed: false,
        })
    }

    /// Does something after which, if it fails, nothing more is done.
    fn guard(&mut self, run: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if self.failed {
            return Err(self.lake.failed(&"an earlier write failed, and a new start goes on from there"));
        }
        let result = run(self);
        self.failed = result.is_err();
        result
    }

    fn take(&mut self, epoch: Epoch, id: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        let misuse = |problem: String| Error::setup(self.lake.thing(), problem, "this is a fault of Freshet: report it, please");
        let Some(partition) = self.partitions.get(&id) else {
            return Err(misuse(format!("rows of partition {id}, for which the sink is not prepared")));
        };
        if Some(epoch) <= self.sealed.max(partition.head.held) {
            return Err(misuse(format!("rows of epoch {epoch} of partition {id}, which is complete already")));
        }
        self.waiting.entry(epoch).or_default().push((id, rows.clone()));
        Ok(())
    }

    /// Writes rows that have waited to the open parts.
    fn write_out(&mut self, epochs: BTreeMap<Epoch, Vec<(PartitionId, RecordBatch)>>) -> Result<(), Error> {
        for (epoch, batches) in epochs {
            for (id, rows) in batches {
                for (hour, rows) in hours::split(&rows, self.time_column).map_err(|error| self.lake.unfit(&error))? {
                    self.write_hour(epoch, id, hour, &rows)?;
                }
            }
        }
        Ok(())
    }

    fn write_hour(&mut self, epoch: Epoch, id: PartitionId, hour: Option<Hour>, rows: &RecordBatch) -> Result<(), Error> {
        let Some(format) = &self.format else { return Ok(()) };
        let evicted = self.open.write(&self.lake, format, (id, hour), epoch, rows)?;
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.begin(hour);
            partition.written = partition.written.max(Some(epoch));
        }
        self.add(evicted);
        Ok(())
    }

    fn add(&mut self, parts: impl IntoIterator<Item = Finished>) {
        for ((id, _), part) in parts {
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.add(part);
            }
        }
    }

    /// Notes that an epoch is complete, and writes out the rows that have waited for it.
    fn complete(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.sealed = self.sealed.max(Some(epoch));
        let later = self.waiting.split_off(&epoch.saturating_add(1));
        let sealed = mem::replace(&mut self.waiting, later);
        self.write_out(sealed)
    }

    /// Shows the hours that have enough rows, or have waited long enough.
    fn roll(&mut self) -> Result<(), Error> {
        let open = &self.open;
        let due = |(&id, partition): (&PartitionId, &Partition)| {
            let due = partition.due(self.roll_bytes, self.roll_interval, |hour| open.bytes((id, hour)));
            (!due.is_empty()).then_some((id, due))
        };
        let due: Vec<_> = self.partitions.iter().filter_map(due).collect();
        due.iter().try_for_each(|(id, hours)| self.step(*id, hours))
    }

    fn step(&mut self, id: PartitionId, due: &BTreeSet<Option<Hour>>) -> Result<(), Error> {
        let finished = self.open.finish_all(&self.lake, id)?;
        self.add(finished);
        let (Some(format), Some(partition)) = (&self.format, self.partitions.get_mut(&id)) else {
            return Ok(());
        };
        // A step that has shown files is followed by one that names none, so that a later start need not look for them.
        if due.is_empty() && !partition.unnamed && partition.head.files.is_empty() {
            return Ok(());
        }
        let held = self.sealed.max(partition.written);
        partition.step(&self.lake, format, held, due)
    }

    fn step_all(&mut self, due: impl Fn(&Partition) -> BTreeSet<Option<Hour>>) -> Result<(), Error> {
        let all: Vec<_> = self.partitions.iter().map(|(&id, partition)| (id, due(partition))).collect();
        all.iter().try_for_each(|(id, due)| self.step(*id, due))
    }

    fn end(&mut self) -> Result<(), Error> {
        let rest = mem::take(&mut self.waiting);
        self.write_out(rest)?;
        self.step_all(|partition| partition.hours.keys().copied().collect())?;
        self.step_all(|_| BTreeSet::new())
    }
}

impl BatchSink for ParquetSink {
    fn prepare(&mut self, rows: &TableSchema, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error> {
        let time = rows.time_column.and_then(|index| rows.columns.get(index));
        if let Some(column) = time.filter(|column| column.column_type != ColumnType::Timestamp) {
            let problem = format!("column '{}' is {} and not a timestamp", column.name, column.column_type);
            return Err(Error::setup(self.lake.thing(), problem, "choose another time column"));
        }
        self.open.clear();
        self.waiting.clear();
        self.time_column = rows.time_column;
        self.format = Some(Format::new(rows));
        self.lake.prepare(rows.time_column.is_some(), partitions)?;
        self.partitions = take_over(&self.lake, partitions, self.reset)?;
        (self.sealed, self.failed) = (None, false);
        Ok(self.partitions.iter().filter_map(|(&id, partition)| Some((id, partition.head.held?))).collect())
    }

    fn write(&mut self, epoch: Epoch, partition: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        self.guard(|sink| sink.take(epoch, partition, rows))
    }

    fn seal(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.guard(|sink| {
            sink.complete(epoch)?;
            sink.roll()
        })
    }

    fn flush(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.guard(|sink| {
            sink.complete(epoch)?;
            sink.step_all(|_| BTreeSet::new())
        })
    }

    fn close(&mut self) -> Result<(), Error> {
        self.guard(Self::end)
    }
}
