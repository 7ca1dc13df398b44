//! Appends whole lines to a file, many at a time.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::paths::parent;
use crate::Error;

/// So much is held at most before it is written.
const FULL_BYTES: usize = 1 << 20;
/// So long lines wait at most, if the caller asks often enough.
const INTERVAL: Duration = Duration::from_millis(100);

/// A file at whose end lines are added.
pub(crate) struct Appender {
    thing: String,
    path: PathBuf,
    file: File,
    /// Whole lines that are not in the file yet. After a failed write it begins with what is left of the line that was cut.
    lines: Vec<u8>,
    flushed: Instant,
    /// The length of the file to come [back](Self::take_back) to.
    mark: u64,
}

impl Appender {
    /// Opens or creates a file and its folder; `thing` names the user of it in errors.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub(crate) fn open(thing: &str, path: &Path) -> Result<Appender, Error> {
        let open = || {
            std::fs::create_dir_all(parent(path))?;
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            end_last_line(&mut file)?;
            let mark = file.metadata()?.len();
            Ok((file, mark))
        };
        let (file, mark) = open().map_err(|error: std::io::Error| {
            Error::setup(thing, format!("cannot write {}: {error}", path.display()), "check the path and its permissions")
        })?;
        Ok(Appender { thing: thing.to_owned(), path: path.to_path_buf(), file, lines: Vec::new(), flushed: Instant::now(), mark })
    }

    /// Gives access to the lines that wait, for whole lines to be added.
    pub(crate) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Writes the lines if they are many or have waited.
    ///
    /// # Errors
    /// The disk refuses; what it has not taken waits for the next call.
    pub(crate) fn flush_if_due(&mut self) -> Result<(), Error> {
        if self.lines.len() >= FULL_BYTES || self.flushed.elapsed() >= INTERVAL { self.flush() } else { Ok(()) }
    }

    /// Writes the lines if they are many.
    ///
    /// # Errors
    /// As for [`flush_if_due`](Self::flush_if_due).
    pub(crate) fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.lines.len() >= FULL_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the lines.
    ///
    /// # Errors
    /// As for [`flush_if_due`](Self::flush_if_due).
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let mut written = 0;
        while written < self.lines.len() {
            match self.file.write(&self.lines[written..]) {
                Ok(bytes) if bytes > 0 => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    self.lines.drain(..written);
                    return Err(self.failed(&result.err().unwrap_or(ErrorKind::WriteZero.into())));
                }
            }
        }
        self.lines.drain(..written);
        self.flushed = Instant::now();
        Ok(())
    }

    /// Writes the lines and waits until the disk has them.
    ///
    /// # Errors
    /// As for [`flush_if_due`](Self::flush_if_due).
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.file.sync_data().map_err(|error| self.failed(&error))
    }

    /// Takes note of the length of the file, to come [back](Self::take_back) to.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn mark(&mut self) -> Result<(), Error> {
        self.mark = self.file.metadata().map_err(|error| self.failed(&error))?.len();
        Ok(())
    }

    /// Undoes everything since the mark or the opening, written or waiting. Only for a file that has no other writer.
    pub(crate) fn take_back(&mut self) {
        self.lines.clear();
        if let Err(error) = self.file.set_len(self.mark) {
            tracing::error!(path = %self.path.display(), %error, "cannot take back lines of a commit that failed");
        }
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::unavailable(&self.thing, format!("writing {} failed: {error}", self.path.display()))
    }
}

/// Ends a line that a crash cut, so that the next one does not become a part of it.
fn end_last_line(file: &mut File) -> std::io::Result<()> {
    if file.metadata()?.len() == 0 || !file.metadata()?.is_file() {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_to_a_file_whose_last_line_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/a.ndjson");
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(&path, "one\ntw").unwrap();
        let mut appender = Appender::open("sink 's'", &path).unwrap();
        appender.lines().extend_from_slice(b"three\n");
        appender.close().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }

    #[test]
    fn what_was_added_since_a_mark_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson");
        let mut appender = Appender::open("sink 's'", &path).unwrap();
        appender.lines().extend_from_slice(b"one\n");
        appender.flush().unwrap();
        appender.mark().unwrap();
        appender.lines().extend_from_slice(b"two\n");
        appender.flush().unwrap();
        appender.lines().extend_from_slice(b"three\n");
        appender.take_back();
        appender.lines().extend_from_slice(b"four\n");
        appender.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nfour\n");
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = Appender::open("sink 's'", &folder.path().join("file/a.ndjson")).err().unwrap();
        assert!(!error.is_transient() && error.to_string().contains("cannot write"), "{error}");
    }

    #[test]
    fn a_disk_that_is_full_is_reported_and_the_lines_are_kept() {
        // Linux has a device that is always full.
        let Ok(mut appender) = Appender::open("sink 's'", Path::new("/dev/full")) else { return };
        appender.lines().extend_from_slice(b"one\n");
        let error = appender.flush().unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("writing /dev/full failed"), "{error}");
        assert_eq!(appender.lines(), b"one\n");
    }
}
