//! The hot parts of the engine, each by itself: `cargo bench -p freshet-dataflows`.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_dataflows::keys::{KeyCodec, RowCodec};
use freshet_dataflows::lower::lower;
use freshet_dataflows::operators::partial::Sum;
use freshet_dataflows::operators::preaggregate::{Context, Preaggregate};
use freshet_dataflows::plan::{Emit, LatePolicy, SourcePlan};
use freshet_dataflows::sql::{ViewDefinition, plan};
use freshet_dataflows::state::{Rule, Sessions};
use freshet_model::{Batch, Column, Progress, Timestamp};

const ROWS: usize = 16_384;

/// Events of a minute: 500 pages and 20,000 users, one after the other.
fn batch() -> Batch {
    let text = |of: fn(usize) -> String| Arc::new(StringArray::from_iter_values((0..ROWS).map(of))) as Arc<dyn Array>;
    let times = (0..ROWS).map(|row| 60_000_000 + row as i64 * 3_000);
    let columns: Vec<(&str, Arc<dyn Array>)> = vec![
        ("event_time", Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
        ("user_id", text(|row| format!("user_{}", row * 7919 % 20_000))),
        ("page_url", text(|row| format!("/products/{}", row * 31 % 500))),
        ("event_type", text(|row| if row % 10 < 7 { "page_view" } else { "click" }.to_owned())),
    ];
    Batch {
        partition: 0,
        range: 0..ROWS as i64,
        columns: RecordBatch::try_from_iter(columns).expect("columns of one length"),
        offsets: (0..ROWS as i64).collect(),
        max_event_time: Some(Timestamp(120_000_000)),
        bytes: ROWS * 115,
        dead: Vec::new(),
        early: Vec::new(),
        progress: Progress::AtEnd,
    }
}

/// Returns what the partial aggregation of one view needs.
fn context(sql: &str) -> Arc<Context> {
    let names = ["event_time timestamp", "user_id text", "page_url text", "event_type text"];
    let column = |text: &&str| {
        let (name, kind) = text.split_once(' ').expect("a name and a type");
        Column { name: name.to_owned(), column_type: kind.parse().expect("a type") }
    };
    let source = SourcePlan {
        name: "events".to_owned(),
        columns: names.iter().map(column).collect(),
        time_column: Some(0),
        derived: None,
    };
    let view = ViewDefinition {
        name: "view".to_owned(),
        sql: sql.to_owned(),
        key: Vec::new(),
        emit: Emit::Changes,
        late: LatePolicy::Keep,
    };
    let plan = plan(&[source], &[view]).expect("the view can be planned");
    let fold =
        lower(&plan).folds.into_iter().find(|fold| fold.components[0].feed.is_some()).expect("a fold that reads the source");
    let types: Vec<_> = fold.input.keys.iter().map(|key| key.data_type.clone()).collect();
    Arc::new(Context {
        name: "bench".to_owned(),
        source: "events".to_owned(),
        time_column: Some(0),
        keys: fold.input.keys.clone(),
        key_time_bound: None,
        codec: Arc::new(KeyCodec::new(&types)),
        views: vec!["view".to_owned()],
        components: fold.components,
    })
}

fn partial_aggregates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("partial aggregate");
    group.throughput(Throughput::Elements(ROWS as u64));
    let views = [
        (
            "page views",
            "SELECT window_start, window_end, page_url, count(*) AS n FROM tumble(events, INTERVAL '1 minute') \
             WHERE event_type = 'page_view' GROUP BY window_start, window_end, page_url",
        ),
        (
            "active users",
            "SELECT window_start, window_end, count(DISTINCT user_id) AS n \
             FROM hop(events, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY window_start, window_end",
        ),
        (
            "pages in figures",
            "SELECT window_start, window_end, page_url, approx_count_distinct(user_id) AS users, last_value(user_id) AS last, \
             funnel(INTERVAL '10 seconds', event_type = 'page_view', event_type = 'click') AS step \
             FROM tumble(events, INTERVAL '1 minute') GROUP BY window_start, window_end, page_url",
        ),
        (
            "sessions",
            "SELECT window_start, window_end, user_id, count(*) AS n FROM session(events, INTERVAL '5 minutes', user_id) \
             GROUP BY window_start, window_end, user_id",
        ),
    ];
    let batch = batch();
    for (name, sql) in views {
        let context = context(sql);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut sum = Preaggregate::new(Arc::clone(&context));
                sum.take(&batch, Timestamp::MIN);
                let (partials, sides) = sum.finish();
                black_box((partials.count(), sides.len()))
            });
        });
    }
    group.finish();
}

fn sessions(criterion: &mut Criterion) {
    let rule = Rule { gap: 300_000_000, max_duration: None };
    let mut group = criterion.benchmark_group("session");
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("one endless session", |bencher| {
        bencher.iter(|| {
            let mut sessions = Sessions::default();
            (0..100_000).for_each(|event| {
                sessions.entry(event * 1_000_000, rule, &[]);
            });
            black_box(sessions)
        });
    });
    group.finish();
}

fn rows(criterion: &mut Criterion) {
    let batch = batch();
    let codec = RowCodec::new(batch.columns.schema());
    let packed = codec.pack(batch.columns.columns());
    let mut group = criterion.benchmark_group("rows of four columns");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("pack", |bencher| bencher.iter(|| black_box(codec.pack(batch.columns.columns()))));
    group.bench_function("unpack", |bencher| {
        bencher.iter(|| black_box(codec.unpack((0..batch.columns.num_rows()).map(|row| packed.row(row)))));
    });
    group.finish();
}

criterion_group!(benches, partial_aggregates, sessions, rows);
criterion_main!(benches);
