//! Files of JSON lines, one record a line, as sources and sinks.
//!
//! | URL | as a source | as a sink |
//! |---|---|---|
//! | `file:///abs/events.ndjson`, `file://rel/events.ndjson` | one partition, 0 | lines are appended; `.ndjson` is added to a name without an extension |
//! | `file://folder`, `file://folder/2026-*.ndjson` | each file (of a folder: each `*.ndjson`) is a partition, in the order of their names | |
//! | `stdin://` | one partition, 0, read once in a process | |
//!
//! The offset of a record is its line's number, from 0. A line ends at a line feed, before which a carriage return is dropped; an
//! empty line is a dead letter, but what follows the last line feed of a file is a line only if it is not empty.
//!
//! A bounded source ends where the files ended when it was opened. One that follows the files takes a line when its line feed has
//! been written, and stops with an error when a file was truncated, replaced or removed. The list of files is that of the opening.
//!
//! A file is no transaction: after a crash and a restart, rows that were replayed are there twice. Each line of a table sink
//! names its `_epoch`, so that a reader can tell.

mod appender;
mod batch_sink;
mod input;
mod intake;
mod lines;
mod paths;
mod reader;
mod rejects;
mod source;
mod table_sink;

pub(crate) use appender::Appender;
pub use batch_sink::NdjsonBatchSink;
pub use source::FileSource;
pub use table_sink::NdjsonTableSink;
