//! Folders and names of a lake, as one generation of one sink uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use freshet_model::{Epoch, PartitionId};

use super::chain::Chain;
use super::folders;
use super::hours::Hour;
use super::manifest::Owner;
use crate::{Error, SinkOptions};

const STAGING: &str = "_staging";
const MANIFESTS: &str = "_freshet";
/// What a person can do about files of the lake that are not as they were left.
const WAY_OUT: &str =
    "bring the files back from a backup, or start the job with --reset, which writes this part of the lake anew";

/// A lake's folder.
pub(super) struct Lake {
    thing: String,
    root: PathBuf,
    job: String,
    sink: String,
    /// Job and sink as they are in names: two of them may share a lake.
    owner: String,
    generation: u64,
    /// Tells this writer from others that call themselves the same generation.
    writer: String,
    /// Counts the staged files.
    staged: AtomicU64,
    by_hour: bool,
}

impl Lake {
    /// Names the folder and its user.
    pub(super) fn new(path: &str, options: &SinkOptions) -> Result<Lake, Error> {
        let thing = format!("sink '{}'", options.name);
        if path.is_empty() {
            return Err(Error::setup(thing, "its url names no folder", "write parquet://data/lake or parquet:///var/lake"));
        }
        Ok(Lake {
            thing,
            root: PathBuf::from(path),
            job: options.job.clone(),
            sink: options.name.clone(),
            owner: format!("{}.{}", plain(&options.job), plain(&options.name)),
            generation: options.generation,
            writer: writer(),
            staged: AtomicU64::new(0),
            by_hour: false,
        })
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

    /// Makes an error of files that are not as they should be.
    pub(super) fn broken(&self, problem: impl Into<String>) -> Error {
        Error::setup(&self.thing, problem, WAY_OUT)
    }

    /// Makes the error of a writer that a newer one has replaced.
    pub(super) fn fenced(&self, partition: PartitionId, generation: u64) -> Error {
        Error::fenced(
            &self.thing,
            format!("generation {generation} has partition {partition} of the lake, and this is generation {}", self.generation),
        )
    }

    /// Makes the error of two writers with one number.
    pub(super) fn shared(&self, partition: PartitionId) -> Error {
        let problem = format!(
            "partition {partition} of the lake is written by another process of the same generation, {}",
            self.generation
        );
        Error::setup(&self.thing, problem, "end the other process that runs this job, then start it again")
    }

    /// Makes the folders and checks that they can be written; says whether files are in folders by hour.
    pub(super) fn prepare(&mut self, by_hour: bool, partitions: &[PartitionId]) -> Result<(), Error> {
        self.by_hour = by_hour;
        self.try_prepare(partitions).map_err(|error| {
            let problem = format!("cannot write the lake {}: {error}", self.root.display());
            Error::setup(&self.thing, problem, "check the folder and its permissions")
        })
    }

    fn try_prepare(&self, partitions: &[PartitionId]) -> io::Result<()> {
        let folder = self.root.join(STAGING).join(&self.owner);
        folders::create(&folder)?;
        let probe = folder.join(format!("probe-{}", self.writer));
        File::create(&probe)?;
        fs::remove_file(&probe)?;
        partitions.iter().try_for_each(|&partition| {
            folders::create(&self.staging(partition))?;
            folders::create(self.chain(partition).folder())
        })
    }

    /// Returns the folder of a partition's staged files.
    pub(super) fn staging(&self, partition: PartitionId) -> PathBuf {
        self.root.join(STAGING).join(&self.owner).join(format!("p{partition:05}"))
    }

    /// Names a staged file anew.
    pub(super) fn stage(&self, hour: Option<Hour>) -> String {
        let hour = hour.map_or_else(|| "none".to_owned(), |hour| hour.to_string());
        format!("g{:06}-n{:06}-h{hour}.parquet", self.generation, self.staged.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the manifests of a partition.
    pub(super) fn chain(&self, partition: PartitionId) -> Chain {
        let folder = self.root.join(MANIFESTS).join(&self.owner).join(format!("p{partition:05}"));
        let owner = Owner { job: self.job.clone(), sink: self.sink.clone(), partition };
        Chain::new(folder, owner, self.generation, self.writer.clone())
    }

    /// Returns the place in the lake of a file with rows of these epochs.
    pub(super) fn shown(&self, partition: PartitionId, hour: Option<Hour>, first: Epoch, last: Epoch) -> String {
        let name = format!("p{partition:05}-e{first:012}-{last:012}-{}.parquet", self.owner);
        if self.by_hour { format!("{}/{name}", Hour::folder(hour)) } else { name }
    }

    /// Returns where a place in the lake is.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Removes a partition's staged files of this and earlier generations, but for some.
    pub(super) fn sweep(&self, partition: PartitionId, keep: &BTreeSet<&str>) -> io::Result<()> {
        let folder = self.staging(partition);
        for name in folders::names(&folder)? {
            let generation = name.strip_prefix('g').and_then(|name| name.split_once('-')?.0.parse::<u64>().ok());
            if generation.is_some_and(|generation| generation <= self.generation) && !keep.contains(name.as_str()) {
                folders::remove_if_there(&folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Lists the files of some partitions that readers see.
    pub(super) fn visible(&self, partitions: &BTreeSet<PartitionId>) -> io::Result<BTreeMap<PartitionId, Vec<PathBuf>>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for name in folders::names(&folder)? {
                let path = folder.join(&name);
                match self.partition_of(&name) {
                    Some(partition) if partitions.contains(&partition) => found.entry(partition).or_default().push(path),
                    None if name.starts_with("event_") && path.is_dir() => folders.push(path),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Reads the partition in the name of one of this sink's files.
    fn partition_of(&self, name: &str) -> Option<PartitionId> {
        let epochs = name.strip_suffix(".parquet")?.strip_suffix(&self.owner)?.strip_suffix('-')?;
        let (partition, epochs) = epochs.strip_prefix('p')?.split_once("-e")?;
        let (first, last) = epochs.split_once('-')?;
        (first.parse::<Epoch>().is_ok() && last.parse::<Epoch>().is_ok()).then(|| partition.parse().ok())?
    }
}

/// Returns the parent of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Makes a name for a writer that no other one has.
fn writer() -> String {
    static WRITERS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", std::process::id(), since.as_nanos(), WRITERS.fetch_add(1, Ordering::Relaxed))
}

/// Replaces what may not be in a file's name.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}
