//! State in plain files.
//!
//! A file is written under a temporary name, synced, and then linked or renamed to its own, so that what has a name is whole; the
//! folder is synced after it. A generation's file is locked before it is linked, and stays locked as long as its owner lives: the
//! kernel gives the lock back however the process ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::files_write::{Appending, Uploading, put_new, write_temporary};
use super::{Claim, Segment, Store, Upload};
use crate::Error;
use crate::names;
use crate::owner::Owner;

/// An owner's file says little; more than this is not read of it.
const MAX_OWNER_BYTES: u64 = 4096;
/// Folders below the state's place nest no deeper.
const MAX_DEPTH: usize = 3;

/// State below a folder.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    place: String,
}

/// A generation's file, locked.
#[derive(Debug)]
struct Locked {
    _file: File,
}

impl Claim for Locked {}

impl Disk {
    /// Names the folder; it is made when something is written.
    pub(super) fn new(root: PathBuf) -> Disk {
        let place = root.display().to_string();
        Disk { root, place }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn visit(&self, folder: &str, depth: usize, found: &mut Vec<String>) -> io::Result<()> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match entry.file_type()?.is_dir() {
                true if depth < MAX_DEPTH => self.visit(&path, depth + 1, found)?,
                true => {}
                false => found.push(path),
            }
        }
        Ok(())
    }

    fn read_one(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(path);
        let Some(file) = existing(File::open(&path), &path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed(&path))?;
        if bytes.len() as u64 > limit {
            return Err(too_long(path.display().to_string(), limit));
        }
        Ok(Some(bytes))
    }
}

impl Store for Disk {
    fn place(&self) -> &str {
        &self.place
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        self.visit(folder, 1, &mut found).map_err(failed(&self.path(folder)))?;
        found.sort_unstable();
        Ok(found)
    }

    fn read(&self, paths: &[String], limit: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        paths.iter().map(|path| self.read_one(path, limit)).collect()
    }

    fn read_range(&self, path: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(path);
        let Some(file) = existing(File::open(&path), &path)? else { return Ok(None) };
        let length = file.metadata().map_err(failed(&path))?.len();
        let end = range.end.min(length);
        // Bounded by what the file holds, whatever the caller was told by another file.
        let count = usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; count];
        file.read_exact_at(&mut bytes, range.start).map_err(failed(&path))?;
        Ok(Some(bytes))
    }

    fn length(&self, path: &str) -> Result<Option<u64>, Error> {
        let path = self.path(path);
        Ok(existing(fs::metadata(&path), &path)?.map(|metadata| metadata.len()))
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<bool, Error> {
        let path = self.path(path);
        let temporary = write_temporary(&path, bytes)?;
        put_new(temporary, &path)
    }

    fn delete(&self, path: &str) -> Result<(), Error> {
        let path = self.path(path);
        existing(fs::remove_file(&path), &path)?;
        // A checkpoint's folder goes with its last file; one that still holds something stays, and so do the folders of the place.
        let folder = path.parent().filter(|folder| folder.parent().is_some_and(|above| above != self.root));
        if let Some(folder) = folder.filter(|folder| *folder != self.root) {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    fn create(&self, path: &str) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(Uploading::new(self.path(path))?))
    }

    fn segment(&self, path: &str, bytes: &[u8]) -> Result<Box<dyn Segment>, Error> {
        let path = self.path(path);
        let temporary = write_temporary(&path, bytes)?;
        if !put_new(temporary, &path)? {
            return Err(Error::Order(format!("{} is there already", path.display())));
        }
        Ok(Box::new(Appending::open(path)?))
    }

    fn claim(&self, generation: u64, owner: &Owner) -> Result<Option<Box<dyn Claim>>, Error> {
        let path = self.path(&names::generation(generation));
        let temporary = write_temporary(&path, owner.text().as_bytes())?;
        let file = temporary.file.try_clone().map_err(failed(&path))?;
        file.try_lock().map_err(|error| {
            Error::setup(path.display().to_string(), error.to_string(), "put the state on a file system with file locks")
        })?;
        Ok(put_new(temporary, &path)?.then(|| Box::new(Locked { _file: file }) as Box<dyn Claim>))
    }

    fn holder(&self, generation: u64) -> Result<Option<Owner>, Error> {
        let path = self.path(&names::generation(generation));
        let Some(file) = existing(File::open(&path), &path)? else { return Ok(None) };
        // Shared, so that two who look at the same time do not take each other for the owner.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let mut text = Vec::new();
                file.take(MAX_OWNER_BYTES).read_to_end(&mut text).map_err(failed(&path))?;
                Ok(Some(Owner::parse(&text)))
            }
            Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
        }
    }
}

/// Makes an error of the file system one of ours.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |error| Error::unavailable(path.display().to_string(), error)
}

pub(super) fn too_long(file: String, limit: u64) -> Error {
    Error::setup(file, format!("is longer than {limit} bytes"), "it was not written by this program: move it away")
}

fn existing<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}
