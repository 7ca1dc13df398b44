//! What a record costs: JSON into Arrow columns, and rows into JSON. Both are reported per record.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use freshet_connectors::SourceOptions;
use freshet_connectors::format::to_json::Rows;
use freshet_connectors::format::{Decoder, Decoders};
use freshet_model::{Batch, Column, Progress};

const RECORDS: usize = 10_000;

fn options() -> SourceOptions {
    let columns = [("event_time", "timestamp"), ("user_id", "varchar(50)"), ("page_url", "varchar(255)"), ("event_type", "text")];
    SourceOptions {
        name: "user_activity".to_owned(),
        columns: columns.iter().map(|(n, t)| Column { name: (*n).to_owned(), column_type: t.parse().expect("a type") }).collect(),
        format: Default::default(),
        time_column: Some(0),
        max_future_skew: Duration::from_secs(300),
        max_record_bytes: 1 << 20,
        bounded: false,
        from_latest: false,
        identity: None,
        settings: Default::default(),
    }
}

/// Writes events of the user-activity pipeline; `shuffled` ones have their fields in another order than the columns.
fn events(shuffled: bool) -> Vec<String> {
    let event = |i: usize| {
        let (second, milli, user, page) = (i / 1000 % 60, i % 1000, i * 7919 % 80_000, i % 500);
        let time = format!("\"event_time\":\"2026-01-29T09:31:{second:02}.{milli:03}Z\"");
        let rest = format!("\"user_id\":\"user_{user}\",\"page_url\":\"/page/{page}\"");
        match shuffled {
            true => format!("{{\"event_type\":\"page_view\",{rest},{time}}}"),
            false => format!("{{{time},{rest},\"event_type\":\"page_view\"}}"),
        }
    };
    (0..RECORDS).map(event).collect()
}

fn decode(decoder: &mut Decoder, events: &[String]) -> Batch {
    for (offset, event) in events.iter().enumerate() {
        decoder.decode(offset as i64, Some(event.as_bytes()));
    }
    decoder.finish(0, 0..events.len() as i64, Progress::AtEnd)
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Elements(RECORDS as u64)).measurement_time(Duration::from_secs(2)).sample_size(20);
    let mut decoder = Decoders::open(&options()).expect("columns that fit").decoder();
    for (order, shuffled) in [("declared", false), ("other", true)] {
        let events = events(shuffled);
        group.bench_with_input(BenchmarkId::new("decode", order), &events, |b, events| b.iter(|| decode(&mut decoder, events)));
    }
    let batch = decode(&mut decoder, &events(false));
    assert_eq!(batch.columns.num_rows(), RECORDS, "all events are good");
    let mut rows = Rows::default();
    group.bench_function("encode", |b| b.iter(|| rows.encode(&batch.columns)));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
