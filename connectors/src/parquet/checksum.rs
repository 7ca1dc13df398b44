//! A file that is hashed while it is written, so that it can be known again later.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::path::Path;

use twox_hash::XxHash3_64;

/// What tells whether a file is still the one that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seal {
    /// The file's length.
    pub(super) bytes: u64,
    /// Its XXH3, in 16 hexadecimal digits.
    pub(super) checksum: String,
}

/// A new file, hashed as it is written.
pub(super) struct Hashed {
    file: File,
    hasher: XxHash3_64,
    bytes: u64,
}

impl Hashed {
    /// Creates a file; one of this name may not be there.
    pub(super) fn create(path: &Path) -> io::Result<Hashed> {
        let file = File::options().write(true).create_new(true).open(path)?;
        Ok(Hashed { file, hasher: XxHash3_64::new(), bytes: 0 })
    }

    /// Waits until the disk has the file's content; its name is durable when the folder is.
    pub(super) fn finish(self) -> io::Result<Seal> {
        self.file.sync_all()?;
        Ok(Seal { bytes: self.bytes, checksum: hex(self.hasher.finish()) })
    }
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.write(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns the checksum of some bytes.
pub(super) fn of(bytes: &[u8]) -> String {
    hex(XxHash3_64::oneshot(bytes))
}

/// Tells whether a file is there and as it was sealed.
pub(super) fn matches(path: &Path, bytes: u64, checksum: &str) -> io::Result<bool> {
    if !has_length(path, bytes)? {
        return Ok(false);
    }
    let (mut file, mut hasher) = (File::open(path)?, XxHash3_64::new());
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hasher.finish()) == checksum),
            read => hasher.write(&buffer[..read]),
        }
    }
}

/// Tells whether a file is there and has a length.
pub(super) fn has_length(path: &Path, bytes: u64) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}
