//! Tests of the whole crate, each on every kind of place: plain files, objects in memory, objects in files.

mod chain;
mod checkpoints;
mod collecting;
mod damage;
mod generations;
mod zombies;

use std::path::PathBuf;
use std::sync::Arc;

use freshet_model::Epoch;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tempfile::TempDir;

use crate::store::{Objects, Shared, open};
use crate::{Checkpoint, Entry, Error, Log, State};

/// A place for state that is gone after the test.
pub(super) struct Place {
    pub(super) store: Shared,
    folder: Option<TempDir>,
}

impl Place {
    /// State in plain files.
    pub(super) fn disk() -> Place {
        let folder = folder();
        let store = open(&format!("file://{}", folder.path().display())).expect("a store");
        Place { store, folder: Some(folder) }
    }

    /// State in objects, in memory.
    pub(super) fn memory() -> Place {
        let store = Objects::new(Arc::new(InMemory::new()), "some/prefix", "memory").expect("a store");
        Place { store: Arc::new(store), folder: None }
    }

    /// State in objects that are files.
    pub(super) fn local() -> Place {
        let folder = folder();
        let files = LocalFileSystem::new_with_prefix(folder.path()).expect("a store");
        let store = Objects::new(Arc::new(files), "", "local").expect("a store");
        Place { store: Arc::new(store), folder: Some(folder) }
    }

    /// One place of each kind.
    pub(super) fn all() -> [Place; 3] {
        [Place::disk(), Place::memory(), Place::local()]
    }

    /// Starts the job, fencing whoever lives.
    pub(super) fn take_over(&self) -> State {
        State::open_store(self.store.clone(), "job", true).expect("a state")
    }

    /// Starts the job and begins its part of the log.
    pub(super) fn begin(&self) -> State {
        let state = self.take_over();
        let next = state.read_log(0).expect("a log").next;
        state.begin(next, b"start").expect("a beginning");
        state
    }

    /// Reads the log as the next start would.
    pub(super) fn read(&self, from: Epoch) -> Result<Log, Error> {
        crate::log::read(&*self.store, from).map(|chain| chain.log)
    }

    /// Returns the path of a file of the place.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.as_ref().expect("a place of files").path().join(path)
    }

    /// Lists the files of a folder of the place.
    pub(super) fn list(&self, folder: &str) -> Vec<String> {
        self.store.list(folder).expect("a list")
    }
}

/// Makes a folder, in memory where there is one: the tests sync thousands of times, and none of them loses power.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder")
}

/// Epochs with payloads that tell them apart.
pub(super) fn epochs(range: std::ops::Range<Epoch>) -> Vec<(Epoch, Vec<u8>)> {
    range.map(|epoch| (epoch, format!("cut of {epoch}").into_bytes())).collect()
}

/// The epochs of a log, in its order.
pub(super) fn numbers(log: &Log) -> Vec<Epoch> {
    let number = |entry: &Entry| match entry {
        Entry::Epoch { epoch, .. } => Some(*epoch),
        Entry::Start { .. } => None,
    };
    log.entries.iter().filter_map(number).collect()
}

/// Publishes a checkpoint of one fold with one entry.
pub(super) fn publish(state: &State, epoch: Epoch) -> Checkpoint {
    let id = state.checkpoint(epoch);
    let mut part = state.files().part(id, "fold", 0..=u64::MAX).expect("a part");
    part.push(b"some key", &epoch.to_le_bytes()).expect("an entry");
    part.finish().expect("a part");
    state.publish(epoch, &["fold".to_owned()], b"kept").expect("a checkpoint")
}
