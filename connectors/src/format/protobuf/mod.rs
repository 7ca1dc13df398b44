//! Reads Protobuf: one message each, in the encoding of a schema that is found elsewhere.
//!
//! ```text
//! 0, id of the schema (4 bytes), which of its messages, message ── registry ──▶ .proto ── plan: what becomes of each field ──▶ slots
//! ```
//!
//! | module | does |
//! |---|---|
//! | `confluent` | finds the plan of a message by what it begins with: its schema's id, and the place of its type in there |
//! | `schema` | brings the text of a `.proto` file, and of those that it imports, into descriptors |
//! | `plan` | decides, once for a type, what becomes of each field: a column's value, or nothing |
//! | `scalar` | the values without parts, and which columns take them |
//! | `input` | the wire: fields by their numbers |
//! | `show` | a value as JSON text, for columns of type `json` |
//!
//! A field is found by the column's name, or else by its name in JSON; what no column names is passed over by its form on the wire alone. A
//! field that is not there is NULL or its column's default if the schema can tell its absence from its zero value, and the zero value if it cannot.
//! A schema of which a field cannot become its column at all is refused as a whole, so that the outcome is the same for each of its records.
//!
//! What Protobuf says of a message in pieces holds: of several values of a field the last one counts, messages are merged, a member of a
//! `oneof` ends the others. Groups, which Protobuf itself gave up, are not read.

mod confluent;
mod input;
mod plan;
mod scalar;
mod schema;
mod show;

pub(super) use confluent::Confluent;

#[cfg(test)]
mod tests;
