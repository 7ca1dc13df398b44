//! Kafka: topics as sources, as sinks for append-only rows, and as sinks for views.
//!
//! ```text
//! KafkaSource ── KafkaReader ── batch_queue ── librdkafka ── brokers      one topic; partitions shared out among readers
//! KafkaBatchSink ── produce ────────────────── librdkafka ── brokers      rows of a batch, whole batches at a time
//! KafkaTableSink ── producer ───────────────── librdkafka ── brokers      changed rows by key, deletes as tombstones
//! ```
//!
//! The url is `kafka://host:port,host:port/topic`. Everything else the client library can be told is in the job's settings,
//! except what Freshet decides itself (see `client`). The two modules with `unsafe` code, `batch_queue` and `produce`, reach
//! the calls of librdkafka that take or give many messages at once, which the `rdkafka` crate has no words for.

mod address;
mod admin;
mod batch_queue;
mod batch_sink;
mod client;
mod group_offsets;
mod identity;
mod produce;
mod raw_producer;
mod reader;
mod rejects_json;
mod settings;
mod shard;
mod source;
mod table_sink;
mod topic;
mod transaction;
mod trouble;

pub use batch_sink::KafkaBatchSink;
pub use group_offsets::GroupOffsets;
pub(crate) use raw_producer::RawProducer;
pub use reader::KafkaReader;
pub use source::KafkaSource;
pub use table_sink::KafkaTableSink;

#[cfg(test)]
mod tests;
