//! How many rows a second the sinks for views take, and how long a small commit lasts.
//!
//! SQLite writes into a temporary folder. PostgreSQL needs `DATABASE_URL`, a database in which a table `bench_views` and the schema
//! `freshet` may be made: `DATABASE_URL=postgres://… cargo bench -p freshet-connectors --bench copy`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use freshet_connectors::postgres::PostgresSink;
use freshet_connectors::sqlite::SqliteSink;
use freshet_connectors::{Past, SinkOptions, TableSink};
use freshet_model::{Column, ColumnType, Commit, TableSchema, Timestamp, ViewChanges};

const START: i64 = 1_767_225_600_000_000;
const MINUTE: i64 = 60_000_000;

fn view() -> TableSchema {
    let columns = [
        ("window_start", ColumnType::Timestamp),
        ("window_end", ColumnType::Timestamp),
        ("page_url", ColumnType::Text(Some(255))),
        ("view_count", ColumnType::BigInt),
    ];
    let columns = columns.map(|(name, column_type)| Column { name: name.to_owned(), column_type }).to_vec();
    TableSchema { name: "bench_views".to_owned(), columns, key: vec![0, 2], appends: false, time_column: None }
}

fn options() -> SinkOptions {
    SinkOptions {
        job: "bench".to_owned(),
        name: "db".to_owned(),
        generation: 1,
        past: Past::Kept,
        avro: None,
        roll_bytes: 0,
        roll_interval: Duration::ZERO,
        settings: BTreeMap::new(),
    }
}

/// Rows of consecutive keys, in the key's order: a thousand pages a minute.
fn commit(epoch: u64, first: i64, rows: usize, delete: bool) -> Commit {
    let view = view();
    let numbers = first..first + rows as i64;
    let starts: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values(numbers.clone().map(|i| START + i / 1000 * MINUTE)));
    let ends: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values(numbers.clone().map(|i| START + (i / 1000 + 1) * MINUTE)));
    let pages: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(|i| format!("/products/{:03}", i % 1000))));
    let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.map(|i| i + epoch as i64)));
    let rows = RecordBatch::try_new(view.arrow(), vec![starts, ends, pages, counts]).expect("columns fit");
    let keys = rows.project(&view.key).expect("the key exists");
    let (upserts, deletes) = if delete { (rows.slice(0, 0), keys) } else { (rows, keys.slice(0, 0)) };
    let views = vec![ViewChanges { view: 0, upserts, deletes }];
    let time = Timestamp(START);
    Commit { epoch, watermark: time, processing_time: time, views, rejects: Vec::new(), ledger: Vec::new() }
}

/// A sink with the next epoch and the next key.
struct Bench {
    sink: Box<dyn TableSink>,
    epoch: u64,
    next: i64,
}

impl Bench {
    fn apply(&mut self, first: i64, rows: usize, delete: bool) -> Duration {
        self.epoch += 1;
        let commit = commit(self.epoch, first, rows, delete);
        let start = Instant::now();
        self.sink.commit(&commit).expect("the commit succeeds");
        start.elapsed()
    }

    fn insert(&mut self, rows: usize) -> Duration {
        let first = self.next;
        self.next += rows as i64;
        self.apply(first, rows, false)
    }

    fn insert_and_delete(&mut self, rows: usize) -> Duration {
        self.insert(rows);
        self.apply(self.next - rows as i64, rows, true)
    }
}

fn measure(criterion: &mut Criterion, name: &str, sink: Box<dyn TableSink>) {
    let mut bench = Bench { sink, epoch: 0, next: 0 };
    bench.insert(200_000);
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for rows in [1, 100, 1000, 2000, 5000, 10_000, 100_000] {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("new", rows), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| bench.insert(rows)).sum());
        });
        group.bench_function(BenchmarkId::new("existing", rows), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| bench.apply(0, rows, false)).sum());
        });
        group.bench_function(BenchmarkId::new("delete", rows), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| bench.insert_and_delete(rows)).sum());
        });
    }
    group.finish();
}

fn sqlite(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let mut sink = SqliteSink::open(&url, options()).expect("the file can be made");
    sink.prepare(&[view()]).expect("the tables can be made");
    measure(criterion, "sqlite", Box::new(sink));
}

fn postgres(criterion: &mut Criterion) {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        println!("postgres: skipped, DATABASE_URL is not set");
        return;
    };
    let mut client = postgres::Client::connect(&url, postgres::NoTls).expect("the database can be reached");
    client.batch_execute("DROP TABLE IF EXISTS bench_views").expect("the table can be dropped");
    let mut sink = PostgresSink::open(&url, options()).expect("the database can be reached");
    sink.prepare(&[view()]).expect("the tables can be made");
    measure(criterion, "postgres", Box::new(sink));
    client.batch_execute("DROP TABLE IF EXISTS bench_views").expect("the table can be dropped");
}

criterion_group!(tables, sqlite, postgres);
criterion_main!(tables);
