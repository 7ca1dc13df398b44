//! What the jobs have to show, computed the naive way: every record is read by a consumer of our own, parsed by another
//! parser, kept in memory, and counted in sorted maps. Shares no code with Freshet.
//!
//! Which events are late depends on where the epochs were cut, so the oracle takes the late (event, window) pairs from Freshet,
//! after it has checked that each of them can be late at all.

mod accounts;
mod events;
pub mod jobs;
mod late;
mod rows;
mod stream;
mod tables;
mod topic;
mod views;
mod windows;

pub use accounts::check_ledger;
pub use events::{Contents, lake_contents, topic_contents};
pub use late::Late;
pub use rows::{Rows, check_rows, decimal, read as read_rows};
pub use stream::{Declared, Fact, Stream};
pub use tables::{Difference, check_dead_letters, check_tables, compare_tables, dead_letters};
pub use topic::{Event, Topic, fingerprint, parse_time};
pub use windows::{Cells, Window, Windowed};

/// Microseconds in a minute.
pub const MINUTE: i64 = 60_000_000;
/// The source's watermark delay.
pub const DELAY: i64 = 2 * MINUTE;
/// The gap that ends a session, and the size of a hopping window.
pub const FIVE_MINUTES: i64 = 5 * MINUTE;
