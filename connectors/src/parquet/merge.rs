//! Makes one Parquet file of several parts.
//!
//! Row groups that are large enough are copied as they are, without decoding; neighbouring small ones become one. Rows keep their order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use ::parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use ::parquet::column::writer::ColumnCloseResult;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use ::parquet::file::properties::WriterPropertiesPtr;
use ::parquet::file::writer::SerializedFileWriter;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::checksum::{Hashed, Seal};
use super::open_file::{ROW_GROUP_BYTES, ROW_GROUP_ROWS};

/// A row group of a part is copied if it has this share of the rows or bytes of a full one.
const LARGE: usize = 4;
/// Rows are decoded in batches of so many.
const BATCH_ROWS: usize = 8192;

/// Writes the rows of some parts, which have one schema, to a new file, and waits until the disk has it; returns its rows too.
pub(super) fn merge(parts: &[PathBuf], target: &Path, properties: &WriterPropertiesPtr) -> Result<(Seal, u64), ParquetError> {
    let mut merger: Option<Merger> = None;
    for part in parts {
        let file = File::open(part)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options)?;
        let mut current = match merger.take() {
            Some(merger) => merger,
            None => Merger::create(target, Arc::clone(metadata.schema()), properties)?,
        };
        current.take(&file, &metadata)?;
        merger = Some(current);
    }
    merger.ok_or_else(|| ParquetError::General("no parts to merge".to_owned()))?.finish()
}

struct Merger {
    schema: SchemaRef,
    writer: SerializedFileWriter<Hashed>,
    factory: ArrowRowGroupWriterFactory,
    /// The row group under way, and its rows.
    group: Option<(Vec<ArrowColumnWriter>, usize)>,
}

impl Merger {
    fn create(target: &Path, schema: SchemaRef, properties: &WriterPropertiesPtr) -> Result<Merger, ParquetError> {
        let file = Hashed::create(target)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties.as_ref().clone()))?;
        let (writer, factory) = writer.into_serialized_writer()?;
        Ok(Merger { schema, writer, factory, group: None })
    }

    /// Adds the rows of a part.
    fn take(&mut self, file: &File, metadata: &ArrowReaderMetadata) -> Result<(), ParquetError> {
        for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
            if is_large(group) {
                self.end_group()?;
                self.copy(file, metadata, index)?;
            } else {
                self.encode(file, metadata, index)?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, file: &File, metadata: &ArrowReaderMetadata, index: usize) -> Result<(), ParquetError> {
        let (group, pages) = (metadata.metadata().row_group(index), metadata.metadata().offset_index());
        let mut target = self.writer.next_row_group()?;
        for (position, column) in group.columns().iter().enumerate() {
            let close = ColumnCloseResult {
                bytes_written: column.compressed_size().cast_unsigned(),
                rows_written: group.num_rows().cast_unsigned(),
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: pages.and_then(|pages| pages.get(index)?.get(position)).cloned(),
            };
            target.append_column(file, close)?;
        }
        target.close()?;
        Ok(())
    }

    fn encode(&mut self, file: &File, metadata: &ArrowReaderMetadata, index: usize) -> Result<(), ParquetError> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone()?, metadata.clone());
        for batch in builder.with_row_groups(vec![index]).with_batch_size(BATCH_ROWS).build()? {
            self.write(&batch?)?;
        }
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let (mut columns, rows) = match self.group.take() {
            Some(group) => group,
            None => (self.factory.create_column_writers(self.writer.flushed_row_groups().len())?, 0),
        };
        let mut leaves = columns.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
            for (leaf, column) in compute_leaves(field, array)?.iter().zip(&mut leaves) {
                column.write(leaf)?;
            }
        }
        let bytes: usize = columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum();
        let rows = rows + batch.num_rows();
        self.group = Some((columns, rows));
        if rows + BATCH_ROWS > ROW_GROUP_ROWS || bytes >= ROW_GROUP_BYTES { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        let Some((columns, _)) = self.group.take() else { return Ok(()) };
        let mut target = self.writer.next_row_group()?;
        for column in columns {
            column.close()?.append_to_row_group(&mut target)?;
        }
        target.close()?;
        Ok(())
    }

    fn finish(mut self) -> Result<(Seal, u64), ParquetError> {
        self.end_group()?;
        let rows = self.writer.flushed_row_groups().iter().map(|group| group.num_rows().cast_unsigned()).sum();
        Ok((self.writer.into_inner()?.finish()?, rows))
    }
}

fn is_large(group: &RowGroupMetaData) -> bool {
    let bytes = usize::try_from(group.compressed_size()).unwrap_or_default();
    usize::try_from(group.num_rows()).unwrap_or_default() >= ROW_GROUP_ROWS / LARGE || bytes >= ROW_GROUP_BYTES / LARGE
}
