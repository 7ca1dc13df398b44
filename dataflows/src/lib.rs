//! What Freshet computes: SQL plans lowered to timely and differential operators. No I/O, no clock, no async.

mod appending;
mod arrangement;
pub mod build;
pub mod changes;
pub mod coalesce;
pub mod epochs;
pub mod explain;
mod expressions;
pub mod keys;
mod ledger;
pub mod lookup;
pub mod lower;
pub mod operators;
pub mod outlet;
pub mod plan;
mod row_format;
pub mod saved;
pub mod saving;
pub mod sql;
pub mod state;

pub use {datafusion_common, datafusion_expr};
