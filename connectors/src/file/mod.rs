//! Files of lines, one record a line, as sources; of JSON lines, as sinks.
//!
//! | URL | as a source | as a sink |
//! |---|---|---|
//! | `file:///abs/events.ndjson`, `file://rel/events.ndjson` | one partition, 0 | lines are appended; `.ndjson` is added to a name without an extension |
//! | `file://folder`, `file://folder/2026-*.ndjson` | each file (of a folder: each `*.ndjson`, or each `*.csv` of a source in CSV) is a partition, in the order of their names | |
//! | `stdin://` | one partition, 0, read once in a process | |
//!
//! The offset of a record is its line's number, from 0; in CSV the header has that of the first line, and a record may have several lines. A line ends at a line feed, before which a carriage return is dropped; an
//! empty line is a dead letter, but what follows the last line feed of a file is a line only if it is not empty.
//!
//! Read again from any line, a file brings the same records, with one exception: a line has no time of arrival, so whether its event time lies too far
//! in the future is judged by the clock at each reading. A line that was refused for that may be accepted when it is replayed after a crash.
//!
//! A bounded source ends where the files ended when it was opened. One that follows the files takes a line when its line feed has
//! been written, and stops with an error when a file was truncated, replaced or removed. The list of files is that of the opening.
//!
//! As a table, by which streams are enriched, files are read as a whole whenever one of them has changed; an empty line is none of its records.
//!
//! A file is no transaction, but the folder `<file>.freshet` beside it says which of its bytes are those of which epoch (`claim.rs`): the next
//! start of the job cuts off what lies behind and goes on there, so that each row is in the file once. Only one process writes a file; of a cluster
//! of several processes, a table sink has one owner, and a sink for rows is refused with the ways out. What is no file on a disk, such as
//! `/dev/stdout` or a named pipe, takes nothing back: it gets rows of replayed epochs again (at least once).

mod appender;
mod archive;
mod batch_sink;
mod claim;
mod input;
mod intake;
mod lines;
mod paths;
mod quotes;
mod reader;
mod rejects;
mod replay;
mod shared;
mod source;
mod store;
mod table;
mod table_sink;

pub(crate) use appender::Appender;
pub(crate) use archive::FileArchive;
pub use batch_sink::NdjsonBatchSink;
pub(crate) use replay::FileTarget;
pub use source::FileSource;
pub use table::FileTable;
pub use table_sink::NdjsonTableSink;
