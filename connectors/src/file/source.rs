//! Files, or the standard input, as a source.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use freshet_model::{Offset, PartitionId};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::input::Input;
use super::lines::Lines;
use super::paths;
use super::reader::{Cursor, FileReader};
use crate::format::{Decoders, Encoding};
use crate::open::path_of;
use crate::{Error, Reader, Source, SourceOptions};

/// Set once the standard input has been given to a reader: its bytes can be read only once.
static STDIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// Lines of files or of the standard input.
///
/// Files are known again by their paths and their first bytes, so that a job that goes on does not do so in another file.
pub struct FileSource {
    options: SourceOptions,
    decoders: Decoders,
    partitions: Vec<PartitionId>,
    /// One for each partition; none for the standard input.
    files: Vec<Found>,
}

/// A file at the opening of the source.
struct Found {
    path: PathBuf,
    length: u64,
    head: Head,
}

/// What a file is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    path: String,
    /// How many of its first bytes have been looked at.
    bytes: u64,
    /// Their hash.
    hash: String,
}

impl Head {
    /// So many bytes are looked at, if a file has them at its first opening; it may grow afterwards.
    const BYTES: u64 = 4096;

    /// Looks at a file as it was looked at before, if it was.
    fn of(path: &Path, before: &[Head]) -> std::io::Result<Head> {
        let shown = path.to_string_lossy().into_owned();
        let most = before.iter().find(|head| head.path == shown).map_or(Self::BYTES, |head| head.bytes.min(Self::BYTES));
        let mut bytes = Vec::new();
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(Head { path: shown, bytes: bytes.len() as u64, hash: format!("{:016x}", XxHash3_64::oneshot(&bytes)) })
    }
}

impl FileSource {
    /// Looks up the files of a URL as described [above](super).
    ///
    /// # Errors
    /// No file fits, or one cannot be read.
    pub fn open(url: &str, options: SourceOptions) -> Result<FileSource, Error> {
        if options.format.encoding.registry().is_some() {
            return Err(Error::setup(
                thing(&options),
                "records with a registry are messages of a topic",
                "read a file as json or csv",
            ));
        }
        let decoders = Decoders::open(&options)?;
        if url.starts_with("stdin://") {
            return Ok(FileSource { options, decoders, partitions: vec![0], files: Vec::new() });
        }
        let thing = thing(&options);
        let pattern = if matches!(options.format.encoding, Encoding::Csv { .. }) { "*.csv" } else { "*.ndjson" };
        let before: Vec<Head> = options.identity.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mut files = Vec::new();
        for path in paths::find(&thing, path_of(url), pattern)? {
            let look = || Ok((std::fs::metadata(&path)?.len(), Head::of(&path, &before)?));
            let (length, head) = look().map_err(|error: std::io::Error| {
                let problem = format!("cannot read {}: {error}", path.display());
                Error::setup(&thing, problem, "check the path and its permissions")
            })?;
            files.push(Found { path, length, head });
        }
        let partitions = (0..).take(files.len()).collect();
        Ok(FileSource { options, decoders, partitions, files })
    }

    fn cursor(&self, partition: PartitionId, start: Option<Offset>) -> Result<Cursor, Error> {
        let thing = thing(&self.options);
        let lines = match self.options.format.encoding {
            Encoding::Csv { delimiter } => Lines::quoted(self.options.max_record_bytes, delimiter),
            Encoding::Json | Encoding::Avro(_) | Encoding::Protobuf(_) => Lines::new(self.options.max_record_bytes),
        };
        if self.files.is_empty() && partition == 0 {
            if start.is_some() {
                let problem = "the standard input cannot be read from an offset";
                return Err(Error::setup(thing, problem, "put the records into a file, or begin anew with --reset"));
            }
            if STDIN_TAKEN.swap(true, Ordering::SeqCst) {
                return Err(Error::setup(thing, "the standard input has been read already", "start the job anew"));
            }
            return Ok(Cursor::new(0, Input::stream(std::io::stdin()), lines));
        }
        let file = usize::try_from(partition).ok().and_then(|index| self.files.get(index));
        let Some(Found { path, length, .. }) = file else {
            return Err(Error::setup(thing, format!("has no partition {partition}"), "its partitions are its files, from 0"));
        };
        let input = Input::file(&thing, path, self.options.bounded.then_some(*length))?;
        let mut cursor = Cursor::new(partition, input, lines);
        match start {
            Some(start) if cursor.skip(&thing, start, &self.decoders)? < start => {
                let problem = format!("{} has no line {start} any more", path.display());
                Err(Error::setup(thing, problem, "put the whole file back, or begin anew with --reset or another job name"))
            }
            None if self.options.from_latest => cursor.skip(&thing, Offset::MAX, &self.decoders).map(|_| cursor),
            _ => Ok(cursor),
        }
    }
}

impl Source for FileSource {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn identity(&self) -> Option<String> {
        let heads: Vec<&Head> = self.files.iter().map(|file| &file.head).collect();
        if heads.is_empty() { None } else { serde_json::to_string(&heads).ok() }
    }

    fn reader_from(&self, starts: &[(PartitionId, Option<Offset>)]) -> Result<Box<dyn Reader>, Error> {
        let cursors = starts.iter().map(|&(partition, start)| self.cursor(partition, start)).collect::<Result<_, _>>()?;
        Ok(Box::new(FileReader::new(thing(&self.options), &self.options, &self.decoders, cursors)))
    }
}

fn thing(options: &SourceOptions) -> String {
    format!("source '{}'", options.name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
