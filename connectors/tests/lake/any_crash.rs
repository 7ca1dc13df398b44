//! Random writes, seals, flushes and rolls by generations of one to three workers, each of which is killed, fails at some step of a commit, goes on
//! as a zombie, or ends well. After every single call a reader looks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fail::FailScenario;
use freshet_connectors::parquet::ParquetSink;
use freshet_connectors::{BatchSink, Error, SinkOptions};
use freshet_model::{Epoch, PartitionId};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::{HOUR, NINE, POINTS, batch, lake, list, numbers, open, options, table};

const PARTITIONS: PartitionId = 3;
const EPOCHS: Epoch = 12;
/// Rows come so many epochs before their seal.
const AHEAD: Epoch = 3;

/// The rows of each epoch and partition: what the lake has to hold in the end.
type Input = BTreeMap<(Epoch, PartitionId), Vec<(i64, i64)>>;

#[derive(Debug, Clone, Copy)]
enum Call {
    Write,
    Seal,
    Flush,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Killed,
    Zombie,
    Closed,
}

/// One incarnation of the job.
#[derive(Debug, Clone)]
struct Run {
    workers: usize,
    roll_bytes: u64,
    roll_interval: Duration,
    calls: Vec<(usize, Call)>,
    /// A step that fails when it is reached for the n-th time.
    fault: Option<(&'static str, u8)>,
    /// After how many calls older generations stir.
    zombies_stir: usize,
    end: End,
}

fn run() -> impl Strategy<Value = Run> {
    let call = prop_oneof![4 => Just(Call::Write), 4 => Just(Call::Seal), 2 => Just(Call::Flush)];
    let fault = prop::option::weighted(0.6, (prop::sample::select(&POINTS[..]), 0..6_u8));
    let end = prop_oneof![2 => Just(End::Killed), 2 => Just(End::Zombie), 1 => Just(End::Closed)];
    let roll = prop_oneof![Just((1, 3600)), Just((1500, 3600)), Just((1 << 30, 0)), Just((1 << 30, 3600))];
    (1..4_usize, roll, prop::collection::vec((0..3_usize, call), 0..40), fault, 1..10_usize, end).prop_map(
        |(workers, (roll_bytes, roll_s), calls, fault, zombies_stir, end)| {
            let roll_interval = Duration::from_secs(roll_s);
            Run { workers, roll_bytes, roll_interval, calls, fault, zombies_stir, end }
        },
    )
}

fn input() -> impl Strategy<Value = Input> {
    let cells = (1..=EPOCHS).flat_map(|epoch| (0..PARTITIONS).map(move |partition| (epoch, partition)));
    let cells: Vec<_> = cells.collect();
    prop::collection::vec(prop::collection::vec(0..2 * HOUR, 0..4), cells.len()).prop_map(move |times| {
        let mut next = 0..;
        let number = |time| (NINE + time, next.next().unwrap());
        let mut number = number;
        let rows = times.into_iter().map(|times| times.into_iter().map(&mut number).collect());
        cells.iter().copied().zip(rows.collect::<Vec<_>>()).collect()
    })
}

/// A worker of one generation, with its part of the partitions.
struct Worker {
    sink: ParquetSink,
    partitions: Vec<PartitionId>,
    held: BTreeMap<PartitionId, Epoch>,
    /// The epoch that is being written, and whether its first half has been.
    next: Epoch,
    half: bool,
    sealed: Epoch,
}

impl Worker {
    fn start(root: &Path, options: SinkOptions, own: usize, of: usize) -> Result<Worker, Error> {
        let partitions: Vec<PartitionId> = (0..PARTITIONS).filter(|partition| *partition as usize % of == own).collect();
        let mut sink = open(root, options);
        let held = sink.prepare(&table(), &partitions)?;
        // A job replays from the oldest epoch that some partition lacks.
        let sealed = partitions.iter().map(|partition| held.get(partition).copied().unwrap_or(0)).min().unwrap_or(0);
        Ok(Worker { sink, partitions, held, next: sealed + 1, half: false, sealed })
    }

    fn call(&mut self, input: &Input, call: Call) -> Result<(), Error> {
        match call {
            Call::Write if self.next <= EPOCHS.min(self.sealed + AHEAD) => {
                for partition in &self.partitions {
                    if self.held.get(partition).is_none_or(|held| *held < self.next) {
                        let rows = &input[&(self.next, *partition)];
                        let (first, second) = rows.split_at(rows.len() / 2);
                        self.sink.write(self.next, *partition, &batch(if self.half { second } else { first }))?;
                    }
                }
                self.next += Epoch::from(self.half);
                self.half = !self.half;
                Ok(())
            }
            Call::Seal if self.sealed + 1 < self.next => {
                self.sealed += 1;
                self.sink.seal(self.sealed)
            }
            Call::Flush => self.sink.flush(self.sealed),
            Call::Write | Call::Seal => Ok(()),
        }
    }

    /// Ends well, after a whole epoch.
    fn close(&mut self, input: &Input) -> Result<(), Error> {
        while self.half {
            self.call(input, Call::Write)?;
        }
        self.sink.close()
    }
}

/// Looks at the lake again and again: what has been seen stays, and no number is seen twice.
#[derive(Default)]
struct Observer {
    files: BTreeSet<PathBuf>,
    numbers: BTreeSet<i64>,
}

impl Observer {
    fn look(&mut self, root: &Path) -> Result<(), TestCaseError> {
        let files: BTreeSet<PathBuf> = list(root, false).into_iter().collect();
        prop_assert!(self.files.is_subset(&files), "a file is gone");
        for file in files.difference(&self.files) {
            for number in numbers(file) {
                prop_assert!(self.numbers.insert(number), "{number} is there twice, the second time in {}", file.display());
            }
        }
        self.files = files;
        Ok(())
    }
}

struct World {
    root: TempDir,
    input: Input,
    observer: Observer,
    zombies: Vec<Worker>,
    generation: u64,
}

impl World {
    fn start(&mut self, run: &Run) -> Result<Vec<Worker>, Error> {
        self.generation += 1;
        let Run { workers, roll_bytes, roll_interval, .. } = *run;
        let options = SinkOptions { roll_bytes, roll_interval, ..options(self.generation) };
        (0..workers).map(|own| Worker::start(self.root.path(), options.clone(), own, workers)).collect()
    }

    fn live(&mut self, run: &Run) -> Result<(), TestCaseError> {
        if let (true, Some((point, times))) = (fail::has_failpoints(), run.fault) {
            fail::cfg(point, &format!("{times}*off->1*return->off")).unwrap();
        }
        let started = self.start(run);
        self.observer.look(self.root.path())?;
        let Ok(mut workers) = started else { return Ok(()) };
        let mut end = run.end;
        for (at, &(worker, call)) in run.calls.iter().enumerate() {
            let failed = workers[worker % run.workers].call(&self.input, call).is_err();
            self.observer.look(self.root.path())?;
            if at % run.zombies_stir == 0 {
                self.stir(call)?;
            }
            if failed {
                end = if end == End::Closed { End::Killed } else { end };
                break;
            }
        }
        match end {
            End::Killed => {}
            End::Zombie => self.zombies.append(&mut workers),
            End::Closed => workers.iter_mut().for_each(|worker| drop(worker.close(&self.input))),
        }
        drop(workers);
        self.observer.look(self.root.path())
    }

    /// Lets each zombie do what it would do if it were not one.
    fn stir(&mut self, call: Call) -> Result<(), TestCaseError> {
        for zombie in &mut self.zombies {
            match zombie.call(&self.input, call) {
                Ok(()) | Err(Error::Fenced { .. } | Error::Unavailable { .. }) => {}
                Err(error) => return Err(TestCaseError::fail(format!("a zombie says: {error}"))),
            }
            self.observer.look(self.root.path())?;
        }
        Ok(())
    }

    /// Runs to the end of the input, closes, and lets the zombies close too.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let run = Run {
            workers: 2,
            roll_bytes: 1,
            roll_interval: Duration::ZERO,
            calls: Vec::new(),
            fault: None,
            zombies_stir: 1,
            end: End::Closed,
        };
        for point in POINTS {
            fail::remove(point);
        }
        for worker in &mut self.start(&run).unwrap() {
            while worker.sealed < EPOCHS {
                worker.call(&self.input, Call::Write).unwrap();
                worker.call(&self.input, Call::Write).unwrap();
                worker.call(&self.input, Call::Seal).unwrap();
            }
            worker.sink.close().unwrap();
            self.observer.look(self.root.path())?;
        }
        for mut zombie in self.zombies.drain(..) {
            drop(zombie.sink.close());
            self.observer.look(self.root.path())?;
        }
        let expected: BTreeSet<i64> = self.input.values().flatten().map(|row| row.1).collect();
        prop_assert_eq!(&self.observer.numbers, &expected);
        Ok(())
    }
}

/// Without fail points there is less to find.
fn cases() -> u32 {
    if fail::has_failpoints() { 1000 } else { 200 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::with_cases(cases()) })]
    #[test]
    fn each_row_is_seen_at_most_once_always_and_once_in_the_end(input in input(), runs in prop::collection::vec(run(), 1..6)) {
        let _scenario = FailScenario::setup();
        let root = lake();
        let mut world = World { root, input, observer: Observer::default(), zombies: Vec::new(), generation: 0 };
        for run in &runs {
            world.live(run)?;
        }
        world.finish()?;
    }
}
