//! How a staged file becomes one that readers see, once and only once.
//!
//! It is linked to its place, which fails if a file is there, and only then is the staged name removed. Whoever finds a manifest that names it may do so,
//! and several may at once: all but one find the staged file gone, or the very same file in its place.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use freshet_model::PartitionId;

use super::lake::{Lake, folder_of};
use super::manifest::Shown;
use super::{checksum, folders};
use crate::{Error, fault};

/// Shows the files that a manifest of the partition names, and waits until the disk has their names; their staged names are removed.
pub(super) fn show(lake: &Lake, partition: PartitionId, files: &[Shown]) -> Result<(), Error> {
    let staging = lake.staging(partition);
    let mut changed = BTreeSet::new();
    for file in files {
        let path = lake.at(&file.path);
        link(lake, &staging.join(&file.staged), &path, file)?;
        changed.insert(folder_of(&path).to_path_buf());
        fault::point("lake::half_renamed", lake.thing())?;
    }
    finish(&staging, files, &changed).map_err(|error| lake.failed(&error))
}

fn finish(staging: &Path, files: &[Shown], changed: &BTreeSet<PathBuf>) -> io::Result<()> {
    changed.iter().try_for_each(|folder| folders::sync(folder))?;
    files.iter().try_for_each(|file| folders::remove_if_there(&staging.join(&file.staged)))
}

fn link(lake: &Lake, staged: &Path, path: &Path, file: &Shown) -> Result<(), Error> {
    folders::create(folder_of(path)).map_err(|error| lake.failed(&error))?;
    let error = match fs::hard_link(staged, path) {
        Ok(()) => return Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => error,
        Err(error) => return Err(lake.failed(&error)),
    };
    // Where the staged file is gone it was this one, and the length will do; otherwise it may be a stranger.
    let gone = error.kind() == ErrorKind::NotFound;
    let seen = if gone { checksum::has_length(path, file.bytes) } else { checksum::matches(path, file.bytes, &file.checksum) };
    match seen {
        Ok(true) => Ok(()),
        Ok(false) if gone => {
            Err(lake.broken(format!("{} is neither in the lake nor staged, though a manifest names it", path.display())))
        }
        Ok(false) => Err(lake.broken(format!("{} is there already, and is not the file that a manifest names", path.display()))),
        Err(error) => Err(lake.failed(&error)),
    }
}
