//! Folders and names of a lake, and how a complete file gets its final one.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use freshet_model::{Epoch, PartitionId};

use super::hours::Hour;
use crate::{Error, SinkOptions};

const STAGING: &str = "_staging";

/// What a file holds, but for its last epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The partition of all its rows.
    pub(super) partition: PartitionId,
    /// The hour of all its rows.
    pub(super) hour: Option<Hour>,
    /// The epoch of its first row.
    pub(super) first: Epoch,
    /// How many files of this partition and hour began in that epoch before it.
    pub(super) part: u32,
}

/// A complete file in the staging folder.
#[derive(Debug)]
pub(super) struct Finished {
    /// Where it is.
    pub(super) staging: PathBuf,
    /// What it holds.
    pub(super) place: Place,
    /// The epoch of its last row.
    pub(super) last: Epoch,
}

/// A lake's folder, as one generation of one sink uses it.
pub(super) struct Lake {
    thing: String,
    root: PathBuf,
    /// Job and sink: two of them may share a lake.
    owner: String,
    generation: u64,
}

impl Lake {
    /// Names the folder and its user.
    pub(super) fn new(path: &str, options: &SinkOptions) -> Result<Lake, Error> {
        let thing = format!("sink '{}'", options.name);
        if path.is_empty() {
            return Err(Error::setup(thing, "its url names no folder", "write parquet://data/lake or parquet:///var/lake"));
        }
        let owner = format!("{}.{}", plain(&options.job), plain(&options.name));
        Ok(Lake { thing, root: PathBuf::from(path), owner, generation: options.generation })
    }

    /// Returns the name of the sink for errors.
    pub(super) fn thing(&self) -> &str {
        &self.thing
    }

    /// Makes an error of a failed write.
    pub(super) fn failed(&self, error: &dyn Display) -> Error {
        Error::unavailable(&self.thing, format!("writing the lake {} failed: {error}", self.root.display()))
    }

    /// Makes an error of rows that are not of the lake's schema.
    pub(super) fn unfit(&self, error: &dyn Display) -> Error {
        Error::setup(&self.thing, error.to_string(), "declare the time column as timestamp")
    }

    /// Makes the folders, checks that they can be written, and removes what earlier generations left unfinished.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        self.try_prepare().map_err(|error| {
            let problem = format!("cannot write the lake {}: {error}", self.root.display());
            Error::setup(&self.thing, problem, "check the folder and its permissions")
        })
    }

    fn try_prepare(&self) -> io::Result<()> {
        let folder = self.staging_folder();
        fs::create_dir_all(&folder)?;
        let probe = folder.join(format!("probe-{}-{:?}", std::process::id(), std::thread::current().id()));
        File::create(&probe)?;
        fs::remove_file(&probe)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let generation = path.file_name().and_then(|name| name.to_str()).and_then(generation_of);
            // Another process of this very generation may be at work on a file of its own.
            if generation.is_some_and(|generation| generation < self.generation) {
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }

    fn staging_folder(&self) -> PathBuf {
        self.root.join(STAGING).join(&self.owner)
    }

    /// Returns where a file is written.
    pub(super) fn staging(&self, place: &Place) -> PathBuf {
        let Place { partition, hour, first, part } = place;
        let hour = hour.map_or_else(|| "none".to_owned(), |hour| hour.to_string());
        let name = format!("g{:06}-p{partition:05}-h{hour}-e{first:012}{}.parquet", self.generation, suffix(*part));
        self.staging_folder().join(name)
    }

    /// Returns where a complete file belongs.
    fn shown(&self, finished: &Finished, by_hour: bool) -> PathBuf {
        let Finished { place: Place { partition, hour, first, part }, last, .. } = finished;
        let (generation, owner) = (self.generation, &self.owner);
        let name = format!("g{generation:06}-p{partition:05}-e{first:012}-{last:012}{}-{owner}.parquet", suffix(*part));
        let folder = if by_hour { self.root.join(Hour::folder(*hour)) } else { self.root.clone() };
        folder.join(name)
    }

    /// Gives complete files their final names and waits until the disk has these; the list is empty afterwards.
    pub(super) fn show(&self, finished: &mut Vec<Finished>, by_hour: bool) -> Result<(), Error> {
        let mut folders = BTreeSet::new();
        while let Some(file) = finished.last() {
            let shown = self.shown(file, by_hour);
            if shown.exists() {
                let problem = format!("{} is there already", shown.display());
                return Err(Error::setup(&self.thing, problem, "end the other process that runs this generation of the job"));
            }
            self.rename(&file.staging, &shown, &mut folders).map_err(|error| self.failed(&error))?;
            finished.pop();
        }
        folders.iter().try_for_each(|folder| File::open(folder)?.sync_all()).map_err(|error| self.failed(&error))
    }

    /// Renames a file, and notes every folder that has a new entry.
    fn rename(&self, from: &Path, to: &Path, changed: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let mut folder = to.parent();
        while let Some(missing) = folder.filter(|folder| !folder.exists()) {
            folder = missing.parent();
            changed.extend(folder.map(Path::to_path_buf));
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
            changed.insert(parent.to_path_buf());
        }
        fs::rename(from, to)
    }
}

/// Returns what tells apart files that began in the same epoch.
fn suffix(part: u32) -> String {
    if part == 0 { String::new() } else { format!("-{part}") }
}

/// Reads the generation at the beginning of a file's name.
fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix('g')?.split_once('-')?.0.parse().ok()
}

/// Removes a file that another process may be removing too.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Replaces what may not be in a file's name.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}
