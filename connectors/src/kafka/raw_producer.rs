//! A producer of records that are encoded already, to partitions of the caller's choice.

use freshet_model::PartitionId;
use rdkafka::error::RDKafkaErrorCode;

use super::address::Address;
use super::client::{self, Context};
use super::produce::TopicProducer;
use super::topic::Inquiry;
use super::transaction::OWNED;
use crate::Error;
use crate::format::Rows;
use crate::open::query_of;

/// librdkafka's settings for throughput within bounded memory.
const OWN: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    ("delivery.report.only.error", "true"),
    ("compression.type", "lz4"),
    ("linger.ms", "10"),
    ("queue.buffering.max.kbytes", "131072"),
    ("queue.buffering.max.messages", "500000"),
];

/// Records of one partition that are handed over to the client at once.
const TOGETHER: usize = 1000;

/// A producer to the partitions of one topic.
pub(crate) struct RawProducer {
    thing: String,
    topic: String,
    producer: TopicProducer,
    partitions: Vec<PartitionId>,
    /// The records of each partition that wait to be handed over.
    waiting: Vec<Rows>,
}

impl RawProducer {
    /// Finds the topic of `kafka://host:port/topic?setting=value`, or makes it with so many partitions.
    ///
    /// # Errors
    /// The url or a setting is wrong, no broker answers within ten seconds, or the topic can be neither found nor made.
    pub(crate) fn open(thing: &str, url: &str, new_partitions: PartitionId) -> Result<RawProducer, Error> {
        let address = Address::parse(thing, url)?;
        let config = client::configure(thing, &address, &OWN, &OWNED, &query_of(url).into_iter().collect())?;
        let partitions = Inquiry::new(thing, &address, &config)?.ensure_with(&address.topic, new_partitions)?;
        let producer = TopicProducer::new(&config, Context::new(thing, &address), &address.topic);
        let producer = producer.map_err(|error| client::refused(thing, &error))?;
        let waiting = partitions.iter().map(|_| Rows::default()).collect();
        Ok(RawProducer { thing: thing.to_owned(), topic: address.topic, producer, partitions, waiting })
    }

    /// Returns the number of partitions of the topic.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Takes a record for the partition with this index; blocks while the client's queue is full.
    ///
    /// # Errors
    /// The brokers refuse this record or one before it.
    pub(crate) fn put(&mut self, index: usize, record: &[u8]) -> Result<(), Error> {
        let index = index % self.partitions.len();
        self.waiting[index].push(record);
        if self.waiting[index].len() >= TOGETHER { self.hand_over(index) } else { Ok(()) }
    }

    /// Hands all records over to the client.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub(crate) fn hand_over_all(&mut self) -> Result<(), Error> {
        (0..self.partitions.len()).try_for_each(|index| self.hand_over(index))?;
        self.producer.check().map_err(|code| self.sort(code))
    }

    /// Returns when the brokers have all records.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.hand_over_all()?;
        self.producer.flush().map_err(|code| self.sort(code))
    }

    fn hand_over(&mut self, index: usize) -> Result<(), Error> {
        let sent = self.producer.send_all(self.partitions[index], &self.waiting[index]);
        self.waiting[index].clear();
        sent.map_err(|code| self.sort(code))
    }

    fn sort(&self, code: RDKafkaErrorCode) -> Error {
        client::sort(&self.thing, &self.topic, code)
    }
}
