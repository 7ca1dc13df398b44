//! Files, or the standard input, as a source.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use freshet_model::{Offset, PartitionId};

use super::input::Input;
use super::paths;
use super::reader::{Cursor, FileReader};
use crate::open::path_of;
use crate::{Error, Reader, Source, SourceOptions};

/// Set once the standard input has been given to a reader: its bytes can be read only once.
static STDIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// JSON lines of files or of the standard input.
pub struct FileSource {
    options: SourceOptions,
    partitions: Vec<PartitionId>,
    /// Each partition's file and its length at the opening; none for the standard input.
    files: Vec<(PathBuf, u64)>,
}

impl FileSource {
    /// Looks up the files of a URL as described [above](super).
    ///
    /// # Errors
    /// No file fits, or one cannot be read.
    pub fn open(url: &str, options: SourceOptions) -> Result<FileSource, Error> {
        if url.starts_with("stdin://") {
            return Ok(FileSource { options, partitions: vec![0], files: Vec::new() });
        }
        let thing = thing(&options);
        let mut files = Vec::new();
        for path in paths::find(&thing, path_of(url))? {
            let length = std::fs::metadata(&path).map(|found| found.len());
            files.push((path, length.map_err(|error| Error::setup(&thing, error.to_string(), "check the path"))?));
        }
        let partitions = (0..).take(files.len()).collect();
        Ok(FileSource { options, partitions, files })
    }

    fn cursor(&self, partition: PartitionId) -> Result<Cursor, Error> {
        let thing = thing(&self.options);
        let limit = self.options.max_record_bytes;
        if self.files.is_empty() && partition == 0 {
            if STDIN_TAKEN.swap(true, Ordering::SeqCst) {
                return Err(Error::setup(thing, "the standard input has been read already", "start the job anew"));
            }
            return Ok(Cursor::new(0, Input::stream(std::io::stdin()), limit));
        }
        let file = usize::try_from(partition).ok().and_then(|index| self.files.get(index));
        let Some((path, length)) = file else {
            return Err(Error::setup(thing, format!("has no partition {partition}"), "its partitions are its files, from 0"));
        };
        let input = Input::file(&thing, path, self.options.bounded.then_some(*length))?;
        let mut cursor = Cursor::new(partition, input, limit);
        if self.options.from_latest {
            cursor.skip_to_end(&thing)?;
        }
        Ok(cursor)
    }
}

impl Source for FileSource {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn identity(&self) -> Option<String> {
        None
    }

    fn reader_from(&self, starts: &[(PartitionId, Option<Offset>)]) -> Result<Box<dyn Reader>, Error> {
        let partitions: Vec<_> = starts.iter().map(|(partition, _)| *partition).collect();
        let cursors = partitions.iter().map(|&partition| self.cursor(partition)).collect::<Result<_, _>>()?;
        Ok(Box::new(FileReader::new(thing(&self.options), &self.options, cursors)))
    }
}

fn thing(options: &SourceOptions) -> String {
    format!("source '{}'", options.name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
