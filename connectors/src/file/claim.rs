//! The right to write a sink's files, and what of them counts: the folder `<file>.freshet` beside the file.
//!
//! ```text
//! views.ndjson
//! views.ndjson.freshet/claim   the newest generation that wants the files; locked by the process that writes them
//! views.ndjson.freshet/held    job, sink, generation, epoch, and where each file ends as of that epoch; replaced as a whole
//! ```
//! Invariants:
//! - Only the process that has the lock writes the files and `held`. The system takes the lock from a process that ends, and from no other:
//!   a process that was stopped (SIGSTOP) keeps it until it is killed, and can do no harm when it wakes, for nobody has written in its place.
//! - A newer generation first writes itself into `claim`, then waits for the lock. The older one sees it at its next step, ends with
//!   [`Error::Fenced`] and so gives the lock up.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freshet_model::Epoch;
use serde::{Deserialize, Serialize};

use super::paths::parent;
use crate::Error;

/// So long a new generation waits for the older one to give the files up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const POLL: Duration = Duration::from_millis(10);

/// What counts of a sink's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) job: String,
    pub(super) sink: String,
    pub(super) generation: u64,
    /// The newest epoch whose lines are there; `None` before the first.
    pub(super) epoch: Option<Epoch>,
    /// Where the lines are, by the file's name.
    pub(super) files: BTreeMap<String, Extent>,
}

/// The part of a file that is a sink's, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    /// What comes before was there when the sink was first used.
    pub(super) begin: u64,
    /// What lies behind does not count.
    pub(super) end: u64,
}

/// The right to write a file and those beside it; given up when it is dropped.
pub(super) struct Claim {
    thing: String,
    folder: PathBuf,
    claim: File,
    generation: u64,
}

impl Claim {
    /// Fences older generations and waits until their processes have given the file up.
    pub(super) fn take(thing: &str, path: &Path, generation: u64) -> Result<Claim, Error> {
        let folder = folder(path);
        let open = || {
            std::fs::create_dir_all(&folder)?;
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join("claim"))
        };
        let claim = open().map_err(|error| {
            let problem = format!("cannot write {}: {error}", folder.display());
            Error::setup(thing, problem, "check the path and its permissions")
        })?;
        let claim = Claim { thing: thing.to_owned(), folder, claim, generation };
        claim.lock(path)?;
        // While nobody had the lock, a generation between the last one and this one may have written its own number.
        claim.write()?;
        Ok(claim)
    }

    fn lock(&self, path: &Path) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            if self.claimed()? != Some(self.generation) {
                self.write()?;
            }
            match self.claim.try_lock() {
                Ok(()) => return self.check(),
                Err(TryLockError::Error(error)) => return Err(self.failed(&error)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => break,
            }
        }
        let shown = path.display();
        if self.held()?.is_some_and(|held| held.generation == self.generation) {
            let problem = format!("{shown} is written by another process of this cluster");
            return Err(Error::setup(
                &self.thing,
                problem,
                "a file takes the rows of one process; write to parquet:// or kafka://",
            ));
        }
        Err(Error::unavailable(&self.thing, format!("{shown} is still written by a process that was started earlier; end it")))
    }

    /// Tells whether a newer generation wants the files.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.claimed()? {
            Some(newer) if newer > self.generation => Err(self.fenced(newer)),
            _ => Ok(()),
        }
    }

    /// Makes the error for a generation that is newer than this one.
    pub(super) fn fenced(&self, by: u64) -> Error {
        let ours = self.generation;
        Error::fenced(&self.thing, format!("a newer start of the job has taken over (generation {by}, this one is {ours})"))
    }

    /// Reads what counts; `None` if no sink has ever written the file.
    pub(super) fn held(&self) -> Result<Option<Held>, Error> {
        let path = self.folder.join("held");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        };
        let held = serde_json::from_slice(&text).map_err(|error| {
            let problem = format!("{} cannot be read: {error}", path.display());
            Error::setup(&self.thing, problem, "let the sink write another file, or move this one and its folder away")
        })?;
        Ok(Some(held))
    }

    /// Replaces what counts, for every process that starts from now on. The files that it speaks of must be on the disk.
    pub(super) fn store(&self, held: &Held) -> Result<(), Error> {
        let (new, path) = (self.folder.join("held.new"), self.folder.join("held"));
        let write = || {
            let mut file = File::create(&new)?;
            serde_json::to_writer(&mut file, held)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| self.failed(&error))
    }

    /// Waits until a power failure would leave what was [stored](Self::store) last, and nothing older.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let failed =
            |error| Error::setup(&self.thing, format!("writing in {} failed: {error}", self.folder.display()), "check the disk");
        sync_folder(&self.folder).map_err(failed)
    }

    fn claimed(&self) -> Result<Option<u64>, Error> {
        let mut text = [0; DIGITS];
        match self.claim.read_exact_at(&mut text, 0) {
            Ok(()) => Ok(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok())),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn write(&self) -> Result<(), Error> {
        let text = format!("{:0DIGITS$}\n", self.generation);
        self.claim.write_all_at(text.as_bytes(), 0).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::unavailable(&self.thing, format!("writing in {} failed: {error}", self.folder.display()))
    }
}

/// The digits of the greatest generation.
const DIGITS: usize = 20;

/// Returns the part of a file that counts, for one who only reads it: all of a file that no sink has claimed. `main` is the file that names
/// the folder beside it.
pub(super) fn extent(thing: &str, main: &Path, path: &Path) -> Result<Option<Extent>, Error> {
    let held = folder(main).join("held");
    let text = match std::fs::read(&held) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::unavailable(thing, format!("reading {} failed: {error}", held.display()))),
    };
    let held: Held = serde_json::from_slice(&text).map_err(|error| {
        Error::setup(thing, format!("{} cannot be read: {error}", held.display()), "look who else writes there")
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Some(held.files.get(&name).copied().unwrap_or(Extent { begin: 0, end: 0 })))
}

/// Waits until the disk has the names in a folder.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Returns the folder beside a sink's file.
fn folder(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parent(path).join(format!("{name}.freshet"))
}
