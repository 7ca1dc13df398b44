//! One writer for the rows of all workers of a process that go into one file.
//!
//! Where rows of several workers lie one behind the other, the length of the file says nothing about one of them. So rows wait in memory until
//! *all* workers have sealed their epoch, and are then written epoch by epoch and, within one, partition by partition. At any moment the file
//! holds all rows up to one epoch and none of a later one; and its bytes do not depend on the number of workers, nor on crashes.
//!
//! Memory: the rows of the epochs that some worker has not sealed, of which the dataflow bounds the number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use freshet_model::{Epoch, PartitionId};

use super::paths::parent;
use super::store::Store;
use crate::{Error, SinkOptions};

/// The writers of this process, by file.
static WRITERS: Mutex<BTreeMap<PathBuf, Weak<Mutex<Writer>>>> = Mutex::new(BTreeMap::new());

/// A file that several sinks write.
struct Writer {
    thing: String,
    path: PathBuf,
    /// `None` once a newer generation in this process has taken the file.
    store: Option<Store>,
    generation: u64,
    members: Vec<Member>,
    /// Rows that wait for their epoch.
    waiting: BTreeMap<(Epoch, PartitionId), Vec<u8>>,
    /// The newest epoch whose rows have been written; they are durable only when the store says so.
    written: Option<Epoch>,
}

/// What one of the sinks has said.
struct Member {
    sealed: Option<Epoch>,
    flushed: Option<Epoch>,
    closed: bool,
}

/// One sink's share in a file.
pub(super) struct Share {
    writer: Arc<Mutex<Writer>>,
    index: usize,
    /// The newest epoch that was in the file at the start.
    held: Option<Epoch>,
}

impl Share {
    /// Joins the writer of a file, or makes it. All sinks of a file join before the first of them writes.
    pub(super) fn join(thing: &str, path: &Path, options: &SinkOptions) -> Result<Share, Error> {
        let mut writers = lock(&WRITERS);
        // A folder has one name for all who join only once it is there; why it cannot be made is told when the file is opened.
        let _ = std::fs::create_dir_all(parent(path));
        let key = parent(path).canonicalize().unwrap_or_default().join(path.file_name().unwrap_or_default());
        writers.retain(|_, writer| writer.strong_count() > 0);
        if let Some(writer) = writers.get(&key).and_then(Weak::upgrade) {
            let mut open = lock(&writer);
            if open.generation >= options.generation {
                let index = open.join(thing, options)?;
                let held = open.written;
                drop(open);
                return Ok(Share { writer, index, held });
            }
            // What is left of an earlier start in this process cannot write any more.
            open.store = None;
        }
        let store = Store::open(thing, &[path.to_path_buf()], options)?;
        let held = store.held();
        let mut writer = Writer {
            thing: thing.to_owned(),
            path: path.to_path_buf(),
            generation: store.generation(),
            store: Some(store),
            members: Vec::new(),
            waiting: BTreeMap::new(),
            written: held,
        };
        let index = writer.join(thing, options)?;
        let writer = Arc::new(Mutex::new(writer));
        writers.insert(key, Arc::downgrade(&writer));
        Ok(Share { writer, index, held })
    }

    /// Returns the newest epoch whose rows the file held at the start.
    pub(super) fn held(&self) -> Option<Epoch> {
        self.held
    }

    /// Takes lines of a partition in an epoch; those of an epoch that the file holds are in it already.
    pub(super) fn write(&self, epoch: Epoch, partition: PartitionId, lines: &[u8]) {
        if self.held.is_none_or(|held| epoch > held) {
            lock(&self.writer).waiting.entry((epoch, partition)).or_default().extend_from_slice(lines);
        }
    }

    /// Says that the sink has given all its rows up to an epoch.
    pub(super) fn seal(&self, epoch: Epoch) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        let sealed = &mut writer.members[self.index].sealed;
        *sealed = (*sealed).max(Some(epoch));
        writer.advance()
    }

    /// Makes the rows up to an epoch durable, once all sinks of the file have asked for it.
    pub(super) fn flush(&self, epoch: Epoch) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        let flushed = &mut writer.members[self.index].flushed;
        *flushed = (*flushed).max(Some(epoch));
        writer.commit()
    }

    /// Leaves before anything has been written, so that the others need not wait for this sink.
    pub(super) fn leave(self) {
        let mut writer = lock(&self.writer);
        if writer.written == self.held && writer.waiting.is_empty() {
            writer.members[self.index].closed = true;
        }
    }

    /// Says that the sink will give no more.
    pub(super) fn close(&self) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        writer.members[self.index].closed = true;
        writer.advance()?;
        writer.commit()
    }
}

impl Writer {
    fn join(&mut self, thing: &str, options: &SinkOptions) -> Result<usize, Error> {
        if self.generation > options.generation {
            return Err(self.fenced());
        }
        if self.thing != thing {
            let problem = format!("{} is written by {} too", self.path.display(), self.thing);
            return Err(Error::setup(thing, problem, "let each sink write a file of its own"));
        }
        let held = self.store.as_ref().and_then(Store::held);
        if self.written != held || !self.waiting.is_empty() {
            return Err(Error::setup(thing, format!("{} is being written", self.path.display()), "restart the job"));
        }
        self.members.push(Member { sealed: held, flushed: held, closed: false });
        Ok(self.members.len() - 1)
    }

    fn fenced(&self) -> Error {
        Error::fenced(&self.thing, format!("a newer start of the job writes {}", self.path.display()))
    }

    /// Returns the newest epoch that all sinks have reached; when all have closed, the newest of any.
    fn reached(&self, of: fn(&Member) -> Option<Epoch>) -> Option<Epoch> {
        let open = self.members.iter().filter(|member| !member.closed).map(of).min();
        open.unwrap_or_else(|| self.members.iter().map(|member| member.sealed).max().flatten())
    }

    /// Writes the rows of the epochs that all sinks have sealed.
    fn advance(&mut self) -> Result<(), Error> {
        let sealed = self.reached(|member| member.sealed);
        let fenced = self.fenced();
        let Some(store) = &mut self.store else { return Err(fenced) };
        let file = store.file(&self.path)?;
        if sealed > self.written {
            while let Some(rows) = self.waiting.first_entry().filter(|rows| Some(rows.key().0) <= sealed) {
                file.lines().extend_from_slice(&rows.remove());
            }
            self.written = sealed;
            file.flush_if_due()?;
            return store.check();
        }
        file.flush_if_due()
    }

    /// Makes what has been written durable, if that is news and all sinks have asked for it.
    fn commit(&mut self) -> Result<(), Error> {
        let asked = self.reached(|member| member.flushed);
        let fenced = self.fenced();
        let Some(store) = &mut self.store else { return Err(fenced) };
        match self.written {
            Some(written) if asked > store.held() => store.commit(written),
            _ => Ok(()),
        }
    }
}

/// Locks what no panic can leave half-changed in a way that counts: the files are judged by what was stored of them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
