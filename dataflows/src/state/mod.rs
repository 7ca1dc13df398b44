//! What is kept of each key, as plain values without timely: the sums that views are made of.
//!
//! Everything here is a commutative semigroup: two parts of the same key's events can be taken in and merged in any order, on any worker,
//! in any batches, and give the same state. That, and nothing else, makes results independent of worker count and arrival.
//!
//! ```text
//! State                one for each key of a fold
//! └─ Slot              one for each component that shares the key
//!    ├─ Windows        open windows (or panes of them), each with its accumulators
//!    ├─ Ranges         the windows in which the key has been seen (distinct counts)
//!    ├─ Sessions       open sessions, disjoint, ascending, each with its accumulators
//!    ├─ Group          no window: one row of accumulators
//!    └─ Ranking        rows in an order, of which the first ones are shown
//! ```
//!
//! A join keeps the rows of both sides, each by itself: what they are worth to each other is in [`Joined`].

mod accumulator;
mod distinct;
mod few;
mod float_sum;
mod funnel;
mod join;
mod moments;
mod quantiles;
mod ranges;
mod ranking;
mod sessions;
mod slot;
mod value;
mod windows;

pub(crate) use accumulator::step_bits;
pub use accumulator::{Accumulator, Kind};
pub use distinct::Distinct;
pub use few::{Choice, Few};
pub use float_sum::FloatSum;
pub use funnel::{Funnel, MAX_STEPS, Steps};
pub use join::{JoinKind, JoinRow, JoinRule, Joined, Pair};
pub use moments::Moments;
pub use quantiles::Quantiles;
pub use ranges::Ranges;
pub use ranking::{RankChange, Ranked, Ranking, rank_changes};
pub use sessions::{Rule, Session, Sessions};
pub use slot::{Group, Shape, Slot, State};
pub use value::{Value, Wide};
pub(crate) use windows::Accumulators;
pub use windows::{Grid, Windows};
