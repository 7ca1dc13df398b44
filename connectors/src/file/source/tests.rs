//! What files bring as a source: whole, followed, changed under its eyes, and from the middle.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use freshet_model::{Batch, Column, ColumnType, Progress, Reason};

use super::*;
use crate::format::Format;

fn options(bounded: bool) -> SourceOptions {
    SourceOptions {
        name: "clicks".to_owned(),
        columns: vec![Column { name: "n".to_owned(), column_type: ColumnType::BigInt }],
        format: Default::default(),
        time_column: None,
        max_future_skew: Duration::from_secs(300),
        max_record_bytes: 100,
        bounded,
        from_latest: false,
        identity: None,
        settings: BTreeMap::new(),
    }
}

fn open(path: &Path, options: SourceOptions) -> FileSource {
    FileSource::open(&format!("file://{}", path.display()), options).unwrap()
}

/// Reads until a condition holds of all batches so far.
fn read_until(reader: &mut dyn Reader, most: usize, done: impl Fn(&[Batch]) -> bool) -> Vec<Batch> {
    let begin = Instant::now();
    let mut batches = Vec::new();
    while !done(&batches) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{batches:?}");
        reader.read(most, Duration::from_millis(50), &mut batches).unwrap();
    }
    batches
}

fn numbers(batches: &[Batch]) -> Vec<(PartitionId, i64, i64)> {
    let mut found = Vec::new();
    for batch in batches {
        let column: &arrow::array::Int64Array = batch.columns.column(0).as_any().downcast_ref().unwrap();
        found.extend(batch.offsets.iter().zip(column.values()).map(|(&offset, &n)| (batch.partition, offset, n)));
    }
    found.sort_unstable();
    found
}

fn finished(batches: &[Batch]) -> bool {
    batches.last().is_some_and(|batch| batch.progress == Progress::Finished)
}

#[test]
fn a_bounded_file_ends_where_it_ended_when_opened_with_its_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{\"n\":1}\n\n{\"n\":2}\r\nnonsense\n{\"n\":3}").unwrap();
    let source = open(&path, options(true));
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"9}\n{\"n\":4}\n").unwrap();
    let mut reader = source.reader(&[0]).unwrap();
    let batches = read_until(&mut *reader, 2, finished);
    assert_eq!(numbers(&batches), [(0, 0, 1), (0, 2, 2), (0, 4, 3)]);
    let dead: Vec<_> = batches.iter().flat_map(|batch| &batch.dead).map(|letter| (letter.offset, letter.reason)).collect();
    assert_eq!(dead, [(1, Reason::EmptyPayload), (3, Reason::Malformed)]);
    let ranges: Vec<_> = batches.iter().map(|batch| batch.range.clone()).collect();
    assert_eq!((ranges[0].start, ranges.last().unwrap().end), (0, 5));
    assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
    let mut more = Vec::new();
    reader.read(10, Duration::ZERO, &mut more).unwrap();
    assert!(more.is_empty(), "nothing comes after the end");
}

#[test]
fn the_files_of_a_folder_are_partitions_and_none_starves() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.ndjson"), "{\"n\":10}\n{\"n\":11}\n").unwrap();
    std::fs::write(folder.path().join("a.ndjson"), "{\"n\":0}\n".repeat(50)).unwrap();
    std::fs::write(folder.path().join("c.ndjson"), "").unwrap();
    let source = open(folder.path(), options(true));
    assert_eq!(source.partitions(), [0, 1, 2]);
    let mut reader = source.reader(&[0, 1, 2]).unwrap();
    let done = |batches: &[Batch]| batches.iter().filter(|batch| batch.progress == Progress::Finished).count() == 3;
    let batches = read_until(&mut *reader, 6, done);
    assert_eq!(numbers(&batches).len(), 52);
    assert_eq!(numbers(&batches)[50..], [(1, 0, 10), (1, 1, 11)]);
    assert!(batches.iter().position(|batch| batch.partition == 1).unwrap() < 3, "the second file did not wait for the first");
    assert!(batches.iter().all(|batch| batch.range.end - batch.range.start <= 6));
}

#[test]
fn a_file_that_is_held_brings_nothing_until_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), "{\"n\":0}\n{\"n\":1}\n").unwrap();
    std::fs::write(folder.path().join("b.ndjson"), "{\"n\":10}\n{\"n\":11}\n").unwrap();
    let mut reader = open(folder.path(), options(true)).reader(&[0, 1]).unwrap();
    reader.hold(0, true).unwrap();
    assert_eq!(numbers(&read_until(&mut *reader, 1, finished)), [(1, 0, 10), (1, 1, 11)]);
    reader.hold(0, false).unwrap();
    assert_eq!(numbers(&read_until(&mut *reader, 1, finished)), [(0, 0, 0), (0, 1, 1)]);
}

#[test]
fn an_oversized_line_is_one_dead_letter_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, format!("x\n{}\n{{\"n\":2}}\n", "y".repeat(1_000_000))).unwrap();
    let batches = read_until(&mut *open(&path, options(true)).reader(&[0]).unwrap(), 100, finished);
    let dead: Vec<_> = batches.iter().flat_map(|batch| &batch.dead).collect();
    assert_eq!(
        dead.iter().map(|letter| (letter.offset, letter.reason)).collect::<Vec<_>>(),
        [(0, Reason::Malformed), (1, Reason::Oversized)]
    );
    assert_eq!((dead[1].payload.len(), dead[1].source.as_str()), (1_000_000, "clicks"));
    assert!(dead[1].detail.contains("1000000 bytes"), "{}", dead[1].detail);
    assert_eq!(batches.iter().map(|batch| batch.bytes).sum::<usize>(), 1 + 1_000_000 + 7);
    assert_eq!(numbers(&batches), [(0, 2, 2)]);
}

#[test]
fn a_followed_file_brings_a_line_when_its_line_feed_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{\"n\":1}\n{\"n\":").unwrap();
    let mut reader = open(&path, options(false)).reader(&[0]).unwrap();
    let at_end = |batches: &[Batch]| batches.last().is_some_and(|batch| batch.progress == Progress::AtEnd);
    assert_eq!(numbers(&read_until(&mut *reader, 100, at_end)), [(0, 0, 1)]);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"2}\n").unwrap();
    assert_eq!(numbers(&read_until(&mut *reader, 100, |batches| !batches.is_empty())), [(0, 1, 2)]);
    file.set_len(4).unwrap();
    let error = reader.read(100, Duration::ZERO, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("a.ndjson was truncated while it was read"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn a_followed_file_that_is_replaced_or_removed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{\"n\":1}\n").unwrap();
    let mut reader = open(&path, options(false)).reader(&[0]).unwrap();
    read_until(&mut *reader, 100, |batches| !batches.is_empty());
    let aside = folder.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    let removed = reader.read(100, Duration::ZERO, &mut Vec::new()).unwrap_err().to_string();
    assert!(removed.contains("was removed"), "{removed}");
    std::fs::write(&path, "{\"n\":1}\n").unwrap();
    let replaced = reader.read(100, Duration::ZERO, &mut Vec::new()).unwrap_err().to_string();
    assert!(replaced.contains("was replaced by another file"), "{replaced}");
}

#[test]
fn from_latest_passes_over_what_is_there_and_keeps_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\n{\"n\"").unwrap();
    let mut reader = open(&path, SourceOptions { from_latest: true, ..options(false) }).reader(&[0]).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b":3}\n").unwrap();
    let batches = read_until(&mut *reader, 100, |batches| !numbers(batches).is_empty());
    assert_eq!(numbers(&batches), [(0, 2, 3)]);
}

#[test]
fn a_file_that_is_opened_again_brings_the_same_records_from_any_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    let mut text: Vec<String> = (0..20_000).map(|n| format!("{{\"n\":{n}}}{}", if n % 3 == 0 { "\r" } else { "" })).collect();
    text[7] = "y".repeat(1_000_000);
    text[8] = String::new();
    std::fs::write(&path, text.join("\n")).unwrap();
    let source = open(&path, options(true));
    let all = read_until(&mut *source.reader(&[0]).unwrap(), 5000, finished);
    // It may grow meanwhile.
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n{\"n\":-1}").unwrap();
    let again = SourceOptions { identity: source.identity(), ..options(true) };
    let again = crate::open_source(&format!("file://{}", path.display()), again).unwrap();
    let dead = |batches: &[Batch]| batches.iter().flat_map(|batch| batch.dead.clone()).collect::<Vec<_>>();
    for start in [0, 1, 7, 8, 9, 12_345, 19_999, 20_000] {
        let tail = read_until(&mut *again.reader_from(&[(0, Some(start))]).unwrap(), 3000, finished);
        let mut wanted: Vec<_> = numbers(&all).into_iter().filter(|&(_, offset, _)| offset >= start).collect();
        wanted.push((0, 20_000, -1));
        assert!(numbers(&tail) == wanted, "from {start}");
        assert_eq!(dead(&tail), dead(&all).into_iter().filter(|dead| dead.offset >= start).collect::<Vec<_>>());
        assert_eq!(tail[0].range.start, start);
    }
    let error = again.reader_from(&[(0, Some(20_002))]).err().unwrap().to_string();
    assert!(error.contains("a.ndjson has no line 20002 any more"), "{error}");
}

#[test]
fn another_file_of_the_same_name_is_not_taken_for_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{\"n\":1}\n").unwrap();
    let identity = open(&path, options(false)).identity();
    let url = format!("file://{}", folder.path().display());
    let again = || crate::open_source(&url, SourceOptions { identity: identity.clone(), ..options(false) });
    assert!(again().is_ok());
    for (path, text) in [(&path, "{\"n\":2}\n{\"n\":1}\n"), (&path, "{\"n\""), (&folder.path().join("b.ndjson"), "")] {
        std::fs::write(path, text).unwrap();
        let error = again().err().unwrap().to_string();
        assert!(error.contains("is not what the job's state was made from"), "{error}");
    }
}

#[test]
fn the_standard_input_cannot_be_read_again() {
    let source = FileSource::open("stdin://", options(true)).unwrap();
    assert_eq!(source.identity(), None);
    assert!(source.reader_from(&[(0, Some(3))]).err().unwrap().to_string().contains("cannot be read from an offset"));
}

#[test]
fn a_stream_ends_with_its_end_in_either_mode() {
    for bounded in [true, false] {
        let input = Input::stream(&b"{\"n\":1}\n{\"n\":2}"[..]);
        let (options, cursor) = (options(bounded), Cursor::new(0, input, Lines::new(100)));
        let decoders = Decoders::open(&options).unwrap();
        let mut reader = FileReader::new("source 'clicks'".to_owned(), &options, &decoders, vec![cursor]);
        assert_eq!(numbers(&read_until(&mut reader, 100, finished)), [(0, 0, 1), (0, 1, 2)]);
    }
}

#[test]
fn a_csv_file_is_read_by_its_header_from_any_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "m,n\r\n\"x\ny\",1\r\n,2\nz,none\n,4").unwrap();
    let csv = |bounded| {
        let encoding = Encoding::Csv { delimiter: b',' };
        SourceOptions { format: Format { encoding, ..Format::default() }, ..options(bounded) }
    };
    let source = open(&path, csv(true));
    for (start, rows) in [(0, vec![(0, 1, 1), (0, 2, 2), (0, 4, 4)]), (2, vec![(0, 2, 2), (0, 4, 4)]), (4, vec![(0, 4, 4)])] {
        let mut reader = source.reader_from(&[(0, Some(start))]).unwrap();
        let batches = read_until(&mut *reader, 1, finished);
        assert_eq!(numbers(&batches), rows, "from {start}");
        let dead: Vec<_> = batches.iter().flat_map(|batch| &batch.dead).map(|letter| (letter.offset, letter.reason)).collect();
        assert_eq!(dead, if start <= 3 { vec![(3, Reason::WrongType)] } else { vec![] });
    }
    // Of a folder all files in CSV, each with a header of its own; one that is followed takes a record when it is complete.
    std::fs::write(folder.path().join("b.csv"), "n\n7\n\"8").unwrap();
    std::fs::write(folder.path().join("c.ndjson"), "{}\n").unwrap();
    let mut reader = open(folder.path(), csv(false)).reader(&[0, 1]).unwrap();
    let read = |batches: &[Batch]| numbers(batches).len() >= 3;
    assert_eq!(numbers(&read_until(&mut *reader, 100, read)), [(0, 1, 1), (0, 2, 2), (1, 1, 7)]);
}

/// Run by hand: `cargo test --release -p freshet-connectors file_rate -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn file_rate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    let line = "{\"event_time\": \"2026-01-29T09:31:03.027Z\", \"user_id\": \"user_1\", \"page_url\": \"/cart\", \"n\": 7}\n";
    std::fs::write(&path, line.repeat(3_000_000)).unwrap();
    let begin = Instant::now();
    let mut bytes = std::fs::File::open(&path).unwrap();
    let (mut lines, mut count) = (crate::file::lines::Lines::new(1000), 0);
    while lines.fill(&mut bytes, u64::MAX).unwrap() > 0 {
        while lines.next().is_some() {
            count += 1;
        }
    }
    let mut file = Cursor::new(0, Input::file("source", &path, None).unwrap(), Lines::new(1000));
    let skipping = Instant::now();
    file.skip("source", i64::MAX, &Decoders::open(&options(true)).unwrap()).unwrap();
    println!("skipped: {:.2} GB/s", 3e-3 * line.len() as f64 / skipping.elapsed().as_secs_f64());
    println!("split alone: {:.2} M lines/s", f64::from(count) / 1e6 / begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let mut reader = open(&path, options(true)).reader(&[0]).unwrap();
    let rows: usize = read_until(&mut *reader, 65_536, finished).iter().map(|batch| batch.offsets.len()).sum();
    println!("decoded to one column: {:.2} M records/s", rows as f64 / 1e6 / begin.elapsed().as_secs_f64());
}
