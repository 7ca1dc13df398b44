//! Operations on folders that last: when they return, the disk has them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Waits until the disk has a folder's entries.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it, if they are missing.
pub(super) fn create(folder: &Path) -> io::Result<()> {
    let mut changed = BTreeSet::new();
    let mut missing = Some(folder);
    while let Some(path) = missing.filter(|path| !path.as_os_str().is_empty() && !path.exists()) {
        missing = path.parent();
        changed
            .extend(missing.map(|parent| if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() }));
    }
    fs::create_dir_all(folder)?;
    changed.iter().try_for_each(|folder| sync(folder))
}

/// Returns the names in a folder, none if it is not there; names that are no text are left out.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes a file that another process may have removed already.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
