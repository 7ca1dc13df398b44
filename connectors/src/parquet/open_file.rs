//! One part while it is written.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::schema::types::ColumnPath;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use freshet_model::{Epoch, TableSchema};

use super::checksum::{self, Hashed, Seal};
use super::hours::Hour;
use super::manifest::Part;
use crate::fault;

/// A row group is written to disk when it has so many rows …
pub(super) const ROW_GROUP_ROWS: usize = 128 * 1024;
/// … or so many bytes.
pub(super) const ROW_GROUP_BYTES: usize = 16 << 20;

/// How the rows of a sink are written.
#[derive(Debug, Clone)]
pub(super) struct Format {
    /// The columns.
    pub(super) schema: SchemaRef,
    /// Compression and encodings.
    pub(super) properties: WriterPropertiesPtr,
    /// The columns' names and types, hashed.
    pub(super) fingerprint: String,
}

impl Format {
    /// Chooses how to write rows: zstd 1; times, which rarely repeat, as differences and not by a dictionary.
    pub(super) fn new(rows: &TableSchema) -> Format {
        let mut builder = WriterProperties::builder()
            .set_created_by("freshet".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
        if let Some(column) = rows.time_column.and_then(|index| rows.columns.get(index)) {
            let path = ColumnPath::new(vec![column.name.clone()]);
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
        let columns: Vec<String> = rows.columns.iter().map(|column| format!("{} {}", column.name, column.column_type)).collect();
        let fingerprint = checksum::of(columns.join("\n").as_bytes());
        Format { schema: rows.arrow(), properties: Arc::new(builder.build()), fingerprint }
    }
}

/// A file in the staging folder that takes rows.
pub(super) struct OpenFile {
    part: Part,
    writer: ArrowWriter<Hashed>,
    last_write: u64,
}

impl OpenFile {
    /// Creates the file.
    pub(super) fn create(
        folder: &Path,
        name: String,
        hour: Option<Hour>,
        epoch: Epoch,
        format: &Format,
    ) -> Result<OpenFile, ParquetError> {
        let file = Hashed::create(&folder.join(&name))?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&format.schema), Some(format.properties.as_ref().clone()))?;
        let part = Part {
            name,
            hour,
            first: epoch,
            last: epoch,
            rows: 0,
            bytes: 0,
            checksum: String::new(),
            schema: format.fingerprint.clone(),
            since_ms: now_ms(),
            verified: true,
        };
        Ok(OpenFile { part, writer, last_write: 0 })
    }

    /// Adds rows of an epoch, which is not before the last one; `write` numbers the writes of all files.
    pub(super) fn write(&mut self, rows: &RecordBatch, epoch: Epoch, write: u64) -> Result<(), ParquetError> {
        self.part.last = epoch;
        self.part.rows += rows.num_rows() as u64;
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

    /// Completes the file and waits until the disk has its content.
    pub(super) fn finish(self) -> Result<Part, ParquetError> {
        if fault::hit("lake::partial_file") {
            return Err(ParquetError::General("fail point".to_owned()));
        }
        let Seal { bytes, checksum } = self.writer.into_inner()?.finish()?;
        Ok(Part { bytes, checksum, ..self.part })
    }
}

/// Returns the clock, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
