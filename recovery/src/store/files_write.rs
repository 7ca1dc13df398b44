//! How files are written so that a power loss leaves them whole, absent, or (the log's segments) cut off at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::failed;
use super::{Segment, Upload};
use crate::Error;
use crate::point::point;

/// A large file is synced in steps of this size: a log on the same disk, which syncs after every group of epochs, must not wait
/// for all of a checkpoint at once.
const SYNC_BYTES: usize = 4 << 20;

/// A file under a temporary name, removed when dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) file: File,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; what stays behind otherwise is collected by its suffix.
        let _ = fs::remove_file(&self.path);
    }
}

impl Temporary {
    /// Creates a file beside `path`, with the folders that are missing.
    fn create(path: &Path) -> Result<Temporary, Error> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{name}.{}-{number}.tmp", std::process::id()));
        let open = || OpenOptions::new().write(true).read(true).create(true).truncate(true).open(&temporary);
        let opened = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_folder(folder).and_then(|()| open().map_err(failed(&temporary)))
            }
            other => other.map_err(failed(&temporary)),
        };
        Ok(Temporary { file: opened?, path: temporary })
    }
}

/// Writes bytes to a temporary file beside `path`, and syncs it.
pub(super) fn write_temporary(path: &Path, bytes: &[u8]) -> Result<Temporary, Error> {
    let mut temporary = Temporary::create(path)?;
    temporary.file.write_all(bytes).and_then(|()| temporary.file.sync_all()).map_err(failed(&temporary.path))?;
    Ok(temporary)
}

/// Gives a temporary file its name unless something has it, and tells whether it did. A link, unlike a rename, never replaces.
pub(super) fn put_new(temporary: Temporary, path: &Path) -> Result<bool, Error> {
    match fs::hard_link(&temporary.path, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            let remedy = "put the state on a file system with hard links";
            return Err(Error::setup(path.display().to_string(), error.to_string(), remedy));
        }
        Err(error) => return Err(failed(path)(error)),
    }
    drop(temporary);
    sync_folder(path)?;
    Ok(true)
}

/// Makes a folder and those above it that are missing, durably.
fn create_folder(folder: &Path) -> Result<(), Error> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    create_folder(folder.parent().unwrap_or(Path::new("")))?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(folder)(error)),
        _ => {}
    }
    sync_folder(folder)
}

/// Makes the name of a file durable.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|file| file.sync_all()).map_err(failed(folder))
}

/// A large file being written under a temporary name.
#[derive(Debug)]
pub(super) struct Uploading {
    temporary: Temporary,
    path: PathBuf,
    unsynced: usize,
}

impl Uploading {
    pub(super) fn new(path: PathBuf) -> Result<Uploading, Error> {
        Ok(Uploading { temporary: Temporary::create(&path)?, path, unsynced: 0 })
    }
}

impl Upload for Uploading {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.temporary.file.write_all(bytes).map_err(failed(&self.path))?;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_BYTES {
            self.temporary.file.sync_data().map_err(failed(&self.path))?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        self.temporary.file.sync_all().map_err(failed(&self.path))?;
        fs::rename(&self.temporary.path, &self.path).map_err(failed(&self.path))?;
        sync_folder(&self.path)
    }
}

/// A segment of the log being appended to.
#[derive(Debug)]
pub(super) struct Appending {
    file: File,
    path: PathBuf,
}

impl Appending {
    pub(super) fn open(path: PathBuf) -> Result<Appending, Error> {
        let file = OpenOptions::new().append(true).open(&path).map_err(failed(&path))?;
        Ok(Appending { file, path })
    }
}

impl Segment for Appending {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(failed(&self.path))?;
        point!("log::after_write");
        self.file.sync_data().map_err(failed(&self.path))
    }
}
