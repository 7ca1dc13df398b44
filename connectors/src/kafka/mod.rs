//! Kafka: topics as sources, as sinks for append-only rows, and as sinks for views.
//!
//! ```text
//! KafkaSource ── KafkaReader ── batch_queue ───────────────── brokers     one topic; partitions shared out among readers
//!                     └─ identity ── admin ────────────────── brokers     is it still the same topic?
//! KafkaBatchSink ── shard ─┐                                              a thread for each partition of the source
//! KafkaTableSink ──────────┴─ transaction ─┬ produce ──────── brokers     rows and their epoch, both or neither
//!                                          └ offset_sender
//! KafkaArchive, KafkaTarget ──── archive ─ transaction ─────── brokers     dead letters read, and put back once
//! GroupOffsets ────────────────────────────────────────────── brokers     for people's lag tools alone
//! ```
//!
//! The url is `kafka://host:port,host:port/topic`. Everything else the client library can be told is in the job's settings,
//! except what Freshet decides itself (see `client`). The three modules with `unsafe` code, `batch_queue`, `produce` and `admin`, reach
//! calls of librdkafka for which the `rdkafka` crate has no words.
//!
//! What a sink's user must be allowed when the brokers have ACLs: to write, describe and read the topic; to write and describe the
//! transactional ids, and to read and describe the groups, that begin with `freshet/`.

mod address;
mod admin;
mod archive;
mod batch_queue;
mod batch_sink;
mod client;
mod group_offsets;
mod identity;
mod offset_sender;
mod produce;
mod raw_producer;
mod reader;
mod rejects;
mod replay;
mod settings;
mod shard;
mod source;
mod table_sink;
mod topic;
mod transaction;
mod trouble;

pub(crate) use archive::KafkaArchive;
pub use batch_sink::KafkaBatchSink;
pub use group_offsets::GroupOffsets;
pub(crate) use raw_producer::RawProducer;
pub use reader::KafkaReader;
pub(crate) use replay::KafkaTarget;
pub use source::KafkaSource;
pub use table_sink::KafkaTableSink;

#[cfg(test)]
mod tests;
