//! The tables that streams are enriched from, as the workers of a process share them.
//!
//! ```text
//! process 0: follower ── reads the table; a change becomes a version, durable in the job's state ──▶ shelf
//!                                                            │ newest                                 ▲ │
//! sequencer: a seal names the version of the next epoch ◀────┘                                        │ │
//! operators of every process: ask for the version that a seal names ──▶ loader ── from the state ─────┘ └──▶ rows in memory
//! ```
//!
//! A version is written before the log can name it, and is kept as long as an epoch may be read again that names it: so all processes, and all later runs,
//! find the same rows. A job that keeps no state runs in one process, and has its versions in memory alone.

mod follow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Sender, unbounded};
use freshet_dataflows::epochs::Version;
use freshet_dataflows::lookup::{Lookup, Versions};
use freshet_dataflows::plan::{Derived, Plan, TablePlan};
use freshet_model::ipc;
use freshet_recovery::Files;
use timely::scheduling::SyncActivator;

pub(super) use follow::{Followers, read};

use super::{Error, Shared};

/// The tables of a job in one process.
pub(super) struct Tables {
    shelves: Vec<Arc<Shelf>>,
    /// Takes what is to be loaded; `None` once nobody needs it any more.
    loader: Mutex<Option<Sender<(usize, Version)>>>,
    over: AtomicBool,
}

/// The versions of one table.
struct Shelf {
    plan: TablePlan,
    /// Whether a stream of the job reads it.
    is_read: bool,
    /// Whether what is not in memory can be loaded.
    is_kept: bool,
    /// The newest version that is durable, on process 0.
    newest: AtomicU64,
    held: Mutex<Held>,
}

/// What of a table is in memory.
#[derive(Default)]
struct Held {
    versions: BTreeMap<Version, Arc<Lookup>>,
    /// For each operator that reads the table the version that it has asked for last.
    asked: Vec<Version>,
    /// Operators that wait for the version that they have asked for.
    waiting: BTreeMap<usize, SyncActivator>,
    loading: BTreeSet<Version>,
}

impl Tables {
    pub(super) fn new(plan: &Plan, keeps_state: bool) -> Arc<Tables> {
        let is_read = |index: usize| {
            let reads = |derived: &Derived| matches!(derived, Derived::Enrich { table, .. } if *table == index);
            plan.sources.iter().filter_map(|source| source.derived.as_ref()).any(reads)
        };
        let shelf = |(index, plan): (usize, &TablePlan)| {
            let (is_read, held) = (is_read(index), Mutex::default());
            Arc::new(Shelf { plan: plan.clone(), is_read, is_kept: keeps_state, newest: AtomicU64::new(0), held })
        };
        let shelves = plan.tables.iter().enumerate().map(shelf).collect();
        Arc::new(Tables { shelves, loader: Mutex::new(None), over: AtomicBool::new(false) })
    }

    /// Makes the tables of a run to whose end these versions are in force.
    pub(super) fn of_versions(plan: &Plan, versions: &[Version]) -> Arc<Tables> {
        let tables = Tables::new(plan, true);
        tables.shelves.iter().zip(versions).for_each(|(shelf, version)| shelf.newest.store(*version, Ordering::Release));
        tables
    }

    /// Returns the newest version of each table that is durable; 0 on other processes than the first.
    pub(super) fn newest(&self) -> Vec<Version> {
        self.shelves.iter().map(|shelf| shelf.newest.load(Ordering::Acquire)).collect()
    }

    /// Starts the thread that loads versions from the job's state.
    pub(super) fn load_from(self: &Arc<Self>, files: Option<&Files>, shared: &Arc<Shared>) {
        let Some(files) = files.filter(|_| !self.shelves.is_empty()).cloned() else { return };
        let (sender, receiver) = unbounded::<(usize, Version)>();
        *self.loader.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let (shelves, failed) = (self.shelves.clone(), Arc::clone(shared));
        shared.spawn("load tables", move || {
            for (table, version) in receiver {
                match load(&files, &shelves[table].plan, version) {
                    Ok(lookup) => shelves[table].add(version, Arc::new(lookup)),
                    Err(error) => return failed.fail(error),
                }
            }
        });
    }

    /// Opens the versions of a table for an operator.
    pub(super) fn open(self: &Arc<Self>, table: usize, activator: SyncActivator) -> Versions {
        let (tables, shelf) = (Arc::clone(self), Arc::clone(&self.shelves[table]));
        let reader = shelf.register();
        Box::new(move |version| {
            let (lookup, is_to_be_loaded) = shelf.ask(reader, version, &activator);
            if is_to_be_loaded {
                tables.load(table, version);
            }
            lookup
        })
    }

    fn load(&self, table: usize, version: Version) {
        if let Some(loader) = &*self.loader.lock().unwrap_or_else(PoisonError::into_inner) {
            // If the thread has failed, the process is about to end with its error.
            let _ = loader.send((table, version));
        }
    }

    /// Lets the threads of the tables end: no operator asks any more.
    pub(super) fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.loader.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Shelf {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of a new operator that reads the table.
    fn register(&self) -> usize {
        let mut held = self.held();
        held.asked.push(0);
        held.asked.len() - 1
    }

    /// Puts a version into memory, and wakes those who wait for it.
    fn add(&self, version: Version, lookup: Arc<Lookup>) {
        let mut held = self.held();
        held.versions.insert(version, lookup);
        held.loading.remove(&version);
        let Held { waiting, asked, .. } = &mut *held;
        for (_, activator) in waiting.extract_if(.., |reader, _| asked[*reader] == version) {
            let _ = activator.activate();
        }
        self.prune(&mut held);
    }

    /// Returns a version that is in memory, and otherwise whether it has to be loaded.
    fn ask(&self, reader: usize, version: Version, activator: &SyncActivator) -> (Option<Arc<Lookup>>, bool) {
        let mut held = self.held();
        held.asked[reader] = version;
        if let Some(lookup) = held.versions.get(&version).cloned() {
            self.prune(&mut held);
            return (Some(lookup), false);
        }
        held.waiting.insert(reader, activator.clone());
        (None, held.loading.insert(version))
    }

    /// Lets go of versions that nobody asks for any more, and of those that can be loaded again. The newest stays, since it is about to be asked for.
    fn prune(&self, held: &mut Held) {
        let Held { versions, asked, .. } = held;
        let newest = versions.last_key_value().map_or(0, |(version, _)| *version);
        // At the start not all operators have asked yet.
        let oldest = if self.is_read { asked.iter().copied().min().unwrap_or(0) } else { newest };
        let is_wanted = |version: Version| version == newest || asked.contains(&version) || (!self.is_kept && version >= oldest);
        versions.retain(|version, _| is_wanted(*version));
    }
}

/// Reads a version from the job's state.
fn load(files: &Files, table: &TablePlan, version: Version) -> Result<Lookup, Error> {
    let bytes = files.version(&table.name, version)?;
    let strange =
        |problem: String| Error::OtherVersion(format!("version {version} of table '{}' cannot be read: {problem}", table.name));
    let rows = ipc::columns_of(&bytes).map_err(|error| strange(error.to_string()))?;
    if rows.schema() != table.arrow() {
        return Err(strange("it has other columns".to_owned()));
    }
    Lookup::new(&rows, &table.key).map_err(|no_key| strange(no_key.to_string()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use freshet_model::Column;

    use super::*;

    fn shelf(is_kept: bool) -> Shelf {
        let columns = vec![Column { name: "n".to_owned(), column_type: freshet_model::ColumnType::BigInt }];
        let plan = TablePlan { name: "t".to_owned(), columns, key: vec![0] };
        Shelf { plan, is_read: true, is_kept, newest: AtomicU64::new(0), held: Mutex::default() }
    }

    fn lookup() -> Arc<Lookup> {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("a column");
        Arc::new(Lookup::new(&rows, &[0]).expect("a key"))
    }

    fn versions(shelf: &Shelf) -> Vec<Version> {
        shelf.held().versions.keys().copied().collect()
    }

    #[test]
    fn what_can_be_loaded_again_and_nobody_uses_leaves_memory() {
        let shelf = shelf(true);
        let (one, other) = (shelf.register(), shelf.register());
        shelf.held().asked = vec![1, 2];
        assert_eq!((one, other), (0, 1));
        (1..=5).for_each(|version| shelf.add(version, lookup()));
        assert_eq!(versions(&shelf), [1, 2, 5], "those that are used, and the newest");
    }

    #[test]
    fn what_cannot_be_loaded_stays_until_all_have_passed_it() {
        let unread = Shelf { is_read: false, ..shelf(false) };
        (1..=3).for_each(|version| unread.add(version, lookup()));
        assert_eq!(versions(&unread), [3]);
        let shelf = shelf(false);
        (1..=3).for_each(|version| shelf.add(version, lookup()));
        assert_eq!(versions(&shelf), [1, 2, 3], "nobody has asked yet");
        let _ = (shelf.register(), shelf.register());
        shelf.held().asked = vec![3, 0];
        shelf.add(4, lookup());
        assert_eq!(versions(&shelf), [1, 2, 3, 4]);
        shelf.held().asked = vec![3, 2];
        shelf.add(5, lookup());
        assert_eq!(versions(&shelf), [2, 3, 4, 5]);
    }
}
