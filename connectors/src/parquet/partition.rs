//! One partition of a lake: its staged parts, and the step by which some of them become a file that readers see.
//!
//! ```text
//! parts on disk → merged into a staged file → manifest: "these parts are this file" → linked to its place → parts removed
//!                                             └ the one moment that counts ┘
//! ```
//! What a crash interrupts before the manifest has not happened; what it interrupts after it is completed by the next generation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use freshet_model::{Epoch, PartitionId};

use super::chain::{Chain, Newest};
use super::hours::Hour;
use super::lake::Lake;
use super::manifest::{Manifest, Part, Shown};
use super::open_file::Format;
use super::show::show;
use super::{checksum, folders, merge};
use crate::{Error, fault};

/// An hour with so many parts is shown, whatever their size and age.
pub(super) const MAX_PARTS: usize = 512;

/// The parts of one hour.
pub(super) struct Staged {
    pub(super) parts: Vec<Part>,
    /// When the first of their rows came.
    pub(super) since: Instant,
}

/// A partition, as the newest manifest and the open files say.
pub(super) struct Partition {
    pub(super) id: PartitionId,
    pub(super) chain: Chain,
    /// The newest manifest, which this writer wrote.
    pub(super) head: Manifest,
    /// The hours that have parts or an open file.
    pub(super) hours: BTreeMap<Option<Hour>, Staged>,
    /// Whether there are parts that no manifest names.
    pub(super) unnamed: bool,
    /// The newest epoch of which rows are in the parts, complete or not.
    pub(super) written: Option<Epoch>,
}

impl Partition {
    /// Notes that a file of this hour has been begun.
    pub(super) fn begin(&mut self, hour: Option<Hour>) {
        self.hours.entry(hour).or_insert_with(|| Staged { parts: Vec::new(), since: Instant::now() });
    }

    /// Takes in a complete part.
    pub(super) fn add(&mut self, part: Part) {
        self.unnamed = true;
        self.begin(part.hour);
        if let Some(staged) = self.hours.get_mut(&part.hour) {
            staged.parts.push(part);
        }
    }

    /// Lists the hours of which a file should be shown; `open_bytes` are those of the hour's open file.
    pub(super) fn due(
        &self,
        roll_bytes: u64,
        roll_interval: Duration,
        open_bytes: impl Fn(Option<Hour>) -> u64,
    ) -> BTreeSet<Option<Hour>> {
        let is_due = |hour: Option<Hour>, staged: &Staged| {
            let bytes = staged.parts.iter().map(|part| part.bytes).sum::<u64>() + open_bytes(hour);
            bytes >= roll_bytes || staged.since.elapsed() >= roll_interval || staged.parts.len() >= MAX_PARTS
        };
        self.hours.iter().filter(|(hour, staged)| is_due(**hour, staged)).map(|(hour, _)| *hour).collect()
    }

    /// Makes it a fact that the lake holds everything up to an epoch, and shows the parts of some hours; no file may be open.
    pub(super) fn step(
        &mut self,
        lake: &Lake,
        format: &Format,
        held: Option<Epoch>,
        due: &BTreeSet<Option<Hour>>,
    ) -> Result<(), Error> {
        self.try_step(lake, format, held, due).map_err(|error| self.explain(lake, error))
    }

    fn try_step(&mut self, lake: &Lake, format: &Format, held: Option<Epoch>, due: &BTreeSet<Option<Hour>>) -> Result<(), Error> {
        let mut files = Vec::new();
        for hour in due {
            let staged = self.hours.remove(hour).map(|staged| staged.parts).unwrap_or_default();
            for parts in staged.chunk_by(|one, next| one.schema == next.schema) {
                files.extend(self.merge(lake, format, *hour, parts)?);
            }
        }
        if self.unnamed || !files.is_empty() {
            folders::sync(&lake.staging(self.id)).map_err(|error| lake.failed(&error))?;
        }
        fault::point("lake::before_manifest", lake.thing())?;
        let parts = self.hours.values().flat_map(|staged| &staged.parts).cloned().collect();
        let held = held.max(self.head.held);
        self.put(lake, Manifest { number: self.head.number + 1, held, parts, files, ..self.head.clone() })?;
        self.unnamed = false;
        fault::point("lake::after_manifest", lake.thing())?;
        self.show(lake)?;
        self.chain.tidy(&self.head).map_err(|error| lake.failed(&error))
    }

    /// Makes one staged file of the parts of an hour; a single part is one already.
    fn merge(&self, lake: &Lake, format: &Format, hour: Option<Hour>, parts: &[Part]) -> Result<Option<Shown>, Error> {
        let staging = lake.staging(self.id);
        verify(lake, self.id, parts, true)?;
        let (Some(head), Some(tail)) = (parts.first(), parts.last()) else { return Ok(None) };
        let rows = parts.iter().map(|part| part.rows).sum();
        let path = lake.shown(self.id, hour, head.first, tail.last);
        let mut shown = Shown {
            staged: head.name.clone(),
            path,
            first: head.first,
            last: tail.last,
            rows,
            bytes: head.bytes,
            checksum: head.checksum.clone(),
            parts: Vec::new(),
        };
        if parts.len() > 1 {
            shown.staged = lake.stage(hour);
            shown.parts = parts.iter().map(|part| part.name.clone()).collect();
            let sources: Vec<PathBuf> = shown.parts.iter().map(|name| staging.join(name)).collect();
            let merged = merge::merge(&sources, &staging.join(&shown.staged), &format.properties);
            let (seal, merged_rows) = merged.map_err(|error| lake.failed(&error))?;
            if merged_rows != rows {
                return Err(lake.broken(format!("parts of partition {} have {merged_rows} rows and not {rows}", self.id)));
            }
            (shown.bytes, shown.checksum) = (seal.bytes, seal.checksum);
        }
        Ok(Some(shown))
    }

    /// Writes the next manifest, which becomes the head.
    pub(super) fn put(&mut self, lake: &Lake, next: Manifest) -> Result<(), Error> {
        if !self.chain.put(&next).map_err(|error| lake.failed(&error))? {
            return Err(lake.shared(self.id));
        }
        self.head = next;
        Ok(())
    }

    /// Shows what the head names, and removes the parts of which it was made.
    pub(super) fn show(&self, lake: &Lake) -> Result<(), Error> {
        show(lake, self.id, &self.head.files)?;
        let staging = lake.staging(self.id);
        for part in self.head.files.iter().flat_map(|file| &file.parts) {
            folders::remove_if_there(&staging.join(part)).map_err(|error| lake.failed(&error))?;
            fault::point("lake::parts_half_deleted", lake.thing())?;
        }
        Ok(())
    }

    /// Replaces an error by its reason, if that is a newer generation.
    fn explain(&self, lake: &Lake, error: Error) -> Error {
        match self.chain.newest() {
            Ok(Newest::Valid(manifest)) if manifest.generation > self.head.generation => {
                lake.fenced(self.id, manifest.generation)
            }
            _ => error,
        }
    }
}

/// Checks that parts are there with their lengths, and `wholly` with their content too, if it is not known to be as it was written.
pub(super) fn verify(lake: &Lake, partition: PartitionId, parts: &[Part], wholly: bool) -> Result<(), Error> {
    let staging = lake.staging(partition);
    let mut damaged = Vec::new();
    for part in parts.iter().filter(|part| !part.verified) {
        let path = staging.join(&part.name);
        let fits =
            if wholly { checksum::matches(&path, part.bytes, &part.checksum) } else { checksum::has_length(&path, part.bytes) };
        if !fits.map_err(|error| lake.failed(&error))? {
            damaged.push(format!("{} ({} rows, {} bytes)", path.display(), part.rows, part.bytes));
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let problem = format!("staged files that the newest manifest names are missing or damaged: {}", damaged.join(", "));
    Err(lake.broken(problem))
}
