//! The formats of records and rows, apart from the systems that carry them.
//!
//! | module | does |
//! |---|---|
//! | [`json`] | decodes JSON records straight into Arrow columns; what cannot be accepted becomes a dead letter |
//! | [`to_json`] | encodes the rows of Arrow batches as JSON, one object a row |
//!
//! Both work on bytes alone: they do no I/O and know no clock. The two are inverse to one another: what [`to_json`] writes, a
//! decoder with the same columns reads back as the same values (floats that are not finite become null).

mod columns;
mod decimal;
mod depth;
pub mod json;
mod time;
pub mod to_json;

use freshet_model::Timestamp;

pub use to_json::{Rows, rows};

/// Reads a time as people and [`Timestamp`] write it: RFC 3339, or date and time apart by a space, in UTC unless an offset is given.
#[must_use]
pub fn read_time(text: &str) -> Option<Timestamp> {
    match text {
        "-" | "-infinity" => Some(Timestamp::MIN),
        "∞" | "infinity" => Some(Timestamp::MAX),
        text => time::parse(text).map(Timestamp),
    }
}
