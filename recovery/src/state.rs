//! A job's durable state as its leader holds it.
//!
//! The order of the calls is that of a start: open (raises the generation), fence every sink, `read_log`, restore, `begin`, and from then
//! on `append`, `publish` and `collect`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use freshet_model::Epoch;

use crate::checkpoint::{Checkpoint, Manifest, collect_parts};
use crate::collect;
use crate::error::Error;
use crate::files::Files;
use crate::log::{self, Chain, Log, Writer};
use crate::names::{self, GENERATIONS};
use crate::owner::Owner;
use crate::point::point;
use crate::store::{self, Claim, Shared, Store};
use crate::tables;

/// So many others may take a generation's number while this one tries to.
const MAX_ATTEMPTS: usize = 100;
/// So many files of generations are kept. One that took the newest number so long ago and has not written it yet finds a later one.
const GENERATIONS_KEPT: u64 = 64;

/// The durable state of a job, held by its leader until dropped. May be shared by threads.
#[derive(Debug)]
pub struct State {
    files: Files,
    generation: u64,
    phase: Mutex<Phase>,
    /// Dropped last: whoever finds it free may write.
    _claim: Box<dyn Claim>,
}

/// How far the start has come.
#[derive(Debug)]
enum Phase {
    Opened,
    Read(Chain),
    Writing(Writer),
    /// A write has failed, and nobody knows what is there. A new generation reads it.
    Stopped,
}

impl State {
    /// Takes the lease of a job's state and durably raises its generation. The URL is as for [`Files::open`].
    ///
    /// With `takeover` the lease of one that lives is passed over: the higher generation fences it.
    ///
    /// # Errors
    /// [`Error::Held`] if another instance lives; the URL is wrong, the place cannot be written, or holds the state of another job.
    pub fn open(url: &str, job: &str, takeover: bool) -> Result<State, Error> {
        State::open_store(store::open(url)?, job, takeover)
    }

    pub(crate) fn open_store(store: Shared, job: &str, takeover: bool) -> Result<State, Error> {
        let files = Files::claim(store, job)?;
        let (generation, claim) = raise(files.store(), job, takeover)?;
        let state = State { files, generation, phase: Mutex::new(Phase::Opened), _claim: claim };
        point!("generation::raised");
        state.check()?;
        Ok(state)
    }

    /// Returns the number of this incarnation: higher than that of every earlier one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns a handle for other threads.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Names the checkpoint of this generation as of an epoch.
    #[must_use]
    pub fn checkpoint(&self, epoch: Epoch) -> Checkpoint {
        Checkpoint { epoch, generation: self.generation }
    }

    /// Checks that no later generation has begun.
    ///
    /// # Errors
    /// [`Error::Fenced`] if one has; the place cannot be read.
    pub fn check(&self) -> Result<(), Error> {
        match newest(self.store())? {
            theirs if theirs > self.generation => {
                Err(Error::Fenced { place: self.store().place().to_owned(), mine: self.generation, theirs })
            }
            _ => Ok(()),
        }
    }

    /// Reads the log from an epoch on, and fixes its end for [`begin`](Self::begin). All sinks must have been fenced: what an older
    /// leader logs after this call is not part of the log, so nothing of it may become visible.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a record is not what was written; the place cannot be read; this generation has begun already.
    pub fn read_log(&self, from: Epoch) -> Result<Log, Error> {
        let mut phase = self.phase();
        if !matches!(*phase, Phase::Opened | Phase::Read(_)) {
            return Err(out_of_order("the log was read", &phase));
        }
        let mut chain = log::read(self.store(), from)?;
        let log = std::mem::take(&mut chain.log);
        chain.log.next = log.next;
        *phase = Phase::Read(chain);
        Ok(log)
    }

    /// Forgets log and checkpoints, durably; the numbers of generations go on. The bytes are deleted by the first
    /// [`collect`](Self::collect) after the new beginning.
    ///
    /// # Errors
    /// [`Error::Fenced`]; the place cannot be written; this generation has begun already.
    pub fn reset(&self) -> Result<(), Error> {
        let mut phase = self.phase();
        if !matches!(*phase, Phase::Opened | Phase::Read(_)) {
            return Err(out_of_order("the state was reset", &phase));
        }
        self.check()?;
        self.store().put_new(&names::reset(self.generation), b"Everything of older generations is forgotten.\n")?;
        *phase = Phase::Read(Chain { base: self.generation, ..Chain::default() });
        Ok(())
    }

    /// Durably begins this incarnation's part of the log with the epoch `next`, which must be [`Log::next`] unless the log is empty, and
    /// with what the incarnation says of itself. What older generations log from now on is not part of the log.
    ///
    /// # Errors
    /// [`Error::Fenced`]; the log has not been read, or goes on elsewhere; the place cannot be written.
    pub fn begin(&self, next: Epoch, payload: &[u8]) -> Result<(), Error> {
        let mut phase = self.phase();
        let Phase::Read(chain) = &*phase else { return Err(out_of_order("a generation was begun", &phase)) };
        if chain.end.is_some() && chain.log.next != next {
            return Err(Error::Order(format!("the log goes on with epoch {}, and was to begin with {next}", chain.log.next)));
        }
        self.check()?;
        let Phase::Read(chain) = std::mem::replace(&mut *phase, Phase::Stopped) else { return Ok(()) };
        *phase = Phase::Writing(Writer::begin(self.store(), self.generation, &chain, next, payload)?);
        Ok(())
    }

    /// Appends consecutive epochs to the log; they are durable on return. One sync for all of them.
    ///
    /// # Errors
    /// [`Error::Fenced`], or epochs that do not follow the last one: nothing has been written. Any other error leaves open what is
    /// there, and this state must be opened anew: further calls are refused.
    pub fn append(&self, epochs: &[(Epoch, Vec<u8>)]) -> Result<(), Error> {
        let mut phase = self.phase();
        let Phase::Writing(writer) = &*phase else { return Err(out_of_order("epochs were logged", &phase)) };
        writer.check(epochs)?;
        self.check()?;
        let Phase::Writing(mut writer) = std::mem::replace(&mut *phase, Phase::Stopped) else { return Ok(()) };
        if !epochs.is_empty() {
            writer.append(self.store(), epochs)?;
        }
        *phase = Phase::Writing(writer);
        Ok(())
    }

    /// Publishes the checkpoint of an epoch: checks that the parts of each fold cover every hash once, and writes the manifest.
    ///
    /// # Errors
    /// [`Error::Incomplete`], [`Error::Fenced`], an epoch that is not in the log yet, or a place that cannot be written: there is no
    /// checkpoint (in the last case nobody knows).
    pub fn publish(&self, epoch: Epoch, folds: &[String], payload: &[u8]) -> Result<Checkpoint, Error> {
        self.writing("a checkpoint was published", |writer| match writer.next() {
            next if epoch < next => Ok(()),
            next => Err(Error::Order(format!("a checkpoint of epoch {epoch} was published, and the log ends before {next}"))),
        })?;
        let id = self.checkpoint(epoch);
        let folds = collect_parts(self.store(), id, folds)?;
        let manifest = Manifest { id, payload: payload.to_vec(), folds };
        point!("checkpoint::before_manifest");
        self.check()?;
        let is_new = self.store().put_new(&names::manifest(id), &manifest.encode())?;
        if !is_new && self.files.manifest(id)? != manifest {
            return Err(Error::Order(format!("the {id} is published already, with other contents")));
        }
        point!("checkpoint::after_manifest");
        self.writing("a checkpoint was published", |writer| {
            writer.roll();
            Ok(())
        })?;
        Ok(id)
    }

    /// Deletes checkpoints older than the newest `keep` (at least one), those that were never finished, and the segments of the log
    /// that lie wholly before the epoch after the oldest one kept. As long as there are fewer checkpoints, the log is kept whole.
    ///
    /// # Errors
    /// [`Error::Fenced`]; the place cannot be written: what is left is collected the next time.
    pub fn collect(&self, keep: usize) -> Result<(), Error> {
        let plan = |writer: &mut Writer| Ok((writer.base, writer.segments.clone()));
        let (base, segments) = self.writing("old state was collected", plan)?;
        self.check()?;
        collect::checkpoints(self.store(), self.generation, base, keep)?;
        point!("collect::half");
        collect::log(self.store(), self.generation, base, keep, &segments)
    }

    /// Durably writes a version of a table, of a name of letters, digits and `_`, unless there is one of this number; tells whether it did. To be called before the
    /// log names it.
    ///
    /// # Errors
    /// [`Error::Fenced`]; the bytes are too many; the place cannot be written.
    pub fn put_version(&self, table: &str, version: u64, bytes: &[u8]) -> Result<bool, Error> {
        self.check()?;
        tables::put(self.store(), table, version, bytes)
    }

    /// Deletes the versions of tables below these, and those of all other tables. None that is deleted may be named by an epoch after the oldest
    /// checkpoint that is kept.
    ///
    /// # Errors
    /// [`Error::Fenced`]; the place cannot be written: what is left is collected the next time.
    pub fn collect_versions(&self, floors: &[(String, u64)]) -> Result<(), Error> {
        self.check()?;
        tables::collect(self.store(), floors)
    }

    /// Lists the published checkpoints, newest first; see [`Files::checkpoints`].
    ///
    /// # Errors
    /// The place cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, Error> {
        self.files.checkpoints()
    }

    /// Reads all bytes of a checkpoint and checks them; see [`Files::verify`].
    ///
    /// # Errors
    /// [`Error::Damaged`], or the place cannot be read.
    pub fn verify(&self, id: Checkpoint) -> Result<Manifest, Error> {
        self.files.verify(id)
    }

    fn store(&self) -> &dyn Store {
        self.files.store()
    }

    /// A panic under the lock leaves `Stopped` behind, never half a change.
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing<T>(&self, what: &str, act: impl FnOnce(&mut Writer) -> Result<T, Error>) -> Result<T, Error> {
        match &mut *self.phase() {
            Phase::Writing(writer) => act(writer),
            phase => Err(out_of_order(what, phase)),
        }
    }
}

fn out_of_order(what: &str, phase: &Phase) -> Error {
    Error::Order(match phase {
        Phase::Opened => format!("{what} before the log was read"),
        Phase::Read(_) => format!("{what} before the generation began"),
        Phase::Writing(_) => format!("{what} after the generation began"),
        Phase::Stopped => format!("{what} after a write had failed; open the state anew"),
    })
}

/// Takes the next generation's number.
fn raise(store: &dyn Store, job: &str, takeover: bool) -> Result<(u64, Box<dyn Claim>), Error> {
    let owner = Owner::this(job);
    for _ in 0..MAX_ATTEMPTS {
        let newest = newest(store)?;
        if !takeover && let Some(holder) = store.holder(newest)? {
            return Err(holder.held(store.place(), newest));
        }
        let Some(next) = newest.max(floor()).checked_add(1) else { break };
        if let Some(claim) = store.claim(next, &owner)? {
            prune(store, next)?;
            return Ok((next, claim));
        }
    }
    Err(Error::unavailable(store.place(), "other processes start the same job again and again"))
}

/// Generations go with the time in milliseconds: when a state has been lost, those of the next one are still higher than what sinks have seen.
fn floor() -> u64 {
    // The tests count from 1.
    if cfg!(test) { 0 } else { SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64) }
}

/// Returns the newest generation, or 0.
fn newest(store: &dyn Store) -> Result<u64, Error> {
    Ok(store.list(GENERATIONS)?.iter().filter_map(|path| names::number(path)).max().unwrap_or(0))
}

fn prune(store: &dyn Store, newest: u64) -> Result<(), Error> {
    for old in store.list(GENERATIONS)?.iter().filter_map(|path| names::number(path)) {
        if old.saturating_add(GENERATIONS_KEPT) <= newest {
            store.delete(&names::generation(old))?;
            store.delete(&names::lease(old))?;
        }
    }
    Ok(())
}
