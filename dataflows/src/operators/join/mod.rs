//! Joins the rows of two inputs that have one key.
//!
//! ```text
//! left ──▶ gather ─┐                     ┌─ deltas: rows of the view
//!                  ├ bundles ─(by key)─▶ match
//! right ─▶ gather ─┘                     ▲ │
//!                                        │ ▼
//!                        key, side, time, row → how many
//! ```
//!
//! Each row is an entry of its own in an arrangement that has them in the order of keys, sides and times: what an epoch brings is added, and whom a row may
//! have for a partner is read from one place. So a key with many rows costs no more than the rows that are read.
//!
//! # Frontiers
//! See `course.rs`.
//!
//! # Invariants
//! - What an epoch changes of the result does not depend on how its rows were split.
//! - A row is there for as long as it is needed (see [`crate::state::Joined`]). When it is cleared after that makes no difference.

pub mod gather;
mod matching;
pub mod packing;
pub mod pairs;
mod place;

use serde::{Deserialize, Serialize};

pub use matching::{Matched, Options, join};

/// Rows of one side for the worker that keeps their keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Bundle {
    /// The worker.
    to: u64,
    /// The rows with their keys, as `place.rs` writes them, end to end.
    bytes: Vec<u8>,
    /// Where each row ends, and how many there are more of it.
    rows: Vec<(usize, i64)>,
}
