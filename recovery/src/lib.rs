//! A job's durable state: epoch log, checkpoints, generation and lease.
//!
//! Everything that a job must know after a crash lies in one place, named by a URL, and this crate is the only one that writes
//! there. It does not know what the bytes mean: payloads are opaque, and epochs are only counted.
//!
//! ```text
//!  State (leader)                Files (every process, every thread)
//!    │ open: generation, lease     │ part: writes a part of a checkpoint
//!    │ read_log, begin, append     │ parts: reads a range of one
//!    │ put_version                 │ version: reads a version of a table
//!    │ publish, collect, reset     │
//!    ▼                             ▼
//!  Store: plain files, or objects with put-if-absent
//!    generations/  leases/  log/  floors/  resets/  checkpoints/  tables/
//! ```
//!
//! # Invariants
//! - A generation's number is handed out once. Who finds a higher one than its own stops writing ([`Error::Fenced`]).
//! - The log is a chain: every record names the hash of the one before. A generation's first record names where the older ones end, so
//!   that what a stopped leader writes after it has been replaced belongs to nothing.
//! - What was acknowledged is durable; what is read is checked. A reader gets what was written, a prefix that ends where the writing
//!   was cut off, or [`Error::Damaged`].
//! - A checkpoint exists once its manifest does, and the manifest is written last.
//!
//! What is absent: timely, connectors, any decision about what to log and when to take a checkpoint.

mod bytes;
mod checkpoint;
mod collect;
mod error;
mod files;
mod log;
mod names;
mod owner;
mod point;
mod state;
mod store;
mod tables;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Entries, Fold, Manifest, Part, PartInfo};
pub use error::{Damaged, Error};
pub use files::Files;
pub use log::{Entry, Log};
pub use state::State;
