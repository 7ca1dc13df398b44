//! Which files there are, and how parts become one of them.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use fail::FailScenario;
use freshet_connectors::{BatchSink, SinkOptions};
use freshet_model::{Column, ColumnType};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::support::{NINE, batch, lake, list, numbers, open, options, put, seen, staged, start, table};

fn group_rows(file: &Path) -> Vec<i64> {
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect()
}

#[test]
fn flushes_make_no_visible_files_and_their_parts_become_one() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut sink, _) = start(lake.path(), options(1)).unwrap();
    (1..=10).for_each(|number| put(&mut sink, number).unwrap());
    assert_eq!((list(lake.path(), false).len(), staged(lake.path()).len()), (0, 10));
    sink.close().unwrap();
    let files = list(lake.path(), false);
    assert_eq!((files.len(), staged(lake.path()).len()), (1, 0));
    assert!(files[0].ends_with("event_date=2026-01-29/event_hour=09/p00000-e000000000001-000000000010-job.lake.parquet"));
    assert_eq!(numbers(&files[0]), (1..=10).collect::<Vec<_>>());
    assert_eq!(group_rows(&files[0]), [10], "small row groups become one");
}

#[test]
fn large_row_groups_are_copied_and_small_ones_between_them_kept_in_order() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut sink, _) = start(lake.path(), options(1)).unwrap();
    let mut next = 0_i64;
    for (epoch, rows) in (1..).zip([50_000, 10, 20, 200_000, 30_000, 30_000, 5]) {
        let rows: Vec<_> = (next..next + rows).map(|number| (NINE + number, number)).collect();
        next += rows.len() as i64;
        sink.write(epoch, 0, &batch(&rows)).unwrap();
        sink.flush(epoch).unwrap();
    }
    sink.close().unwrap();
    let files = list(lake.path(), false);
    assert_eq!(group_rows(&files[0]), [50_000, 30, 131_072, 68_928, 60_005]);
    assert!(numbers(&files[0]).into_iter().eq(0..next));
}

#[test]
fn a_restart_goes_on_with_the_parts_and_their_age() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    put(&mut start(lake.path(), options(1)).unwrap().0, 1).unwrap();
    let (mut sink, held) = start(lake.path(), options(2)).unwrap();
    assert_eq!(held.get(&0), Some(&1));
    put(&mut sink, 2).unwrap();
    drop(sink);
    let soon = SinkOptions { roll_interval: Duration::from_millis(1), ..options(3) };
    let (mut sink, _) = start(lake.path(), soon).unwrap();
    while seen(lake.path()).is_empty() {
        sink.seal(3).unwrap();
    }
    let files = list(lake.path(), false);
    assert_eq!((files.len(), seen(lake.path())), (1, vec![1, 2]));
}

#[test]
fn after_a_clean_stop_new_files_are_begun_and_old_ones_may_be_taken_away() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    for generation in 1..4_i64 {
        let (mut sink, held) = start(lake.path(), options(generation.cast_unsigned())).unwrap();
        assert_eq!(held.get(&0).copied(), (generation > 1).then(|| generation.cast_unsigned() - 1));
        put(&mut sink, generation).unwrap();
        sink.close().unwrap();
        assert_eq!(seen(lake.path()), [generation]);
        list(lake.path(), false).iter().for_each(|file| fs::remove_file(file).unwrap());
    }
}

#[test]
fn a_partition_that_brings_nothing_is_left_alone() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut sink, _) = start(lake.path(), options(1)).unwrap();
    let manifests = || list(&lake.path().join("_freshet"), true);
    put(&mut sink, 1).unwrap();
    let before = manifests();
    for epoch in 2..20 {
        sink.seal(epoch).unwrap();
        sink.flush(epoch).unwrap();
    }
    assert_eq!(manifests(), before);
    drop(sink);
    assert_eq!(start(lake.path(), options(2)).unwrap().1.into_iter().collect::<Vec<_>>(), [(0, 1)]);
}

#[test]
fn parts_with_other_columns_become_a_file_of_their_own() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    put(&mut start(lake.path(), options(1)).unwrap().0, 1).unwrap();
    let mut other = table();
    other.columns[1] = Column { name: "m".to_owned(), column_type: ColumnType::BigInt };
    let mut sink = open(lake.path(), options(2));
    sink.prepare(&other, &[0]).unwrap();
    let rows = batch(&[(NINE, 2)]).columns().to_vec();
    sink.write(2, 0, &arrow::array::RecordBatch::try_new(other.arrow(), rows).unwrap()).unwrap();
    sink.close().unwrap();
    let files = list(lake.path(), false);
    assert_eq!((files.len(), seen(lake.path())), (2, vec![1, 2]));
}
