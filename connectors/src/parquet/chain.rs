//! The manifests of one partition: a chain in which each number is written once, by whoever comes first.
//!
//! ```text
//! _freshet/user_activity.lake/p00003/m-000000016.json
//! _freshet/user_activity.lake/p00003/m-000000017.json      the newest: the only one that counts
//! ```
//!
//! Invariants:
//! - A manifest is complete and on disk before it has its name, and what has a name is never replaced: it is linked, not renamed.
//! - Who is not the newest generation finds the number after its own last one taken. It is the number by which the next generation took over,
//!   and such manifests are kept, but for very old ones; in whose place a late writer still sees that the chain has gone on.
//! - The newest manifest is never removed, and the one before it is kept too.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::folders;
use super::manifest::{Manifest, Owner};

/// So many generations' first manifests are kept.
pub(super) const KEPT_TAKEOVERS: usize = 32;
/// So many of the newest manifests are kept.
const KEPT: u64 = 2;

/// The newest manifest of a chain.
#[derive(Debug)]
pub(super) enum Newest {
    /// There is no manifest.
    Nothing,
    /// It says this.
    Valid(Box<Manifest>),
    /// It cannot be used, for a reason.
    Damaged(u64, String),
    /// It is another job's or sink's, whose name looks the same in a file's name.
    Foreign(Owner),
}

/// The chain of one partition, as one generation uses it.
#[derive(Debug)]
pub(super) struct Chain {
    folder: PathBuf,
    owner: Owner,
    generation: u64,
    writer: String,
}

impl Chain {
    /// Names the chain in a folder of its own; nothing is touched yet.
    pub(super) fn new(folder: PathBuf, owner: Owner, generation: u64, writer: String) -> Chain {
        Chain { folder, owner, generation, writer }
    }

    /// Returns the folder of the manifests.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns a manifest's place.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("m-{number:09}.json"))
    }

    /// Makes the first manifest that this generation would write, of a partition that holds nothing.
    pub(super) fn blank(&self) -> Manifest {
        Manifest::new(self.owner.clone(), self.generation, self.writer.clone())
    }

    /// Tells whether a manifest is this writer's own.
    pub(super) fn is_own(&self, manifest: &Manifest) -> bool {
        manifest.generation == self.generation && manifest.writer == self.writer
    }

    /// Lists the numbers that are there, ascending.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let number = |name: String| name.strip_prefix("m-")?.strip_suffix(".json")?.parse().ok();
        let mut numbers: Vec<u64> = folders::names(&self.folder)?.into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads the newest manifest.
    pub(super) fn newest(&self) -> io::Result<Newest> {
        loop {
            let Some(number) = self.numbers()?.pop() else { return Ok(Newest::Nothing) };
            match fs::read(self.path(number)) {
                Ok(bytes) => return Ok(self.checked(number, &bytes)),
                // Two newer ones have come meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn checked(&self, number: u64, bytes: &[u8]) -> Newest {
        match Manifest::parse(bytes) {
            Err(problem) => Newest::Damaged(number, problem),
            Ok(manifest) if manifest.owner != self.owner => Newest::Foreign(manifest.owner),
            Ok(manifest) if manifest.number != number => {
                Newest::Damaged(number, format!("says that it is number {}", manifest.number))
            }
            Ok(manifest) => Newest::Valid(Box::new(manifest)),
        }
    }

    /// Writes a manifest if nobody has written one of its number, nor a later one; tells whether it is now the newest.
    pub(super) fn put(&self, manifest: &Manifest) -> io::Result<bool> {
        let draft = self.folder.join(format!("draft-g{:06}-{}.tmp", self.generation, self.writer));
        folders::remove_if_there(&draft)?;
        let mut file = File::options().write(true).create_new(true).open(&draft)?;
        file.write_all(manifest.render()?.as_bytes())?;
        file.sync_all()?;
        let path = self.path(manifest.number);
        let linked = fs::hard_link(&draft, &path);
        folders::remove_if_there(&draft)?;
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            // A newer generation has swept up the draft.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        if self.numbers()?.last().is_some_and(|&newest| newest > manifest.number) {
            folders::remove_if_there(&path)?;
            return Ok(false);
        }
        folders::sync(&self.folder)?;
        Ok(true)
    }

    /// Removes the manifests that nobody needs any more, after `newest` has been written; later ones are none of this writer's business.
    pub(super) fn tidy(&self, newest: &Manifest) -> io::Result<()> {
        let is_old = |number: &u64| number + KEPT <= newest.number && !newest.takeovers.contains(number);
        self.numbers()?.into_iter().filter(is_old).try_for_each(|number| folders::remove_if_there(&self.path(number)))
    }

    /// Removes the drafts that this and earlier generations left.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let generation = |name: &str| name.strip_prefix("draft-g")?.split_once('-')?.0.parse::<u64>().ok();
        for name in folders::names(&self.folder)? {
            if generation(&name).is_some_and(|generation| generation <= self.generation) {
                folders::remove_if_there(&self.folder.join(name))?;
            }
        }
        Ok(())
    }
}
