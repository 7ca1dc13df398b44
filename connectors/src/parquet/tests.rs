//! The lake as one sink writes it: folders, names, rolling, bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use freshet_model::{Column, ColumnType, PartitionId, TableSchema};
use proptest::prelude::*;

use super::hours::Hour;
use super::{MAX_OPEN, ParquetSink};
use crate::{BatchSink, Past, SinkOptions};

const HOUR: i64 = 3_600_000_000;
/// 2026-01-29T09:00:00Z.
const NINE: i64 = 1_769_677_200_000_000;

fn options(generation: u64) -> SinkOptions {
    SinkOptions {
        job: "job 1".to_owned(),
        name: "lake".to_owned(),
        generation,
        past: Past::Kept,
        avro: None,
        roll_bytes: 1 << 30,
        roll_interval: Duration::from_secs(3600),
        settings: BTreeMap::new(),
    }
}

fn table(time_column: Option<usize>) -> TableSchema {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
    let columns = vec![
        column("event_time", ColumnType::Timestamp),
        column("n", ColumnType::BigInt),
        column("text", ColumnType::Text(None)),
    ];
    TableSchema { name: "raw".to_owned(), columns, key: Vec::new(), appends: true, time_column }
}

fn sink(folder: &Path, options: SinkOptions) -> ParquetSink {
    let mut sink = ParquetSink::open(&format!("parquet://{}", folder.display()), options).unwrap();
    sink.prepare(&table(Some(0)), &[0, 1, 2, 3]).unwrap();
    sink
}

/// Rows with these times; their numbers count on from `first`.
fn rows(times: &[Option<i64>], first: i64) -> RecordBatch {
    let numbers: Vec<i64> = (first..).take(times.len()).collect();
    let texts: StringArray = numbers.iter().map(|n| (n % 7 != 0).then(|| format!("text {n}"))).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(TimestampMicrosecondArray::from(times.to_vec())), Arc::new(Int64Array::from(numbers)), Arc::new(texts)];
    RecordBatch::try_new(table(None).arrow(), columns).unwrap()
}

/// All files outside the staging folder, by their paths inside the lake.
fn files(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().to_string_lossy().starts_with('_');
            match path.is_dir() {
                true if !hidden => folders.push(path),
                false => found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned()),
                true => {}
            }
        }
    }
    found.sort();
    found
}

type Row = (Option<i64>, i64, Option<String>);

fn values(rows: &RecordBatch) -> Vec<Row> {
    let times = rows.column(0).as_primitive::<TimestampMicrosecondType>();
    let numbers = rows.column(1).as_primitive::<Int64Type>();
    let texts: &StringArray = rows.column(2).as_string();
    let text = |row| texts.is_valid(row).then(|| texts.value(row).to_owned());
    (0..rows.num_rows()).map(|row| (times.is_valid(row).then(|| times.value(row)), numbers.value(row), text(row))).collect()
}

fn read(root: &Path, file: &str) -> Vec<Row> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(root.join(file)).unwrap()).unwrap().build().unwrap();
    reader.flat_map(|batch| values(&batch.unwrap())).collect()
}

fn staged(root: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root.join("_staging/job_1.lake")).unwrap();
    folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap()).map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_file_appears_complete_at_the_close_under_a_name_that_says_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), options(7));
    sink.write(12, 3, &rows(&[Some(NINE), Some(NINE + 1)], 0)).unwrap();
    sink.seal(12).unwrap();
    sink.write(13, 3, &rows(&[Some(NINE + 2)], 2)).unwrap();
    sink.seal(13).unwrap();
    assert!(files(folder.path()).is_empty() && staged(folder.path()).len() == 1);
    sink.flush(13).unwrap();
    assert!(files(folder.path()).is_empty() && staged(folder.path()).len() == 1);
    sink.write(14, 3, &rows(&[Some(NINE)], 3)).unwrap();
    sink.seal(14).unwrap();
    sink.close().unwrap();
    let expected = "event_date=2026-01-29/event_hour=09/p00003-e000000000012-000000000014-job_1.lake.parquet";
    assert_eq!(files(folder.path()), [expected]);
    assert!(staged(folder.path()).is_empty());
    assert_eq!(read(folder.path(), expected).iter().map(|row| row.1).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn files_are_rolled_by_size_and_by_time_at_a_seal() {
    for (roll_bytes, roll_interval) in [(1, Duration::from_secs(3600)), (1 << 30, Duration::ZERO)] {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = sink(folder.path(), SinkOptions { roll_bytes, roll_interval, ..options(1) });
        sink.write(1, 0, &rows(&[Some(NINE)], 0)).unwrap();
        assert!(files(folder.path()).is_empty());
        sink.seal(1).unwrap();
        assert_eq!(files(folder.path()).len(), 1);
        sink.seal(2).unwrap();
        sink.write(3, 0, &rows(&[Some(NINE)], 1)).unwrap();
        sink.seal(3).unwrap();
        assert_eq!(files(folder.path()).len(), 2);
    }
}

#[test]
fn open_files_are_bounded_and_the_parts_of_an_hour_become_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), options(1));
    let times: Vec<_> = (0..150).map(|hour| Some(NINE + hour * HOUR)).collect();
    for round in 0..2 {
        sink.write(1, 0, &rows(&times, round * 150)).unwrap();
    }
    sink.seal(1).unwrap();
    assert!(sink.open.len() <= MAX_OPEN && files(folder.path()).is_empty());
    sink.close().unwrap();
    let found = files(folder.path());
    assert_eq!(found.len(), 150);
    let numbers = |(hour, file): (i64, &String)| read(folder.path(), file).iter().map(|row| row.1).eq([hour, hour + 150]);
    assert!((0..).zip(&found).all(numbers), "{found:?}");
}

#[test]
fn rows_that_are_not_sealed_are_neither_shown_nor_held() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), SinkOptions { roll_interval: Duration::ZERO, ..options(1) });
    sink.write(1, 0, &rows(&[Some(NINE)], 0)).unwrap();
    sink.write(2, 0, &rows(&[Some(NINE)], 1)).unwrap();
    sink.seal(1).unwrap();
    sink.flush(1).unwrap();
    let found = files(folder.path());
    assert_eq!(found.iter().flat_map(|file| read(folder.path(), file)).map(|row| row.1).collect::<Vec<_>>(), [0]);
    drop(sink);
    let mut later = ParquetSink::open(&format!("parquet://{}", folder.path().display()), options(2)).unwrap();
    assert_eq!(later.prepare(&table(Some(0)), &[0]).unwrap(), BTreeMap::from([(0, 1)]));
}

#[test]
fn rows_that_the_sink_holds_or_did_not_expect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |epoch, partition, problem: &str| {
        let mut sink = sink(folder.path(), options(epoch));
        sink.seal(epoch).unwrap();
        let error = sink.write(epoch, partition, &rows(&[Some(NINE)], 0)).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert!(sink.seal(epoch + 1).is_err(), "nothing follows an error");
    };
    refused(1, 0, "complete already");
    refused(2, 9, "not prepared");
}

#[test]
fn without_a_time_column_there_are_no_folders() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = ParquetSink::open(&format!("parquet://{}/new/lake", folder.path().display()), options(1)).unwrap();
    sink.prepare(&table(None), &[0]).unwrap();
    sink.write(1, 0, &rows(&[None, Some(NINE)], 0)).unwrap();
    sink.close().unwrap();
    assert_eq!(files(&folder.path().join("new/lake")), ["p00000-e000000000001-000000000001-job_1.lake.parquet"]);
}

#[test]
fn a_lake_that_cannot_be_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let mut sink = ParquetSink::open(&format!("parquet://{}/file/lake", folder.path().display()), options(1)).unwrap();
    let error = sink.prepare(&table(Some(0)), &[]).unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("cannot write the lake"), "{error}");
    let error = sink.prepare(&table(Some(1)), &[]).unwrap_err().to_string();
    assert!(error.contains("column 'n' is bigint and not a timestamp"), "{error}");
}

/// What a test does with a sink.
#[derive(Debug, Clone)]
enum Step {
    Write(PartitionId, Vec<Option<i64>>),
    Seal,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = prop_oneof![10 => (0..4 * HOUR).prop_map(|time| Some(NINE + time)), 1 => Just(None), 1 => Just(Some(0))];
    let write = (0..3, prop::collection::vec(time, 0..30)).prop_map(|(partition, times)| Step::Write(partition, times));
    prop::collection::vec(prop_oneof![3 => write, 1 => Just(Step::Seal)], 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_lake_holds_what_was_written_in_order_and_by_hour(steps in steps(), rolls in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let roll_interval = if rolls { Duration::ZERO } else { Duration::from_secs(3600) };
        let mut sink = sink(folder.path(), SinkOptions { roll_interval, ..options(1) });
        let mut expected: BTreeMap<(String, PartitionId), Vec<Row>> = BTreeMap::new();
        let (mut epoch, mut number) = (1, 0);
        for step in &steps {
            match step {
                Step::Seal => {
                    sink.seal(epoch).unwrap();
                    epoch += 1;
                }
                Step::Write(partition, times) => {
                    let rows = rows(times, number);
                    number += times.len() as i64;
                    sink.write(epoch, *partition, &rows).unwrap();
                    for row in values(&rows) {
                        let hour = Hour::folder(row.0.map(|time| Hour(time.div_euclid(HOUR))));
                        expected.entry((hour, *partition)).or_default().push(row);
                    }
                }
            }
        }
        sink.close().unwrap();
        let mut found: BTreeMap<(String, PartitionId), Vec<Row>> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for file in files(folder.path()) {
            let (hour, name) = file.rsplit_once('/').unwrap();
            prop_assert!(names.insert(file.clone()));
            let partition = name[1..6].parse().unwrap();
            found.entry((hour.to_owned(), partition)).or_default().extend(read(folder.path(), &file));
        }
        prop_assert_eq!(found, expected);
    }
}

/// Run by hand: `cargo test --release -p freshet-connectors lake_rate -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn lake_rate() {
    let folder = tempfile::tempdir().unwrap();
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
    let text = ColumnType::Text(None);
    let columns = vec![
        column("event_time", ColumnType::Timestamp),
        column("user_id", text),
        column("page_url", text),
        column("event_type", text),
    ];
    let table =
        TableSchema { name: "raw".to_owned(), columns: columns.clone(), key: Vec::new(), appends: true, time_column: Some(0) };
    let source = crate::SourceOptions {
        name: "s".to_owned(),
        columns,
        format: Default::default(),
        time_column: Some(0),
        max_future_skew: Duration::from_secs(300),
        max_record_bytes: 10_000,
        bounded: true,
        from_latest: false,
        identity: None,
        settings: BTreeMap::new(),
    };
    let url = "generator://local/full?events=4_000_000&rate=0&partitions=2&span=20m";
    let mut reader = crate::open_source(url, source).unwrap().reader(&[0, 1]).unwrap();
    let mut batches = Vec::new();
    let begin = Instant::now();
    let finished = |batch: &&freshet_model::Batch| batch.progress == freshet_model::Progress::Finished;
    while batches.iter().rev().take(4).filter(finished).count() < 2 {
        reader.read(40_000, Duration::ZERO, &mut batches).unwrap();
    }
    let rows = batches.iter().map(|batch| batch.offsets.len()).sum::<usize>() as f64;
    println!("generated and decoded: {:.2} M records/s", rows / 1e6 / begin.elapsed().as_secs_f64());
    // How long until a roll, and how many batches until a seal and a flush.
    let (hour, never) = (Duration::from_secs(3600), usize::MAX);
    let cases = [
        ("one file", hour, 1, never),
        ("rolled", Duration::ZERO, 50, never),
        ("flushed", hour, 1, 50),
        ("flushed often", hour, 1, 1),
    ];
    for (case, interval, seal, flush) in cases {
        let root = folder.path().join(case);
        let options = SinkOptions { roll_interval: interval, ..options(1) };
        let mut sink = ParquetSink::open(&format!("parquet://{}", root.display()), options).unwrap();
        sink.prepare(&table, &[0, 1]).unwrap();
        let (begin, mut flushes) = (Instant::now(), Vec::new());
        for (epoch, batch) in (1..).zip(&batches) {
            sink.write(epoch, batch.partition, &batch.columns).unwrap();
            if (epoch as usize).is_multiple_of(seal) {
                sink.seal(epoch).unwrap();
            }
            if (epoch as usize).is_multiple_of(flush) {
                let begin = Instant::now();
                sink.flush(epoch).unwrap();
                flushes.push(begin.elapsed());
            }
        }
        let (held, written) = (sink.open.held_bytes(), begin.elapsed());
        sink.close().unwrap();
        let elapsed = begin.elapsed();
        let bytes: u64 = files(&root).iter().map(|file| std::fs::metadata(root.join(file)).unwrap().len()).sum();
        flushes.sort();
        let (rate, count) = (rows / 1e6 / elapsed.as_secs_f64(), files(&root).len());
        println!("{case}: {rate:.2} M rows/s, {:.1} B a row, {count} files, {held} B held at the end", bytes as f64 / rows);
        let middle = flushes.get(flushes.len() / 2);
        println!(
            "  close {:?}; {} flushes: {:?}, {middle:?}, {:?}",
            elapsed - written,
            flushes.len(),
            flushes.first(),
            flushes.last()
        );
    }
}
