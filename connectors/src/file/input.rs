//! Where a reader's bytes come from: a file, or a stream whose reads block.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::lines::{CHUNK_BYTES, Lines};
use crate::Error;

/// How many chunks of a stream are read ahead.
const CHUNKS_AHEAD: usize = 4;

/// What a fetch brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// Bytes, which are in the lines now; or a signal came in between, and it is to be tried again.
    Bytes,
    /// Nothing for now.
    Nothing,
    /// Nothing, and never again.
    End,
}

/// A source of bytes that never blocks.
pub(super) enum Input {
    /// A file on disk.
    File(Followed),
    /// Chunks that another thread reads.
    Stream(Receiver<std::io::Result<Vec<u8>>>),
}

/// A file that is read to a bound, or followed as it grows.
pub(super) struct Followed {
    file: File,
    path: PathBuf,
    position: u64,
    /// Where to stop; `None` to follow.
    bound: Option<u64>,
}

impl Input {
    /// Opens a file; with a bound, it ends there.
    pub(super) fn file(thing: &str, path: &Path, bound: Option<u64>) -> Result<Input, Error> {
        let file = File::open(path).map_err(|error| {
            Error::setup(thing, format!("cannot read {}: {error}", path.display()), "check the path and its permissions")
        })?;
        Ok(Input::File(Followed { file, path: path.to_path_buf(), position: 0, bound }))
    }

    /// Reads a stream on a thread of its own, which ends with the stream, or with the next read after this input is dropped.
    pub(super) fn stream(mut stream: impl Read + Send + 'static) -> Input {
        let (sender, receiver) = bounded(CHUNKS_AHEAD);
        std::thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = match stream.read(&mut chunk) {
                    Ok(0) => return,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    read => read,
                };
                let failed = read.is_err();
                let message = read.map(|length| {
                    chunk.truncate(length);
                    chunk
                });
                if sender.send(message).is_err() || failed {
                    return;
                }
            }
        });
        Input::Stream(receiver)
    }

    /// Reads what is there, at most a chunk, into `lines`.
    pub(super) fn fetch(&mut self, thing: &str, lines: &mut Lines) -> Result<Fetched, Error> {
        match self {
            Input::File(followed) => followed.fetch(thing, lines),
            Input::Stream(receiver) => match receiver.try_recv() {
                Ok(Ok(chunk)) => {
                    // A slice is read without an error, and a chunk of the stream is no longer than one of the lines.
                    lines.fill(&mut chunk.as_slice(), u64::MAX).map_err(|error| unreadable(thing, &error))?;
                    Ok(Fetched::Bytes)
                }
                Ok(Err(error)) => Err(unreadable(thing, &error)),
                Err(TryRecvError::Empty) => Ok(Fetched::Nothing),
                Err(TryRecvError::Disconnected) => Ok(Fetched::End),
            },
        }
    }

    /// Returns how many bytes are known to wait.
    pub(super) fn waiting(&self) -> u64 {
        match self {
            Input::Stream(_) => 0,
            Input::File(followed) => {
                let end = followed.bound.or_else(|| followed.file.metadata().ok().map(|found| found.len()));
                end.unwrap_or(0).saturating_sub(followed.position)
            }
        }
    }
}

impl Followed {
    fn fetch(&mut self, thing: &str, lines: &mut Lines) -> Result<Fetched, Error> {
        let most = self.bound.map_or(u64::MAX, |bound| bound.saturating_sub(self.position));
        if most == 0 {
            return Ok(Fetched::End);
        }
        match lines.fill(&mut self.file, most) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(Fetched::Bytes),
            Err(error) => Err(unreadable(thing, &error)),
            Ok(0) => {
                self.check_unchanged(thing)?;
                Ok(Fetched::Nothing)
            }
            Ok(read) => {
                self.position += read as u64;
                Ok(Fetched::Bytes)
            }
        }
    }

    /// At the end of the file: tells whether it is still the file that was opened, with all that was read of it.
    fn check_unchanged(&self, thing: &str) -> Result<(), Error> {
        let lost = |what: &str| {
            let problem = format!("{} was {what} while it was read", self.path.display());
            Err(Error::setup(thing, problem, "only append to it; start the job anew to read it from the beginning"))
        };
        let Ok(there) = std::fs::metadata(&self.path) else { return lost("removed") };
        let Ok(opened) = self.file.metadata() else { return lost("removed") };
        if (there.dev(), there.ino()) != (opened.dev(), opened.ino()) {
            return lost("replaced by another file");
        }
        if opened.len() < self.bound.unwrap_or(self.position) {
            return lost("truncated");
        }
        Ok(())
    }
}

fn unreadable(thing: &str, error: &std::io::Error) -> Error {
    Error::setup(thing, format!("reading failed: {error}"), "check the disk or the program that writes it")
}
