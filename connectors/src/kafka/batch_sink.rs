//! A topic as a sink for append-only rows.
//!
//! Each row is one JSON message without a key. Rows of a source's partition go to the partition of the topic with the same number,
//! modulo the topic's partitions, so that their order is kept. The producer is idempotent: what the client itself
//! sends again after a lost answer is not repeated in the topic.

use arrow::array::RecordBatch;
use freshet_model::{Epoch, PartitionId, TableSchema};
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;

use super::address::Address;
use super::client::{self, Context, Owned};
use super::produce::TopicProducer;
use super::topic::Inquiry;
use crate::format::Rows;
use crate::{BatchSink, Error, SinkOptions};

/// librdkafka's settings for throughput within bounded memory.
const OWN: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    ("delivery.report.only.error", "true"),
    ("compression.type", "lz4"),
    ("linger.ms", "10"),
    ("queue.buffering.max.kbytes", "65536"),
    ("queue.buffering.max.messages", "250000"),
];

/// What the user may not set.
pub(super) const OWNED: [Owned; 4] = [
    ("enable.idempotence", "without it a lost answer could repeat or reorder rows"),
    ("delivery.report.only.error", "rows are taken for delivered unless they are reported"),
    ("transactional.id", "it belongs to the sink"),
    ("acks", "rows must be on all replicas in sync"),
];

/// Rows as JSON messages in a topic.
pub struct KafkaBatchSink {
    thing: String,
    topic: String,
    producer: TopicProducer,
    partitions: Vec<PartitionId>,
    rows: Rows,
}

impl KafkaBatchSink {
    /// Finds the topic, or makes it with four partitions.
    ///
    /// # Errors
    /// The url or a setting is wrong, no broker answers within ten seconds, or the topic can be neither found nor made.
    pub fn open(url: &str, options: SinkOptions) -> Result<KafkaBatchSink, Error> {
        let thing = format!("sink '{}'", options.name);
        let address = Address::parse(&thing, url)?;
        let (config, partitions) = prepare(&thing, &address, &OWN, &options, &[&address.topic])?;
        let producer = TopicProducer::new(&config, Context::new(&thing, &address), &address.topic);
        let producer = producer.map_err(|error| client::refused(&thing, &error))?;
        Ok(KafkaBatchSink { thing, topic: address.topic, producer, partitions, rows: Rows::default() })
    }

    fn sort(&self, code: RDKafkaErrorCode) -> Error {
        client::sort(&self.thing, &self.topic, code)
    }
}

impl BatchSink for KafkaBatchSink {
    fn prepare(&mut self, _rows: &TableSchema, _: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error> {
        Ok(BTreeMap::new())
    }

    fn write(&mut self, _epoch: Epoch, partition: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        self.rows.encode(rows);
        let slot = usize::try_from(partition).unwrap_or(0) % self.partitions.len();
        self.producer.send_all(self.partitions[slot], &self.rows).map_err(|code| self.sort(code))
    }

    fn seal(&mut self, _epoch: Epoch) -> Result<(), Error> {
        self.producer.check().map_err(|code| self.sort(code))
    }

    fn flush(&mut self, _: Epoch) -> Result<(), Error> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.producer.flush().map_err(|code| self.sort(code))
    }
}

/// Makes a sink's settings, and its topics where they are missing; returns the partitions of the first.
pub(super) fn prepare(
    thing: &str,
    address: &Address,
    own: &[(&str, &str)],
    options: &SinkOptions,
    topics: &[&str],
) -> Result<(ClientConfig, Vec<PartitionId>), Error> {
    let config = client::configure(thing, address, own, &OWNED, &options.settings)?;
    let inquiry = Inquiry::new(thing, address, &config)?;
    let mut found = topics.iter().map(|topic| inquiry.ensure(topic)).collect::<Result<Vec<_>, _>>()?;
    Ok((config, found.swap_remove(0)))
}
