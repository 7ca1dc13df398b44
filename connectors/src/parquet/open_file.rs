//! One Parquet file while it is written.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::schema::types::ColumnPath;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use freshet_model::Epoch;

use super::lake::{Finished, Place};

/// A row group is written to disk when it has so many rows …
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// … or so many bytes.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// A file in the staging folder that takes rows.
pub(super) struct OpenFile {
    staging: PathBuf,
    place: Place,
    last: Epoch,
    writer: ArrowWriter<File>,
    opened: Instant,
    last_write: u64,
}

impl OpenFile {
    /// Creates the file, over what an earlier attempt of this incarnation may have left.
    pub(super) fn create(
        staging: PathBuf,
        place: Place,
        schema: SchemaRef,
        properties: &WriterPropertiesPtr,
    ) -> Result<OpenFile, ParquetError> {
        let file = File::create(&staging)?;
        let writer = ArrowWriter::try_new(file, schema, Some(properties.as_ref().clone()))?;
        Ok(OpenFile { staging, place, last: place.first, writer, opened: Instant::now(), last_write: 0 })
    }

    /// Adds rows of an epoch, which is not before the last one; `write` numbers the writes of all files.
    pub(super) fn write(&mut self, rows: &RecordBatch, epoch: Epoch, write: u64) -> Result<(), ParquetError> {
        self.last = epoch;
        self.last_write = write;
        self.writer.write(rows)
    }

    /// Returns the number of the last write.
    pub(super) fn last_write(&self) -> u64 {
        self.last_write
    }

    /// Writes the row group under way to disk.
    pub(super) fn flush(&mut self) -> Result<(), ParquetError> {
        self.writer.flush()
    }

    /// Returns how much memory the row group under way takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    /// Returns the file's size if it were finished now, nearly.
    pub(super) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Returns how long the file has been open.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// Completes the file and waits until the disk has it; it is still in the staging folder.
    pub(super) fn finish(self) -> Result<Finished, ParquetError> {
        let OpenFile { staging, place, last, writer, .. } = self;
        writer.into_inner()?.sync_all()?;
        Ok(Finished { staging, place, last })
    }
}

/// Returns how files are written: zstd 1; times, which rarely repeat, as differences and not by a dictionary.
pub(super) fn properties(time_column: Option<&str>) -> WriterPropertiesPtr {
    let mut builder = WriterProperties::builder()
        .set_created_by("freshet".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
    if let Some(name) = time_column {
        let path = ColumnPath::new(vec![name.to_owned()]);
        builder =
            builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    Arc::new(builder.build())
}
