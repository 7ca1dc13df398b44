//! Append-only rows as JSON lines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use freshet_model::{Epoch, PartitionId, TableSchema};

use super::shared::Share;
use crate::format::to_json::Rows;
use crate::open::path_of;
use crate::{BatchSink, Error, SinkOptions};

/// A file to which rows are appended, one line each, ordered by epoch and partition. The sinks of a job's workers in one process share it.
///
/// Exactly once: rows appear in the file when all of its sinks have sealed their epoch, and are there for good when all have flushed it. What a
/// crash leaves behind the newest epoch that was flushed is cut off by the next [`prepare`](BatchSink::prepare), and comes again.
pub struct NdjsonBatchSink {
    thing: String,
    path: PathBuf,
    options: SinkOptions,
    share: Option<Share>,
    rows: Rows,
}

impl NdjsonBatchSink {
    /// Means the file of a URL, `file://path`.
    ///
    /// # Errors
    /// The URL names no file.
    pub fn open(url: &str, options: SinkOptions) -> Result<NdjsonBatchSink, Error> {
        let (thing, path) = (thing(&options), target(url, &options)?);
        Ok(NdjsonBatchSink { thing, path, options, share: None, rows: Rows::default() })
    }

    fn share(&self) -> Result<&Share, Error> {
        self.share.as_ref().ok_or_else(|| Error::setup(&self.thing, "was not prepared", "prepare it first"))
    }
}

impl BatchSink for NdjsonBatchSink {
    fn prepare(&mut self, _: &TableSchema, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error> {
        if let Some(share) = self.share.take() {
            share.leave();
        }
        let share = Share::join(&self.thing, &self.path, &self.options)?;
        let held = share.held();
        self.share = Some(share);
        Ok(held.map(|epoch| partitions.iter().map(|&partition| (partition, epoch)).collect()).unwrap_or_default())
    }

    fn write(&mut self, epoch: Epoch, partition: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        self.rows.encode(rows);
        self.share()?.write(epoch, partition, self.rows.lines());
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.share()?.seal(epoch)
    }

    fn flush(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.share()?.flush(epoch)
    }

    fn close(&mut self) -> Result<(), Error> {
        self.share()?.close()
    }
}

/// Returns the name of a sink for errors.
pub(super) fn thing(options: &SinkOptions) -> String {
    format!("sink '{}'", options.name)
}

/// Returns the file that a URL means, with `.ndjson` if it has no extension.
pub(super) fn target(url: &str, options: &SinkOptions) -> Result<PathBuf, Error> {
    file_of(&thing(options), url)
}

/// As [`target`], for whoever `thing` is.
pub(super) fn file_of(thing: &str, url: &str) -> Result<PathBuf, Error> {
    let mut path = PathBuf::from(path_of(url));
    if path.file_name().is_none() || url.ends_with('/') {
        return Err(Error::setup(thing, format!("'{url}' names no file"), "write file://folder/name.ndjson"));
    }
    if path.extension().is_none() {
        path.set_extension("ndjson");
    }
    Ok(path)
}
