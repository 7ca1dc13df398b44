//! What the user-activity job has to show, computed the naive way: every record is read by a consumer of our own, parsed by another
//! parser, kept in memory, and counted in sorted maps. Shares no code with Freshet.
//!
//! Which events are late depends on where the epochs were cut, so the oracle takes the late (event, window) pairs from Freshet,
//! after it has checked that each of them can be late at all.

mod accounts;
mod late;
mod topic;
mod views;

pub(crate) use accounts::check_ledger;
pub(crate) use late::Late;
pub(crate) use topic::{Contents, Topic, fingerprint, parse_time};
pub(crate) use views::{active_users, page_views, sessions};

/// Microseconds in a minute.
pub(crate) const MINUTE: i64 = 60_000_000;
/// The source's watermark delay.
pub(crate) const DELAY: i64 = 2 * MINUTE;
/// The gap that ends a session, and the size of a hopping window.
pub(crate) const FIVE_MINUTES: i64 = 5 * MINUTE;
