//! The places where state can lie: plain files, and objects with put-if-absent.
//!
//! Both offer the same few operations, and everything above is written once. Paths are relative, with `/` between their parts.

mod files;
mod files_write;
mod memory;
mod objects;
mod objects_lease;
mod url;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

#[cfg(test)]
pub(crate) use self::objects::Objects;
pub(crate) use self::url::open;
use crate::Error;
use crate::owner::Owner;

/// The store of one job's state, shared by threads.
pub(crate) type Shared = Arc<dyn Store>;

/// A place that holds named bytes.
pub(crate) trait Store: Debug + Send + Sync {
    /// Names the place, for messages.
    fn place(&self) -> &str;

    /// Lists the paths of all files below a folder, ascending. A folder that is not there is empty.
    fn list(&self, folder: &str) -> Result<Vec<String>, Error>;

    /// Reads several whole files, in order. None for one that is not there; one that is longer than `limit` is an error.
    fn read(&self, paths: &[String], limit: u64) -> Result<Vec<Option<Vec<u8>>>, Error>;

    /// Reads a range of a file, or less if the file ends before. None if it is not there.
    fn read_range(&self, path: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, Error>;

    /// Returns the length of a file, or None if it is not there.
    fn length(&self, path: &str) -> Result<Option<u64>, Error>;

    /// Writes a whole file durably unless it is there already, and tells whether it did.
    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<bool, Error>;

    /// Deletes a file; one that is not there is no error.
    fn delete(&self, path: &str) -> Result<(), Error>;

    /// Begins a large file, which appears under its name when it is finished.
    fn create(&self, path: &str) -> Result<Box<dyn Upload>, Error>;

    /// Begins a segment of the log that durably has its first bytes as soon as it can be seen. It must not be there yet.
    fn segment(&self, path: &str, bytes: &[u8]) -> Result<Box<dyn Segment>, Error>;

    /// Writes a generation's file unless it is there already, so that [`holder`](Self::holder) finds its owner alive from the first
    /// moment on. None if it is there.
    fn claim(&self, generation: u64, owner: &Owner) -> Result<Option<Box<dyn Claim>>, Error>;

    /// Returns the owner of a generation if it is alive.
    fn holder(&self, generation: u64) -> Result<Option<Owner>, Error>;
}

/// A large file being written. Dropped before it is finished, it leaves nothing that has its name.
pub(crate) trait Upload: Debug + Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Makes the file durable and gives it its name.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// A segment of the log being written.
pub(crate) trait Segment: Debug + Send {
    /// Appends bytes durably. After an error nobody knows how many of them are there.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error>;
}

/// A generation that is held until this is dropped.
pub(crate) trait Claim: Debug + Send + Sync {}
