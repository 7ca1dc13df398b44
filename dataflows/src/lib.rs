//! What Freshet computes: SQL plans lowered to timely and differential operators. No I/O, no clock, no async.

pub mod plan;
pub mod sql;
