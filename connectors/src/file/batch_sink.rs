//! Append-only rows as JSON lines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use freshet_model::{Epoch, PartitionId, TableSchema};

use super::Appender;
use crate::format::to_json::Rows;
use crate::open::path_of;
use crate::{BatchSink, Error, SinkOptions};

/// A file to which rows are appended, one line each. Several sinks may share it: lines do not mix.
pub struct NdjsonBatchSink {
    appender: Appender,
    rows: Rows,
}

impl NdjsonBatchSink {
    /// Opens or creates the file of a URL, `file://path`.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub fn open(url: &str, options: SinkOptions) -> Result<NdjsonBatchSink, Error> {
        let appender = Appender::open(&thing(&options), &target(url, &options)?)?;
        Ok(NdjsonBatchSink { appender, rows: Rows::default() })
    }
}

impl BatchSink for NdjsonBatchSink {
    fn prepare(&mut self, _: &TableSchema, _: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error> {
        Ok(BTreeMap::new())
    }

    fn write(&mut self, _: Epoch, _: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        self.rows.encode(rows);
        self.appender.lines().extend_from_slice(self.rows.lines());
        self.appender.flush_if_full()
    }

    fn seal(&mut self, _: Epoch) -> Result<(), Error> {
        self.appender.flush_if_due()
    }

    fn flush(&mut self, _: Epoch) -> Result<(), Error> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.appender.close()
    }
}

/// Returns the name of a sink for errors.
pub(super) fn thing(options: &SinkOptions) -> String {
    format!("sink '{}'", options.name)
}

/// Returns the file that a URL means, with `.ndjson` if it has no extension.
pub(super) fn target(url: &str, options: &SinkOptions) -> Result<PathBuf, Error> {
    let mut path = PathBuf::from(path_of(url));
    if path.file_name().is_none() || url.ends_with('/') {
        return Err(Error::setup(thing(options), format!("'{url}' names no file"), "write file://folder/name.ndjson"));
    }
    if path.extension().is_none() {
        path.set_extension("ndjson");
    }
    Ok(path)
}
