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
    /// Bytes have been written since the disk was waited for.
    unsynced: bool,
}

impl Appender {
    /// Opens or creates a file and its folder, and ends a line that was cut; `thing` names the user of it in errors.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub(crate) fn open(thing: &str, path: &Path) -> Result<Appender, Error> {
        let mut appender = Appender::open_as_it_is(thing, path)?;
        end_last_line(&mut appender.file).map_err(|error| appender.failed(&error))?;
        Ok(appender)
    }

    /// Opens or creates a file and its folder.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub(crate) fn open_as_it_is(thing: &str, path: &Path) -> Result<Appender, Error> {
        let open = || {
            std::fs::create_dir_all(parent(path))?;
            OpenOptions::new().read(true).append(true).create(true).open(path)
        };
        let file = open().map_err(|error: std::io::Error| {
            Error::setup(thing, format!("cannot write {}: {error}", path.display()), "check the path and its permissions")
        })?;
        let (thing, path) = (thing.to_owned(), path.to_path_buf());
        Ok(Appender { thing, path, file, lines: Vec::new(), flushed: Instant::now(), unsynced: false })
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
                Ok(bytes) if bytes > 0 => {
                    written += bytes;
                    self.unsynced = true;
                }
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
        if self.unsynced {
            self.file.sync_data().map_err(|error| self.failed(&error))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Returns the length of the file, without the lines that wait.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn length(&self) -> Result<u64, Error> {
        Ok(self.file.metadata().map_err(|error| self.failed(&error))?.len())
    }

    /// Drops the lines that wait and cuts the file off at a length that it has had. Only for a file that has no other writer.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn cut(&mut self, length: u64) -> Result<(), Error> {
        self.lines.clear();
        self.unsynced = true;
        self.file.set_len(length).map_err(|error| self.failed(&error))
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
    fn what_was_added_can_be_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson");
        let mut appender = Appender::open("sink 's'", &path).unwrap();
        appender.lines().extend_from_slice(b"one\n");
        appender.flush().unwrap();
        let length = appender.length().unwrap();
        appender.lines().extend_from_slice(b"two\n");
        appender.flush().unwrap();
        appender.lines().extend_from_slice(b"three\n");
        appender.cut(length).unwrap();
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
