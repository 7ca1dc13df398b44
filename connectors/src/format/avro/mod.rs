//! Reads and writes Avro: one record each, in the encoding of a schema that is found elsewhere.
//!
//! ```text
//! 0, id of the writer's schema (4 bytes), record ── registry ──▶ schema ── plan: what becomes of each field ──▶ slots
//! ```
//!
//! | module | does |
//! |---|---|
//! | `confluent` | finds the plan of a message by the schema id that it begins with |
//! | `schema` | brings a writer's schema into a form that is quick to follow |
//! | `plan` | decides, once for a schema, what becomes of each field: a column's value, or nothing |
//! | `scalar` | the values without parts, and which columns take them |
//! | `input` | bytes as Avro writes them |
//! | `show` | a value as JSON text, for columns of type `json` |
//! | `write` | rows in the encoding of the schema that their columns make |
//!
//! The columns of a job are the reader's schema: a field is found by the column's name, or else by an alias that the writer gives it; what no
//! column names is passed over; a column without a field is NULL or its default; and a number becomes any wider type. A schema of
//! which a field cannot become its column at all is refused as a whole, so that the outcome is the same for each of its records.

mod confluent;
mod input;
mod plan;
mod scalar;
mod schema;
mod show;
pub(crate) mod write;

pub(super) use confluent::Confluent;

#[cfg(test)]
mod tests;
