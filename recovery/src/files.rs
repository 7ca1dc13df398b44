//! Checkpoints as any process and any thread of a job reaches them: without a lease.

use std::ops::RangeInclusive;

use crate::checkpoint::{Checkpoint, Entries, Manifest, Part, load, verify};
use crate::error::Error;
use crate::log;
use crate::names::{self, CHECKPOINTS, JOB};
use crate::store::{self, Shared, Store};
use crate::tables;

/// A job's name is at most so long.
const MAX_JOB_BYTES: u64 = 4096;

/// A handle on a job's checkpoints, cheap to clone and to share: writes parts, reads them, and verifies them.
#[derive(Debug, Clone)]
pub struct Files {
    store: Shared,
}

impl Files {
    /// Opens the state of a job at a URL: `file:///absolute`, `file://relative`, `s3://bucket/prefix`, or `memory://name`.
    ///
    /// # Errors
    /// The URL is none of these, the place cannot be reached, or it holds the state of another job.
    pub fn open(url: &str, job: &str) -> Result<Files, Error> {
        let files = Files { store: store::open(url)? };
        match files.job()? {
            Some(owner) if owner != job => Err(other_job(files.store(), &owner, job)),
            _ => Ok(files),
        }
    }

    /// Opens a store and says whose it is from now on.
    pub(crate) fn claim(store: Shared, job: &str) -> Result<Files, Error> {
        let files = Files { store };
        if !files.store.put_new(JOB, job.as_bytes())?
            && let Some(owner) = files.job()?.filter(|owner| owner != job)
        {
            return Err(other_job(files.store(), &owner, job));
        }
        Ok(files)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn job(&self) -> Result<Option<String>, Error> {
        let found = self.store.read(&[JOB.to_owned()], MAX_JOB_BYTES)?;
        Ok(found.into_iter().flatten().next().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Begins a part of a checkpoint: the entries of a fold whose key hashes lie in a range. A key's first eight bytes, big-endian, are
    /// its hash. A part of the same checkpoint, fold and range that was written before is replaced.
    ///
    /// # Errors
    /// The range is empty, or the place cannot be written.
    pub fn part(&self, id: Checkpoint, fold: &str, range: RangeInclusive<u64>) -> Result<Part, Error> {
        Part::create(self.store(), id, fold, range)
    }

    /// Lists the published checkpoints, newest first. Whether they are whole, [`verify`](Self::verify) tells.
    ///
    /// # Errors
    /// The place cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, Error> {
        let base = log::base(self.store())?;
        let paths = self.store.list(CHECKPOINTS)?;
        let published = paths.iter().filter(|path| path.ends_with("/manifest")).filter_map(|path| names::parse_checkpoint(path));
        let mut found: Vec<Checkpoint> = published.filter(|id| id.generation >= base).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Reads what a checkpoint holds.
    ///
    /// # Errors
    /// The manifest is missing or damaged, or the place cannot be read.
    pub fn manifest(&self, id: Checkpoint) -> Result<Manifest, Error> {
        load(self.store(), id)
    }

    /// Reads all bytes of a checkpoint and checks them; returns what it holds.
    ///
    /// # Errors
    /// A byte is not the one that was written or is missing ([`Error::Damaged`]), or the place cannot be read.
    pub fn verify(&self, id: Checkpoint) -> Result<Manifest, Error> {
        let manifest = self.manifest(id)?;
        verify(self.store(), &manifest)?;
        Ok(manifest)
    }

    /// Lists the versions of a table that are kept, ascending.
    ///
    /// # Errors
    /// The place cannot be read.
    pub fn versions(&self, table: &str) -> Result<Vec<u64>, Error> {
        tables::list(self.store(), table)
    }

    /// Reads a version of a table.
    ///
    /// # Errors
    /// It is missing or damaged, or the place cannot be read.
    pub fn version(&self, table: &str, version: u64) -> Result<Vec<u8>, Error> {
        tables::read(self.store(), table, version)
    }

    /// Reads the entries of a fold whose hashes lie in a range, sorted by key, whatever ranges the parts were written with.
    ///
    /// # Errors
    /// The checkpoint does not have the fold, its manifest is damaged, or the place cannot be read. Later errors come as items, and
    /// nothing follows them.
    pub fn parts(&self, id: Checkpoint, fold: &str, range: RangeInclusive<u64>) -> Result<Entries, Error> {
        let manifest = self.manifest(id)?;
        let found = manifest.fold(fold).ok_or_else(|| Error::Order(format!("the {id} has no fold {fold}")))?;
        Ok(Entries::new(self.store.clone(), &found.parts, range))
    }
}

fn other_job(store: &dyn Store, owner: &str, job: &str) -> Error {
    let problem = format!("holds the state of job {owner:.100}, not of {job:.100}");
    Error::setup(store.place(), problem, "give each job a --state of its own")
}
