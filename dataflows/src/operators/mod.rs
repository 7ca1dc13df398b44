//! The operators, one a file: loops that move batches, rows and capabilities around pure state.
//!
//! ```text
//! source ─ batches ─┬─ partial ─ partials ─(by key)─ fold ─ deltas ─┬─(to the sink's worker)─ drain ─▶ table sink
//!                   │                                  ▲            └─ regroup ─ partials ─ fold …   (views over views)
//!                   │                                  └── contributions of distinct counts, from other folds
//!                   └─ map ─ rows ─ append ─▶ batch sink
//! ```

mod agenda;
pub mod append;
pub mod drain;
pub mod fold;
pub mod keep;
pub mod map;
pub mod partial;
pub mod preaggregate;
pub mod regroup;
pub mod rows;
pub mod source;
pub mod stamp;
