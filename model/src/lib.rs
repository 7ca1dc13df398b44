//! The words that Freshet's parts share.
//!
//! `dataflows` computes, `connectors` speak with the outside world, and neither knows the other: what passes between
//! them is defined here, with no behaviour but its own consistency.
//!
//! | word | type |
//! |---|---|
//! | record read from a partition, parsed, with its neighbours | [`Batch`] |
//! | a row that may lie too far in the future | [`Early`] |
//! | a view's rows as one epoch changed them | [`ViewChanges`] |
//! | all that one epoch changes in one sink | [`Commit`] |
//! | a record that could not be parsed or accepted | [`DeadLetter`] |
//! | a record that came after its window had closed | [`LateEvent`] |

mod batch;
mod commit;
pub mod ipc;
mod rejects;
mod schema;
mod time;

pub use batch::{Batch, Early, Offset, PartitionId, Progress};
pub use commit::{Commit, LedgerRow, ViewChanges};
pub use rejects::{DeadLetter, LateEvent, MAX_DEAD_PAYLOAD_BYTES, Reason, Rejects};
pub use schema::{Column, ColumnType, TableSchema};
pub use time::{Epoch, Timestamp};
