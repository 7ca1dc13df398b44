//! Runs a job in memory: events in, tables out, with epochs cut at random places.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_dataflows::build::{TableOutlet, Wiring, build};
use freshet_dataflows::coalesce::Coalescer;
use freshet_dataflows::epochs::EpochRecord;
use freshet_dataflows::epochs::pacing::Pace;
use freshet_dataflows::epochs::watermark::Lateness;
use freshet_dataflows::lower::lower;
use freshet_dataflows::operators::drain::{Outlet, SinkEpoch};
use freshet_dataflows::operators::source::Feed;
use freshet_dataflows::plan::{Emit, Plan, SourcePlan};
use freshet_dataflows::sql::{ViewDefinition, plan};
use freshet_model::{Batch, Column, Commit, Epoch, LedgerRow, Progress, Timestamp};
use timely::scheduling::SyncActivator;

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const DELAY: i64 = 2 * MINUTE;

/// One event; its partition and offset are its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) time: i64,
    pub(crate) page: u8,
    pub(crate) user: u8,
    pub(crate) kind: u8,
    pub(crate) amount: i64,
}

/// A table: each row as text by the text of its key.
pub(crate) type Table = BTreeMap<String, String>;

/// Late events as view, partition, offset and window start.
pub(crate) type Late = (String, i32, i64, i64);

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) late: Vec<Late>,
    pub(crate) ledger: Vec<LedgerRow>,
    pub(crate) records: Vec<EpochRecord>,
}

/// Runs views over the events of each partition; `seed` decides where epochs are cut.
pub(crate) fn run(views: &[(&str, &str)], events: &[Vec<Event>], workers: usize, seed: u64, bounded: bool) -> Outcome {
    execute(views, events, workers, seed, 5, bounded)
}

/// The same on one worker, with an epoch for each event.
pub(crate) fn run_cut_after_each(views: &[(&str, &str)], events: &[Vec<Event>]) -> Outcome {
    execute(views, events, 1, 0, 1, true)
}

fn planned(views: &[(&str, &str)]) -> Plan {
    let column = |name: &str, kind: &str| Column { name: name.to_owned(), column_type: kind.parse().expect("a type") };
    let columns = vec![
        column("time", "timestamp"),
        column("page", "text"),
        column("user_id", "text"),
        column("kind", "text"),
        column("amount", "bigint"),
    ];
    let source = SourcePlan { name: "events".to_owned(), columns, time_column: Some(0) };
    let view = |(name, sql): &(&str, &str)| ViewDefinition {
        name: (*name).to_owned(),
        sql: (*sql).to_owned(),
        key: Vec::new(),
        emit: Emit::Changes,
    };
    plan(&[source], &views.iter().map(view).collect::<Vec<_>>()).expect("the views can be planned")
}

fn execute(views: &[(&str, &str)], events: &[Vec<Event>], workers: usize, seed: u64, most: u64, bounded: bool) -> Outcome {
    let plan = Arc::new(planned(views));
    let outcome: Arc<Mutex<Outcome>> = Arc::default();
    let (shared, events) = (Arc::clone(&outcome), events.to_vec());
    let clock = Arc::new(AtomicI64::new(0));
    let config = timely::Config::process(workers);
    let guards = timely::execute(config, move |worker| {
        let own: Vec<usize> = (0..events.len()).filter(|partition| partition % worker.peers() == worker.index()).collect();
        let queue = batches(&events, &own, seed, most, bounded);
        let wiring = wiring(&plan, &events, queue, &shared, &clock, bounded);
        worker.dataflow::<Epoch, _, _>(|scope| build(scope, &lower(&plan), wiring));
    });
    for result in guards.expect("workers start").join() {
        result.expect("no worker panics");
    }
    let mut outcome = std::mem::take(&mut *outcome.lock().expect("no worker panicked"));
    outcome.late.sort();
    outcome
}

/// Cuts the events of some partitions into batches of random sizes, the partitions' batches mixed, with pauses (`None`) between them.
fn batches(events: &[Vec<Event>], own: &[usize], seed: u64, most: u64, bounded: bool) -> VecDeque<Option<Batch>> {
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut done = vec![0; events.len()];
    let mut queue = VecDeque::new();
    let mut open: Vec<usize> = own.to_vec();
    while !open.is_empty() {
        let at = usize::try_from(random(open.len() as u64)).expect("small");
        let partition = open[at];
        let left = events[partition].len() - done[partition];
        let count = usize::try_from(1 + random(most)).expect("small").min(left);
        let (start, end) = (done[partition], done[partition] + count);
        done[partition] = end;
        let is_last = end == events[partition].len();
        let progress = if is_last && bounded { Progress::Finished } else { Progress::Behind(1) };
        queue.push_back(Some(batch(partition, start, &events[partition][start..end], progress)));
        if most == 1 || random(3) == 0 {
            queue.push_back(None);
        }
        if is_last {
            open.remove(at);
        }
    }
    queue
}

fn batch(partition: usize, start: usize, events: &[Event], progress: Progress) -> Batch {
    let text = |of: fn(&Event) -> String| Arc::new(StringArray::from_iter_values(events.iter().map(of))) as Arc<dyn Array>;
    let columns: Vec<(&str, Arc<dyn Array>)> = vec![
        ("time", Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.time)))),
        ("page", text(|event| format!("/{}", event.page))),
        ("user_id", text(|event| format!("u{}", event.user))),
        ("kind", text(|event| if event.kind == 0 { "view".to_owned() } else { "click".to_owned() })),
        ("amount", Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.amount)))),
    ];
    let start = i64::try_from(start).expect("small");
    let end = start + i64::try_from(events.len()).expect("small");
    Batch {
        partition: i32::try_from(partition).expect("small"),
        range: start..end,
        columns: RecordBatch::try_from_iter(columns).expect("columns of one length"),
        offsets: (start..end).collect(),
        max_event_time: events.iter().map(|event| Timestamp(event.time)).max(),
        bytes: events.len() * 100,
        dead: Vec::new(),
        progress,
    }
}

fn wiring(
    plan: &Arc<Plan>,
    events: &[Vec<Event>],
    mut queue: VecDeque<Option<Batch>>,
    outcome: &Arc<Mutex<Outcome>>,
    clock: &Arc<AtomicI64>,
    bounded: bool,
) -> Wiring {
    let partitions = (0..i32::try_from(events.len()).expect("small")).collect();
    let feed = Box::new(move |activator: SyncActivator| {
        let left = Arc::new(AtomicU64::new(queue.len() as u64));
        let told = Arc::clone(&left);
        let next = Box::new(move || {
            let next = queue.pop_front();
            left.store(queue.len() as u64, Ordering::Relaxed);
            // A pause ends this call; the next one comes by itself.
            if next.is_some() || !bounded {
                let _ = activator.activate();
            }
            next.flatten()
        });
        Feed { next, stop: Box::new(move || !bounded && told.load(Ordering::Relaxed) == 0) }
    });
    let (recorded, clock) = (Arc::clone(outcome), Arc::clone(clock));
    let names: Vec<String> = plan.views.iter().map(|view| view.table.name.clone()).collect();
    let views: Vec<usize> = (0..names.len()).collect();
    let table = TableOutlet { name: "tables".to_owned(), views: views.clone(), owner: 0, open: table(plan, views, outcome) };
    Wiring {
        plan: Arc::clone(plan),
        pace: Pace { min: std::time::Duration::ZERO, catch_up: std::time::Duration::ZERO, ..Pace::default() },
        sources: vec![(Lateness { delay: DELAY, idle_timeout: i64::MAX }, partitions, feed)],
        tables: vec![table],
        appends: Vec::new(),
        // Each look at the clock takes a millisecond, so that time passes only when something happens.
        clock: Box::new(move || Timestamp(clock.fetch_add(1000, Ordering::Relaxed))),
        record: Box::new(move |record| recorded.lock().expect("not poisoned").records.push(record.clone())),
        keys: Arc::new(|_, _| {}),
    }
}

/// A sink that commits at once, and keeps tables as text.
fn table(
    plan: &Arc<Plan>,
    views: Vec<usize>,
    outcome: &Arc<Mutex<Outcome>>,
) -> Box<dyn FnOnce(SyncActivator) -> Outlet<SinkEpoch>> {
    let (plan, outcome) = (Arc::clone(plan), Arc::clone(outcome));
    Box::new(move |_| {
        let mut coalescer = Coalescer::new(&plan, &views);
        let finished = Arc::new(AtomicU64::new(0));
        let done = Arc::clone(&finished);
        let send = Box::new(move |epoch: SinkEpoch| {
            coalescer.take(epoch);
            let commit = coalescer.commit().expect("an epoch was taken");
            apply(&plan, &commit, &mut outcome.lock().expect("not poisoned"));
            done.store(commit.epoch + 1, Ordering::Relaxed);
        });
        Outlet { send, finished: Box::new(move || finished.load(Ordering::Relaxed)) }
    })
}

fn apply(plan: &Plan, commit: &Commit, outcome: &mut Outcome) {
    for changes in &commit.views {
        let table = &plan.views[changes.view].table;
        let held = outcome.tables.entry(table.name.clone()).or_default();
        for row in 0..changes.deletes.num_rows() {
            held.remove(&text(&changes.deletes, &(0..table.key.len()).collect::<Vec<_>>(), row));
        }
        for row in 0..changes.upserts.num_rows() {
            let all: Vec<usize> = (0..table.columns.len()).collect();
            held.insert(text(&changes.upserts, &table.key, row), text(&changes.upserts, &all, row));
        }
    }
    let late = commit.late.iter().map(|late| (late.view.clone(), late.partition, late.offset, late.window_start.0));
    outcome.late.extend(late);
    for row in &commit.ledger {
        let Some(sum) = outcome.ledger.iter_mut().find(|sum| sum.view == row.view) else {
            outcome.ledger.push(row.clone());
            continue;
        };
        sum.read += row.read;
        sum.counted += row.counted;
        sum.filtered += row.filtered;
        sum.late += row.late;
        sum.dead_letters += row.dead_letters;
    }
}

fn text(batch: &RecordBatch, columns: &[usize], row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let column = |&column: &usize| {
        let array = batch.column(column);
        match array.as_any().downcast_ref::<TimestampMicrosecondArray>() {
            Some(times) => times.value(row).to_string(),
            None => ArrayFormatter::try_new(array, &options).expect("a plain column").value(row).to_string(),
        }
    };
    columns.iter().map(column).collect::<Vec<_>>().join("|")
}
