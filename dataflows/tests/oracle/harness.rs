//! Runs a job in memory: events in, tables out, with epochs cut at random places.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, RecordBatch, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_dataflows::build::{TableOutlet, Wiring, build};
use freshet_dataflows::coalesce::Coalescer;
use freshet_dataflows::epochs::pacing::Pace;
use freshet_dataflows::epochs::sequencer::{Begin, Options};
use freshet_dataflows::epochs::watermark::Lateness;
use freshet_dataflows::epochs::{Checkpoint, EpochRecord, First, LogEntry, Start, Version};
use freshet_dataflows::keys::key_hash;
use freshet_dataflows::lower::lower;
use freshet_dataflows::operators::drain::SinkEpoch;
use freshet_dataflows::outlet::Outlet;
use freshet_dataflows::plan::{Emit, Input, LatePolicy, Plan, SourcePlan, TablePlan};
use freshet_dataflows::saved::{Conversion, Saved, saved};
use freshet_dataflows::saving::{Restore, Save, SaveOutlet, Stores};
use freshet_dataflows::sql::{Functions, Inputs, ViewDefinition, plan_with};
use freshet_model::{Column, Commit, Epoch, LedgerRow, Timestamp};
use timely::scheduling::SyncActivator;

use crate::feed::feed;
use crate::tables;

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const DELAY: i64 = 2 * MINUTE;
/// So far ahead of its epoch an event may be, where the clock matters.
pub(crate) const SKEW: i64 = 5 * MINUTE;

/// One event; its partition and offset are its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) time: i64,
    pub(crate) page: u8,
    pub(crate) user: u8,
    pub(crate) kind: u8,
    pub(crate) amount: i64,
}

/// The events of one source, by partition.
pub(crate) type Stream = Vec<Vec<Event>>;

/// The sources' names. A run has as many as it is given streams.
const SOURCES: [&str; 2] = ["events", "others"];

/// A table: each row as text by the text of its key.
pub(crate) type Table = BTreeMap<String, String>;

/// Where an event is: partition and offset.
pub(crate) type Place = (i32, i64);

/// Late events as view, partition, offset and window start.
pub(crate) type Late = (String, i32, i64, i64);

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) late: Vec<Late>,
    pub(crate) dead: Vec<Place>,
    pub(crate) ledger: Vec<LedgerRow>,
    pub(crate) records: Vec<EpochRecord>,
    /// How many rows each table was given and has lost, all commits together.
    pub(crate) writes: BTreeMap<String, usize>,
    /// The versions of the tables in the first epoch.
    pub(crate) versions: Vec<Version>,
    /// The number of keys that are kept for each view and stream.
    pub(crate) keys: BTreeMap<Input, i64>,
}

/// What outlives a run: the sink with the epoch that it holds, the epoch log, and checkpoints with the states of each fold.
#[derive(Default)]
struct World {
    outcome: Outcome,
    held: Option<Epoch>,
    log: Vec<LogEntry>,
    saving: BTreeMap<(Epoch, usize), States>,
    checkpoints: Vec<(Checkpoint, BTreeMap<usize, States>)>,
    /// How often the tables have been looked at: they change with it.
    looks: u64,
    /// What the last run computed.
    plan: Option<Arc<Plan>>,
}

pub(crate) type States = BTreeMap<Vec<u8>, Vec<u8>>;

/// How the views over events treat what comes late, and when all views show their rows.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) late: LatePolicy,
    pub(crate) emit: Emit,
}

/// As a job has it that says nothing.
pub(crate) const PLAIN: Manner = Manner { late: LatePolicy::Keep, emit: Emit::Changes };

/// One run of a job.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) manner: Manner,
    pub(crate) workers: usize,
    /// Decides where epochs are cut.
    pub(crate) seed: u64,
    /// The most events of a batch.
    pub(crate) most: u64,
    pub(crate) bounded: bool,
    /// How far ahead of its epoch an event may be.
    pub(crate) skew: i64,
    /// The time that passes with each look at the clock.
    pub(crate) tick: i64,
    /// The run is killed when its sink is given this epoch.
    pub(crate) killed_at: Option<Epoch>,
    /// Called with the tables after each commit.
    pub(crate) each: Option<fn(&BTreeMap<String, Table>)>,
}

impl Default for Run {
    /// Each look at the clock takes a millisecond, so that time passes only when something happens, and no event is too far ahead.
    fn default() -> Run {
        let (skew, tick, killed_at, each) = (i64::MAX, 1000, None, None);
        Run { manner: PLAIN, workers: 1, seed: 0, most: 5, bounded: true, skew, tick, killed_at, each }
    }
}

/// Runs views over the events of each partition of one source; `seed` decides where epochs are cut.
pub(crate) fn run(views: &[(&str, &str)], events: &[Vec<Event>], workers: usize, seed: u64, bounded: bool) -> Outcome {
    outcome_of(views, &[events.to_vec()], &[Run { workers, seed, bounded, ..Run::default() }])
}

/// The same over several sources, to their ends.
pub(crate) fn run_streams(views: &[(&str, &str)], streams: &[Stream], workers: usize, seed: u64) -> Outcome {
    outcome_of(views, streams, &[Run { workers, seed, ..Run::default() }])
}

/// The same on one worker, with an epoch for each event.
pub(crate) fn run_cut_after_each(views: &[(&str, &str)], events: &[Vec<Event>]) -> Outcome {
    outcome_of(views, &[events.to_vec()], &[Run { most: 1, ..Run::default() }])
}

/// The same, killed again and again and begun anew with these numbers of workers.
pub(crate) fn run_with_crashes(views: &[(&str, &str)], events: &[Vec<Event>], workers: &[usize], seed: u64) -> Outcome {
    run_streams_with_crashes(views, &[events.to_vec()], workers, seed)
}

/// The same over several sources.
pub(crate) fn run_streams_with_crashes(views: &[(&str, &str)], streams: &[Stream], workers: &[usize], seed: u64) -> Outcome {
    crash(views, streams, workers, Run { seed, ..Run::default() })
}

/// Runs views of a manner, killed again and again and begun anew with these numbers of workers.
pub(crate) fn run_manner(views: &[(&str, &str)], manner: Manner, events: &[Vec<Event>], workers: &[usize], seed: u64) -> Outcome {
    crash(views, &[events.to_vec()], workers, Run { manner, seed, ..Run::default() })
}

/// Runs views of a manner on one worker: with `bounded` to the end, when all windows close, and with an epoch for each event; else it stops
/// after the last event, which may share its epoch with the one before.
pub(crate) fn run_one_by_one(views: &[(&str, &str)], manner: Manner, bounded: bool, events: &[Vec<Event>]) -> Outcome {
    outcome_of(views, &[events.to_vec()], &[Run { manner, most: 1, bounded, ..Run::default() }])
}

/// The same with a clock that passes the events by, from behind the oldest of them on, and goes on while the job is down.
pub(crate) fn run_with_crashes_beside_the_clock(
    views: &[(&str, &str)],
    events: &[Vec<Event>],
    workers: &[usize],
    seed: u64,
) -> Outcome {
    crash(views, &[events.to_vec()], workers, Run { seed, skew: SKEW, tick: 400_000, ..Run::default() })
}

/// Runs some views over the first so many events of each partition, stops, and goes on with other views. Returns the first epoch of those, too.
pub(crate) fn run_with_other_views(
    [before, after]: [&[(&str, &str)]; 2],
    events: &[Vec<Event>],
    seen: usize,
    seed: u64,
) -> (Outcome, Epoch) {
    let (world, clock) = (Arc::default(), Arc::new(AtomicI64::new(0)));
    let first: Vec<_> = events.iter().map(|events| events[..seen.min(events.len())].to_vec()).collect();
    let first_run = Run { workers: 2, seed, bounded: false, ..Run::default() };
    execute(&Arc::new(planned(before, 1, PLAIN)), &[first], first_run, &world, &clock);
    let since = world.lock().expect("no worker panicked").held.map_or(0, |held| held + 1);
    let second_run = Run { workers: 3, seed, ..Run::default() };
    execute(&Arc::new(planned(after, 1, PLAIN)), &[events.to_vec()], second_run, &world, &clock);
    (outcome(&world), since)
}

/// Runs as `run` says, killed again and again and begun anew with these numbers of workers.
pub(crate) fn crash(views: &[(&str, &str)], streams: &[Stream], workers: &[usize], run: Run) -> Outcome {
    let run = |(index, &workers): (usize, &usize)| {
        let seed = run.seed.wrapping_add(index as u64);
        Run { workers, seed, killed_at: Some(4 * (index as u64 + 1) + seed % 4), ..run }
    };
    let mut runs: Vec<Run> = workers.iter().enumerate().map(run).collect();
    runs.last_mut().expect("a run").killed_at = None;
    outcome_of(views, streams, &runs)
}

fn outcome_of(views: &[(&str, &str)], streams: &[Stream], runs: &[Run]) -> Outcome {
    let world: Arc<Mutex<World>> = Arc::default();
    let clock = Arc::new(AtomicI64::new(0));
    let manner = runs.first().map_or(PLAIN, |run| run.manner);
    let plan = Arc::new(planned(views, streams.len(), manner));
    for run in runs {
        execute(&plan, streams, *run, &world, &clock);
        clock.fetch_add(500 * run.tick, Ordering::Relaxed);
    }
    outcome(&world)
}

fn outcome(world: &Mutex<World>) -> Outcome {
    let mut world = world.lock().expect("no worker panicked");
    let mut outcome = std::mem::take(&mut world.outcome);
    outcome.late.sort();
    outcome.dead.sort_unstable();
    outcome.versions = First::after(None, &world.log, 0).versions;
    outcome.records = world.log.iter().filter_map(record).cloned().collect();
    outcome
}

pub(crate) fn record(entry: &LogEntry) -> Option<&EpochRecord> {
    if let LogEntry::Epoch(record) = entry { Some(record) } else { None }
}

/// Plans views over so many sources. A view that is named `x by a, b` has the key `a, b`.
fn planned(views: &[(&str, &str)], sources: usize, manner: Manner) -> Plan {
    let column = |name: &str, kind: &str| Column { name: name.to_owned(), column_type: kind.parse().expect("a type") };
    let columns = vec![
        column("time", "timestamp"),
        column("page", "text"),
        column("user_id", "text"),
        column("kind", "text"),
        column("amount", "bigint"),
        column("id", "bigint"),
    ];
    let source =
        |name: &&str| SourcePlan { name: (*name).to_owned(), columns: columns.clone(), time_column: Some(0), derived: None };
    let sources: Vec<SourcePlan> = SOURCES[..sources].iter().map(source).collect();
    let view = |(name, sql): &(&str, &str)| {
        let (name, key) = name.split_once(" by ").map_or((*name, Vec::new()), |(name, key)| (name, key.split(", ").collect()));
        // What reads another view has no late events of its own.
        let late = if sql.contains("(events,") { manner.late } else { LatePolicy::Keep };
        let (name, sql, key) = (name.to_owned(), (*sql).to_owned(), key.into_iter().map(str::to_owned).collect());
        ViewDefinition { name, sql, key, emit: manner.emit, late }
    };
    let tables = vec![
        TablePlan { name: "users".to_owned(), columns: tables::users_columns(), key: vec![0] },
        TablePlan { name: "names".to_owned(), columns: tables::names_columns(), key: vec![1, 2] },
    ];
    let views = views.iter().map(view).collect::<Vec<_>>();
    plan_with(&Inputs { sources, tables }, &views, &Functions::new()).expect("the views can be planned")
}

/// What all workers of a run know.
pub(crate) struct Shared {
    plan: Arc<Plan>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) run: Run,
    world: Arc<Mutex<World>>,
    clock: Arc<AtomicI64>,
    killed: AtomicBool,
    pub(crate) checkpoint: Option<(Checkpoint, BTreeMap<usize, States>)>,
    /// What the log tells after the checkpoint.
    pub(crate) repeat: Vec<LogEntry>,
    held: Option<Epoch>,
}

impl Shared {
    /// Takes the newest checkpoint that the sink is not behind, or an older one.
    fn begin(plan: &Arc<Plan>, streams: &[Stream], run: Run, world: &Arc<Mutex<World>>, clock: &Arc<AtomicI64>) -> Shared {
        let mut state = world.lock().expect("no worker panicked");
        let time = Timestamp(clock.fetch_add(1000, Ordering::Relaxed));
        let partitions = streams.iter().map(|events| (0..i32::try_from(events.len()).expect("small")).collect()).collect();
        state.looks += 1;
        let versions = tables::newest(state.looks);
        state.log.push(LogEntry::Start(Start { time, partitions, versions }));
        let held = state.held;
        let mut usable = state.checkpoints.iter().rev().filter(|(checkpoint, _)| Some(checkpoint.epoch) <= held);
        // Other views need the newest one, after which nothing is to be repeated.
        let former = state.plan.clone().filter(|former| !Arc::ptr_eq(former, plan));
        let passed_over = if former.is_some() { 0 } else { usize::try_from(run.seed % 2).expect("small") };
        let mut checkpoint = usable.nth(passed_over).cloned();
        if let (Some(former), Some((_, states))) = (former, &mut checkpoint) {
            *states = converted(states, &former, plan);
        }
        let after = checkpoint.as_ref().map_or(0, |(checkpoint, _)| {
            let is_it = |entry: &LogEntry| record(entry).is_some_and(|record| record.epoch == checkpoint.epoch);
            state.log.iter().position(is_it).expect("the log has the checkpoint's epoch") + 1
        });
        state.plan = Some(Arc::clone(plan));
        Shared {
            plan: Arc::clone(plan),
            streams: streams.to_vec(),
            run,
            world: Arc::clone(world),
            clock: Arc::clone(clock),
            killed: AtomicBool::new(false),
            checkpoint,
            repeat: state.log[after..].to_vec(),
            held,
        }
    }

    fn first(&self) -> First {
        First::after(self.checkpoint.as_ref().map(|(checkpoint, _)| checkpoint), &self.repeat, self.streams.len())
    }

    fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }
}

/// Ends the run for all workers when one of them panics, so that a test fails instead of waiting for it.
struct Together(Arc<Shared>);

impl Drop for Together {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.killed.store(true, Ordering::Relaxed);
        }
    }
}

fn execute(plan: &Arc<Plan>, streams: &[Stream], run: Run, world: &Arc<Mutex<World>>, clock: &Arc<AtomicI64>) {
    let shared = Arc::new(Shared::begin(plan, streams, run, world, clock));
    let guards = timely::execute(timely::Config::process(run.workers), move |worker| {
        let _together = Together(Arc::clone(&shared));
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

fn wiring(shared: &Arc<Shared>, worker: usize) -> Wiring {
    let counting = Arc::clone(shared);
    let is_shown = |view: &usize| shared.plan.views[*view].part_of.is_none();
    let tables: Vec<Input> = (0..shared.plan.views.len()).filter(is_shown).map(Input::View).collect();
    let table = TableOutlet { name: "tables".to_owned(), tables: tables.clone(), owner: 0, open: table(shared, tables) };
    Wiring {
        plan: Arc::clone(&shared.plan),
        sequencer: (worker == 0).then(|| sequencer(shared)),
        first: shared.first(),
        sources: (0..shared.streams.len()).map(|source| feed(shared, source, worker)).collect(),
        versions: Arc::new(tables::versions),
        tables: vec![table],
        appends: Vec::new(),
        stores: stores(shared),
        keys: Arc::new(move |of, change| {
            let mut world = counting.world.lock().expect("not poisoned");
            *world.outcome.keys.entry(of).or_default() += change;
        }),
    }
}

fn sequencer(shared: &Arc<Shared>) -> Options {
    let (clock, tick) = (Arc::clone(&shared.clock), shared.run.tick);
    let (world, checkpoints, looking) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let versions = Box::new(move || {
        let mut world = looking.world.lock().expect("not poisoned");
        world.looks += 1;
        tables::newest(world.looks)
    });
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
        sources: vec![Lateness { delay: DELAY, idle_timeout: i64::MAX }; shared.streams.len()],
        clock: Box::new(move || Timestamp(clock.fetch_add(tick, Ordering::Relaxed))),
        versions,
        begin: Begin {
            checkpoint: shared.checkpoint.as_ref().map(|(known, _)| known.clone()),
            repeat: shared.repeat.clone(),
            ceilings: None,
        },
        log: Box::new(move |_| Outlet { send, finished: Box::new(move || durable.load(Ordering::Relaxed)) }),
        checkpoint_interval: Some(Duration::from_millis(5)),
        checkpointed,
        diverged: Box::new(|divergence| panic!("{divergence:?}")),
    }
}

/// Gives the states that the folds of one plan have saved to those of another.
fn converted(states: &BTreeMap<usize, States>, from: &Plan, to: &Plan) -> BTreeMap<usize, States> {
    let (names, lowered) = (saved(from, &lower(from)), lower(to));
    let convert = |(index, name): (usize, Saved)| {
        let place = name.place_in(&names)?;
        let components = lowered.folds.get(index).into_iter().flat_map(|fold| &fold.components);
        let conversion = Conversion::new(&names[place], &name, components.map(|component| &component.shape));
        let entries = states.get(&place).cloned().unwrap_or_default().into_iter();
        Some((index, entries.filter_map(|(key, value)| Some((key, conversion.convert(value)?))).collect()))
    };
    saved(to, &lowered).into_iter().enumerate().filter_map(convert).collect()
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
            if let Some(each) = shared.run.each {
                each(&world.outcome.tables);
            }
            done.store(commit.epoch + 1, Ordering::Relaxed);
        });
        Outlet { send, finished: Box::new(move || finished.load(Ordering::Relaxed)) }
    })
}

fn apply(plan: &Plan, tables: &[Input], commit: &Commit, outcome: &mut Outcome) {
    for changes in &commit.views {
        let table = plan.table(tables[changes.view]);
        let held = outcome.tables.entry(table.name.clone()).or_default();
        *outcome.writes.entry(table.name.clone()).or_default() += changes.deletes.num_rows() + changes.upserts.num_rows();
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
    outcome.dead.extend(commit.dead().map(|(_, dead)| (dead.partition, dead.offset)));
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
            Some(times) if times.is_valid(row) => times.value(row).to_string(),
            _ => ArrayFormatter::try_new(array, &options).expect("a plain column").value(row).to_string(),
        }
    };
    columns.iter().map(column).collect::<Vec<_>>().join("|")
}
