//! A lake, rows to put into it, and a reader that knows nothing of manifests.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use freshet_connectors::parquet::ParquetSink;
use freshet_connectors::{BatchSink, Error, Past, SinkOptions};
use freshet_model::{Column, ColumnType, Epoch, PartitionId, TableSchema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

pub(crate) const HOUR: i64 = 3_600_000_000;
/// 2026-01-29T09:00:00Z.
pub(crate) const NINE: i64 = 1_769_677_200_000_000;

/// The steps at which the program can be made to fail.
pub(crate) const POINTS: [&str; 5] =
    ["lake::partial_file", "lake::before_manifest", "lake::after_manifest", "lake::half_renamed", "lake::parts_half_deleted"];

/// Makes an empty lake, in memory where the machine has a place for that: there is no need to wait for a disk.
pub(crate) fn lake() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) fn options(generation: u64) -> SinkOptions {
    SinkOptions {
        job: "job".to_owned(),
        name: "lake".to_owned(),
        generation,
        past: Past::Kept,
        avro: None,
        roll_bytes: 1 << 30,
        roll_interval: Duration::from_secs(3600),
        settings: BTreeMap::new(),
    }
}

pub(crate) fn table() -> TableSchema {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
    let columns = vec![column("event_time", ColumnType::Timestamp), column("n", ColumnType::BigInt)];
    TableSchema { name: "raw".to_owned(), columns, key: Vec::new(), appends: true, time_column: Some(0) }
}

/// Rows of a time and a number each.
pub(crate) fn batch(rows: &[(i64, i64)]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(numbers)];
    RecordBatch::try_new(table().arrow(), columns).unwrap()
}

/// One row of nine o'clock.
pub(crate) fn row(number: i64) -> RecordBatch {
    batch(&[(NINE, number)])
}

pub(crate) fn open(root: &Path, options: SinkOptions) -> ParquetSink {
    ParquetSink::open(&format!("parquet://{}", root.display()), options).unwrap()
}

/// Starts a generation with the partitions 0 and 1.
pub(crate) fn start(root: &Path, options: SinkOptions) -> Result<(ParquetSink, BTreeMap<PartitionId, Epoch>), Error> {
    let mut sink = open(root, options);
    let held = sink.prepare(&table(), &[0, 1])?;
    Ok((sink, held))
}

/// Writes one row and seals and flushes its epoch, which is the row's number.
pub(crate) fn put(sink: &mut ParquetSink, number: i64) -> Result<(), Error> {
    let epoch = number.cast_unsigned();
    sink.write(epoch, 0, &row(number))?;
    sink.seal(epoch)?;
    sink.flush(epoch)
}

/// Lists the files below a folder, leaving out names that begin with `_` unless `all` are wanted.
pub(crate) fn list(folder: &Path, all: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().unwrap().to_string_lossy().starts_with('_');
        match path.is_dir() {
            true if all || !hidden => found.extend(list(&path, all)),
            false => found.push(path),
            true => {}
        }
    }
    found.sort();
    found
}

/// Reads the numbers in a file, which has to be complete.
pub(crate) fn numbers(file: &Path) -> Vec<i64> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
    reader.flat_map(|batch| batch.unwrap().column(1).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Reads all numbers that a reader sees, ascending.
pub(crate) fn seen(root: &Path) -> Vec<i64> {
    let mut numbers: Vec<i64> = list(root, false).iter().flat_map(|file| numbers(file)).collect();
    numbers.sort_unstable();
    numbers
}

/// Lists the staged files of the job `job`.
pub(crate) fn staged(root: &Path) -> Vec<PathBuf> {
    list(&root.join("_staging/job.lake"), true)
}

/// Returns the newest manifest of partition 0.
pub(crate) fn newest_manifest(root: &Path) -> PathBuf {
    list(&root.join("_freshet/job.lake/p00000"), true).pop().unwrap()
}
