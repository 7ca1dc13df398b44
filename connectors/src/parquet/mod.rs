//! The lake: append-only rows as Parquet files, in folders by event time, each row in exactly one of them.
//!
//! ```text
//! lake/event_date=2026-01-29/event_hour=09/p00003-e000000000012-000000000345-user_activity.lake.parquet    seen by readers
//! lake/_staging/user_activity.lake/p00003/g000007-n000004-h0000491361.parquet                              a part of a file to come
//! lake/_freshet/user_activity.lake/p00003/m-000000017.json                                                 what the lake holds
//! ```
//!
//! A file holds rows of one source partition and one hour, of the epochs in its name, which is a function of what it holds, whichever worker and
//! generation wrote it. Rows without an event time are in the folders
//! `event_date=__HIVE_DEFAULT_PARTITION__/event_hour=__HIVE_DEFAULT_PARTITION__`; a table without an event-time column has no folders.
//!
//! | moment | what happens |
//! |---|---|
//! | rows come | they wait for their epoch's seal |
//! | a seal | they are written to the part of their hour; an hour with enough of them, or old enough, is shown |
//! | a flush | the open parts are completed and named in a manifest, with the epoch up to which the lake holds the partition |
//! | an hour is shown | its parts become one file, a manifest says so, the file gets its place (`partition.rs`, `show.rs`) |
//! | a start | the generation takes the chain of manifests over, completes or removes what was left (`take_over.rs`) |
//!
//! Invariants:
//! - A file outside `_staging` and `_freshet` is complete, on disk, never changes, and holds whole epochs. Readers skip names that begin with `_`.
//! - Files and parts hold rows of sealed epochs only: what a manifest says to be held is held whole, and nothing beyond it.
//! - The newest manifest of a partition is the truth about it. It is written by the newest generation only (`chain.rs`), and no file is shown that no
//!   manifest has named.
//! - All that lasts belongs to a partition of the source, nothing to a worker: a restart may have another number of them.
//! - At most [`MAX_OPEN`] parts are open, and they hold at most [`MAX_HELD_BYTES`] in memory. Besides, the rows of epochs that are not sealed are
//!   in memory: the caller bounds the number of such epochs.
//!
//! After an error a sink takes nothing more: the next generation goes on from what the lake holds.
//!
//! What is absent: any removal of files that readers see, other than by `reset`.

mod chain;
mod checksum;
mod folders;
mod hours;
mod lake;
mod manifest;
mod merge;
mod open_file;
mod open_files;
mod partition;
mod show;
mod sink;
mod take_over;

pub use self::sink::ParquetSink;

/// At most so many files are open at once; the one that was not written to for longest is finished to make room.
pub const MAX_OPEN: usize = 64;
/// At most so much is held in memory by all open files together; the one that holds most writes it to disk.
pub const MAX_HELD_BYTES: usize = 256 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
