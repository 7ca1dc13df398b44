//! Beginning anew: what the lake holds of the job's partitions goes, and nothing else.

use fail::FailScenario;
use freshet_connectors::{BatchSink, Past, SinkOptions};

use super::support::{lake, list, open, options, put, row, seen, staged, start, table};

#[test]
fn a_reset_removes_the_files_of_these_partitions_of_this_sink_only() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let fill = |job: &str, partition, number| {
        let mut sink = open(lake.path(), SinkOptions { job: job.to_owned(), ..options(1) });
        sink.prepare(&table(), &[partition]).unwrap();
        sink.write(1, partition, &row(number)).unwrap();
        sink.close().unwrap();
        sink.write(2, partition, &row(number + 100)).unwrap();
        sink.seal(2).unwrap();
        sink.flush(2).unwrap();
    };
    fill("job", 0, 1);
    fill("job", 1, 2);
    fill("job", 2, 3);
    fill("x-job", 0, 4);
    assert_eq!((seen(lake.path()), staged(lake.path()).len()), (vec![1, 2, 3, 4], 3));
    let (mut sink, held) = start(lake.path(), SinkOptions { past: Past::Forgotten, ..options(2) }).unwrap();
    assert!(held.is_empty());
    assert_eq!((seen(lake.path()), staged(lake.path()).len()), (vec![3, 4], 1));
    sink.write(1, 0, &row(5)).unwrap();
    sink.close().unwrap();
    assert_eq!(seen(lake.path()), [3, 4, 5]);
    assert_eq!(list(&lake.path().join("_staging/x-job.lake"), true).len(), 1);
}

#[test]
fn a_reset_that_was_cut_off_is_completed_by_the_next_start() {
    if !fail::has_failpoints() {
        return;
    }
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut sink, _) = start(lake.path(), options(1)).unwrap();
    put(&mut sink, 1).unwrap();
    sink.close().unwrap();
    fail::cfg("lake::half_reset", "return").unwrap();
    assert!(start(lake.path(), SinkOptions { past: Past::Forgotten, ..options(2) }).is_err());
    assert!(start(lake.path(), options(3)).is_err(), "the reset goes on, and is cut off again");
    fail::remove("lake::half_reset");
    let (mut sink, held) = start(lake.path(), options(4)).unwrap();
    assert!(held.is_empty());
    put(&mut sink, 1).unwrap();
    sink.close().unwrap();
    assert_eq!(seen(lake.path()), [1]);
}
