//! Runs a job in memory: events in, tables out, with epochs cut at random places.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_dataflows::build::{TableOutlet, Wiring, build};
use freshet_dataflows::coalesce::Coalescer;
use freshet_dataflows::epochs::pacing::Pace;
use freshet_dataflows::epochs::sequencer::{Begin, Options};
use freshet_dataflows::epochs::watermark::Lateness;
use freshet_dataflows::epochs::{Checkpoint, Cut, EpochRecord, LogEntry, Start};
use freshet_dataflows::keys::key_hash;
use freshet_dataflows::lower::lower;
use freshet_dataflows::operators::drain::SinkEpoch;
use freshet_dataflows::operators::source::Feed;
use freshet_dataflows::outlet::Outlet;
use freshet_dataflows::plan::{Emit, Input, Plan, SourcePlan};
use freshet_dataflows::saving::{Restore, Save, SaveOutlet, Stores};
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

/// What outlives a run: the sink with the epoch that it holds, the epoch log, and checkpoints with the states of each fold.
#[derive(Default)]
struct World {
    outcome: Outcome,
    held: Option<Epoch>,
    log: Vec<LogEntry>,
    saving: BTreeMap<(Epoch, usize), States>,
    checkpoints: Vec<(Checkpoint, BTreeMap<usize, States>)>,
}

type States = BTreeMap<Vec<u8>, Vec<u8>>;

/// One run of a job.
#[derive(Clone, Copy)]
struct Run {
    workers: usize,
    /// Decides where epochs are cut.
    seed: u64,
    /// The most events of a batch.
    most: u64,
    bounded: bool,
    /// The run is killed when its sink is given this epoch.
    killed_at: Option<Epoch>,
}

/// Runs views over the events of each partition; `seed` decides where epochs are cut.
pub(crate) fn run(views: &[(&str, &str)], events: &[Vec<Event>], workers: usize, seed: u64, bounded: bool) -> Outcome {
    outcome_of(views, events, &[Run { workers, seed, most: 5, bounded, killed_at: None }])
}

/// The same on one worker, with an epoch for each event.
pub(crate) fn run_cut_after_each(views: &[(&str, &str)], events: &[Vec<Event>]) -> Outcome {
    outcome_of(views, events, &[Run { workers: 1, seed: 0, most: 1, bounded: true, killed_at: None }])
}

/// The same, killed again and again and begun anew with these numbers of workers.
pub(crate) fn run_with_crashes(views: &[(&str, &str)], events: &[Vec<Event>], workers: &[usize], seed: u64) -> Outcome {
    let run = |(index, &workers): (usize, &usize)| {
        let seed = seed.wrapping_add(index as u64);
        Run { workers, seed, most: 5, bounded: true, killed_at: Some(4 * (index as u64 + 1) + seed % 4) }
    };
    let mut runs: Vec<Run> = workers.iter().enumerate().map(run).collect();
    runs.last_mut().expect("a run").killed_at = None;
    outcome_of(views, events, &runs)
}

fn outcome_of(views: &[(&str, &str)], events: &[Vec<Event>], runs: &[Run]) -> Outcome {
    let world: Arc<Mutex<World>> = Arc::default();
    let clock = Arc::new(AtomicI64::new(0));
    let plan = Arc::new(planned(views));
    for run in runs {
        execute(&plan, events, *run, &world, &clock);
    }
    let mut world = world.lock().expect("no worker panicked");
    let mut outcome = std::mem::take(&mut world.outcome);
    outcome.late.sort();
    outcome.records = world.log.iter().filter_map(record).cloned().collect();
    outcome
}

fn record(entry: &LogEntry) -> Option<&EpochRecord> {
    if let LogEntry::Epoch(record) = entry { Some(record) } else { None }
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

/// What all workers of a run know.
struct Shared {
    plan: Arc<Plan>,
    events: Vec<Vec<Event>>,
    run: Run,
    world: Arc<Mutex<World>>,
    clock: Arc<AtomicI64>,
    killed: AtomicBool,
    checkpoint: Option<(Checkpoint, BTreeMap<usize, States>)>,
    /// What the log tells after the checkpoint.
    repeat: Vec<LogEntry>,
    held: Option<Epoch>,
}

impl Shared {
    /// Takes the newest checkpoint that the sink is not behind, or an older one.
    fn begin(plan: &Arc<Plan>, events: &[Vec<Event>], run: Run, world: &Arc<Mutex<World>>, clock: &Arc<AtomicI64>) -> Shared {
        let mut state = world.lock().expect("no worker panicked");
        let time = Timestamp(clock.fetch_add(1000, Ordering::Relaxed));
        let partitions = vec![(0..i32::try_from(events.len()).expect("small")).collect()];
        state.log.push(LogEntry::Start(Start { time, partitions }));
        let held = state.held;
        let mut usable = state.checkpoints.iter().rev().filter(|(checkpoint, _)| Some(checkpoint.epoch) <= held);
        let checkpoint = usable.nth(usize::try_from(run.seed % 2).expect("small")).cloned();
        let after = checkpoint.as_ref().map_or(0, |(checkpoint, _)| {
            let is_it = |entry: &LogEntry| record(entry).is_some_and(|record| record.epoch == checkpoint.epoch);
            state.log.iter().position(is_it).expect("the log has the checkpoint's epoch") + 1
        });
        Shared {
            plan: Arc::clone(plan),
            events: events.to_vec(),
            run,
            world: Arc::clone(world),
            clock: Arc::clone(clock),
            killed: AtomicBool::new(false),
            checkpoint,
            repeat: state.log[after..].to_vec(),
            held,
        }
    }

    fn first(&self) -> (Epoch, Vec<Timestamp>) {
        let begin = |(checkpoint, _): &(Checkpoint, _)| (checkpoint.epoch + 1, checkpoint.seal.watermarks.clone());
        self.checkpoint.as_ref().map_or((0, vec![Timestamp::MIN]), begin)
    }

    fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }
}

fn execute(plan: &Arc<Plan>, events: &[Vec<Event>], run: Run, world: &Arc<Mutex<World>>, clock: &Arc<AtomicI64>) {
    let shared = Arc::new(Shared::begin(plan, events, run, world, clock));
    let guards = timely::execute(timely::Config::process(run.workers), move |worker| {
        let wiring = wiring(&shared, worker.index());
        worker.dataflow::<Epoch, _, _>(|scope| build(scope, &lower(&shared.plan), wiring));
        while worker.has_dataflows() {
            if shared.is_killed() {
                worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
                return;
            }
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
    });
    for result in guards.expect("workers start").join() {
        result.expect("no worker panics");
    }
}

/// Cuts the events of some partitions, each from an offset on, into batches of random sizes, the partitions' batches mixed, with pauses
/// (`None`) between them.
fn batches(events: &[Vec<Event>], own: &[(usize, usize)], run: Run) -> VecDeque<Option<Batch>> {
    let Run { seed, most, bounded, .. } = run;
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut done = vec![0; events.len()];
    own.iter().for_each(|&(partition, start)| done[partition] = start);
    let mut queue = VecDeque::new();
    let mut open: Vec<usize> = own.iter().map(|(partition, _)| *partition).collect();
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

fn wiring(shared: &Arc<Shared>, worker: usize) -> Wiring {
    let is_shown = |view: &usize| shared.plan.views[*view].part_of.is_none();
    let tables: Vec<Input> = (0..shared.plan.views.len()).filter(is_shown).map(Input::View).collect();
    let table = TableOutlet { name: "tables".to_owned(), tables: tables.clone(), owner: 0, open: table(shared, tables) };
    Wiring {
        plan: Arc::clone(&shared.plan),
        sequencer: (worker == 0).then(|| sequencer(shared)),
        first: shared.first(),
        sources: vec![feed(shared, worker)],
        tables: vec![table],
        appends: Vec::new(),
        stores: stores(shared),
        keys: Arc::new(|_, _| {}),
    }
}

fn sequencer(shared: &Arc<Shared>) -> Options {
    let clock = Arc::clone(&shared.clock);
    let (world, checkpoints) = (Arc::clone(shared), Arc::clone(shared));
    let durable = Arc::new(AtomicU64::new(0));
    let logged = Arc::clone(&durable);
    let send = Box::new(move |record: EpochRecord| {
        let mut world = world.world.lock().expect("not poisoned");
        logged.store(record.epoch + 1, Ordering::Relaxed);
        world.log.push(LogEntry::Epoch(record));
    });
    let checkpointed = Box::new(move |checkpoint: Checkpoint| {
        let mut world = checkpoints.world.lock().expect("not poisoned");
        let of_this = std::mem::take(&mut world.saving).into_iter().filter(|((epoch, _), _)| *epoch == checkpoint.epoch);
        let states = of_this.map(|((_, fold), states)| (fold, states)).collect();
        world.checkpoints.push((checkpoint, states));
    });
    Options {
        pace: Pace { min: Duration::ZERO, catch_up: Duration::ZERO, ..Pace::default() },
        sources: vec![Lateness { delay: DELAY, idle_timeout: i64::MAX }],
        // Each look at the clock takes a millisecond, so that time passes only when something happens.
        clock: Box::new(move || Timestamp(clock.fetch_add(1000, Ordering::Relaxed))),
        begin: Begin { checkpoint: shared.checkpoint.as_ref().map(|(known, _)| known.clone()), repeat: shared.repeat.clone() },
        log: Box::new(move |_| Outlet { send, finished: Box::new(move || durable.load(Ordering::Relaxed)) }),
        checkpoint_interval: Some(Duration::from_millis(5)),
        checkpointed,
        diverged: Box::new(|divergence| panic!("{divergence:?}")),
    }
}

fn feed(shared: &Arc<Shared>, worker: usize) -> Box<dyn FnOnce(SyncActivator) -> Feed> {
    let run = shared.run;
    let own: Vec<usize> = (0..shared.events.len()).filter(|partition| partition % run.workers == worker).collect();
    let cuts = |entry| record(entry).into_iter().flat_map(|record| &record.cuts).filter(|cut| cut.end > cut.start);
    let start = |&partition: &usize| {
        let id = i32::try_from(partition).expect("small");
        let known = shared.checkpoint.as_ref().and_then(|(checkpoint, _)| checkpoint.ends[0].get(&id).copied());
        let logged = || shared.repeat.iter().flat_map(cuts).find(|cut| cut.partition == id).map(|cut| cut.start);
        (partition, usize::try_from(known.or_else(logged).unwrap_or(0)).expect("not negative"))
    };
    let mut queue = batches(&shared.events, &own.iter().map(start).collect::<Vec<_>>(), run);
    let planned = shared.repeat.iter().filter_map(record).map(|record| {
        let is_own = |cut: &&Cut| cut.end > cut.start && own.contains(&usize::try_from(cut.partition).expect("not negative"));
        (record.epoch, record.cuts.iter().filter(is_own).map(|cut| (cut.partition, cut.end)).collect())
    });
    let planned = planned.collect();
    Box::new(move |activator: SyncActivator| {
        let left = Arc::new(AtomicU64::new(queue.len() as u64));
        let told = Arc::clone(&left);
        let next = Box::new(move || {
            let next = queue.pop_front();
            left.store(queue.len() as u64, Ordering::Relaxed);
            // A pause ends this call; the next one comes by itself.
            if next.is_some() || !run.bounded {
                let _ = activator.activate();
            }
            next.flatten()
        });
        Feed { next, stop: Box::new(move || !run.bounded && told.load(Ordering::Relaxed) == 0), planned, time_column: Some(0) }
    })
}

/// Keeps states in memory.
fn stores(shared: &Arc<Shared>) -> Stores {
    let (restored, saved) = (Arc::clone(shared), Arc::clone(shared));
    let restore = move |fold: usize, hashes: RangeInclusive<u64>| -> Restore {
        let states = restored.checkpoint.as_ref().and_then(|(_, states)| states.get(&fold)).cloned().unwrap_or_default();
        Box::new(states.into_iter().filter(move |(key, _)| hashes.contains(&key_hash(key))))
    };
    let save = move |fold: usize, _: RangeInclusive<u64>| -> Box<dyn FnOnce(SyncActivator) -> SaveOutlet> {
        let saved = Arc::clone(&saved);
        Box::new(move |activator| {
            let finished = Arc::new(AtomicU64::new(0));
            let done = Arc::clone(&finished);
            let send = Box::new(move |save| {
                let mut world = saved.world.lock().expect("not poisoned");
                match save {
                    Save::States(epoch, states) => {
                        let held = world.saving.entry((epoch, fold)).or_default();
                        held.extend(states.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
                    }
                    Save::End(epoch) => done.store(epoch + 1, Ordering::Relaxed),
                }
                let _ = activator.activate();
            });
            SaveOutlet { send, has_room: Box::new(|| true), finished: Box::new(move || finished.load(Ordering::Relaxed)) }
        })
    };
    Stores { restore: Box::new(restore), save: Box::new(save) }
}

/// A sink that commits at once what it does not hold, and keeps tables as text.
fn table(shared: &Arc<Shared>, tables: Vec<Input>) -> Box<dyn FnOnce(SyncActivator) -> Outlet<SinkEpoch>> {
    let shared = Arc::clone(shared);
    Box::new(move |_| {
        let mut coalescer = Coalescer::new(&shared.plan, &tables);
        let finished = Arc::new(AtomicU64::new(shared.held.map_or(0, |held| held + 1)));
        let done = Arc::clone(&finished);
        let send = Box::new(move |epoch: SinkEpoch| {
            if shared.run.killed_at.is_some_and(|last| epoch.epoch >= last) {
                shared.killed.store(true, Ordering::Relaxed);
            }
            if shared.is_killed() || Some(epoch.epoch) <= shared.held {
                return;
            }
            coalescer.take(epoch);
            let commit = coalescer.commit().expect("an epoch was taken");
            let mut world = shared.world.lock().expect("not poisoned");
            world.held = Some(commit.epoch);
            apply(&shared.plan, &tables, &commit, &mut world.outcome);
            done.store(commit.epoch + 1, Ordering::Relaxed);
        });
        Outlet { send, finished: Box::new(move || finished.load(Ordering::Relaxed)) }
    })
}

fn apply(plan: &Plan, tables: &[Input], commit: &Commit, outcome: &mut Outcome) {
    for changes in &commit.views {
        let table = plan.table(tables[changes.view]);
        let held = outcome.tables.entry(table.name.clone()).or_default();
        for row in 0..changes.deletes.num_rows() {
            held.remove(&text(&changes.deletes, &(0..table.key.len()).collect::<Vec<_>>(), row));
        }
        for row in 0..changes.upserts.num_rows() {
            let all = text(&changes.upserts, &(0..table.columns.len()).collect::<Vec<_>>(), row);
            let key = if table.keeps_all() { nth(held, &all) } else { text(&changes.upserts, &table.key, row) };
            held.insert(key, all);
        }
    }
    let late = commit.late().map(|(_, late)| (late.view.clone(), late.partition, late.offset, late.window_start.0));
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

/// Names one of several equal rows by the row and its number among them.
pub(crate) fn nth(held: &Table, row: &str) -> String {
    let taken = |number: &usize| held.contains_key(&format!("{row} #{number}"));
    format!("{row} #{}", (0..).find(|number| !taken(number)).expect("numbers do not end"))
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
