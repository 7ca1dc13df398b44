//! The formats of records and rows, apart from the systems that carry them.
//!
//! | module | does |
//! |---|---|
//! | [`Format`] | says how the records of a source are written, and where in them its columns are |
//! | [`Decoder`] | turns records into Arrow columns; what cannot be accepted becomes a dead letter |
//! | `json`, `avro`, `protobuf`, `csv` | read one record into one slot a column |
//! | `Encoder` | encodes the rows that a topic gets, in JSON or Avro |
//! | [`to_json`] | encodes the rows of Arrow batches as JSON, one object a row |
//!
//! All work on bytes alone: they do no I/O, save that Avro and Protobuf ask the registry for schemas, and know no clock. Two are inverse to one another: what [`to_json`] writes, a JSON
//! decoder with the same columns reads back as the same values (floats that are not finite become null).

mod avro;
mod binary;
mod choice;
mod columns;
mod confluent;
mod convert;
mod csv;
mod decimal;
mod decoder;
mod depth;
mod encoder;
mod json;
mod layout;
mod protobuf;
mod text;
mod time;
pub mod to_json;
mod want;

use freshet_model::Timestamp;

pub use choice::{Encoding, FieldSpec, Format};
pub(crate) use csv::Header;
pub use decoder::{Decoder, Decoders, FULL_BYTES};
pub(crate) use encoder::Encoder;
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

#[cfg(test)]
mod tests;
