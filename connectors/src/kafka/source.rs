//! A topic as a source.

use std::sync::Arc;

use freshet_model::{Offset, PartitionId};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;

use super::address::Address;
use super::batch_queue::BatchQueue;
use super::client::{self, Context, Owned};
use super::identity::Identity;
use super::reader::{KafkaReader, Stretch};
use super::topic::Inquiry;
use crate::circuit::Circuit;
use crate::format::Decoders;
use crate::{Error, Reader, Source, SourceOptions};

/// librdkafka's settings for low latency and bounded memory.
///
/// A full local queue makes the client pause a partition's fetches; by default it looks again after a whole second, which
/// stalls a reader that is faster than that.
/// The topic has been seen when it was opened, so one that the brokers no longer show soon counts as gone.
const OWN: [(&str, &str); 10] = [
    ("enable.partition.eof", "true"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "10"),
    ("fetch.error.backoff.ms", "100"),
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("topic.metadata.propagation.max.ms", "5000"),
];

const OFFSETS: &str = "offsets are kept in the epoch log, not in a consumer group";

/// What the user may not set.
const OWNED: [Owned; 7] = [
    ("group.id", OFFSETS),
    ("group.instance.id", OFFSETS),
    ("enable.auto.commit", OFFSETS),
    ("enable.auto.offset.store", OFFSETS),
    ("auto.offset.reset", "lost offsets must stop the job, and where it begins is said by 'from'"),
    ("enable.partition.eof", "it tells when a partition has been read to its end"),
    ("isolation.level", "records of open or aborted transactions must never count"),
];

/// Records that wait in a reader's memory, over all its partitions.
const QUEUED_RECORDS: usize = 100_000;
const QUEUED_KILOBYTES: usize = 32 * 1024;

/// A topic.
pub struct KafkaSource {
    options: SourceOptions,
    decoders: Decoders,
    address: Address,
    config: ClientConfig,
    partitions: Vec<PartitionId>,
    /// The topic's id, if the brokers give it one.
    id: Option<String>,
    /// Whom to ask for it instead of the controller.
    stand_in: Option<i32>,
    /// What is to be read of each partition.
    pub(super) stretches: Vec<Stretch>,
}

impl KafkaSource {
    /// Finds the topic, its partitions and the offsets between which they are to be read.
    ///
    /// # Errors
    /// The url or a setting is wrong, no broker answers within ten seconds, or there is no such topic.
    pub fn open(url: &str, options: SourceOptions) -> Result<KafkaSource, Error> {
        let thing = thing(&options);
        let address = Address::parse(&thing, url)?;
        let decoders = Decoders::open(&options)?;
        let config = configure(&thing, &address, &options)?;
        let inquiry = Inquiry::new(&thing, &address, &config)?;
        let Some(partitions) = inquiry.partitions(&address.topic)? else {
            let problem = format!("topic '{}' does not exist at {}", address.topic, address.brokers);
            return Err(Error::setup(thing, problem, "create it, or correct the url"));
        };
        let stretch = |&partition: &PartitionId| stretch(&inquiry, &options, partition);
        let stretches = partitions.iter().map(stretch).collect::<Result<Vec<_>, _>>()?;
        let (id, stand_in) = (inquiry.id()?, inquiry.stand_in());
        drop(inquiry);
        Ok(KafkaSource { options, decoders, address, config, partitions, id, stand_in, stretches })
    }

    /// Finds what is to be read of a partition, from an offset that may have been said.
    fn stretch(&self, partition: PartitionId, start: Option<Offset>) -> Result<Stretch, Error> {
        let (thing, topic) = (thing(&self.options), &self.address.topic);
        let Some(found) = self.stretches.iter().find(|stretch| stretch.partition == partition) else {
            return Err(Error::setup(thing, format!("topic '{topic}' has no partition {partition}"), "start the job again"));
        };
        let Some(start) = start else { return Ok(found.clone()) };
        let stretch = Stretch { start, ..found.clone() };
        if found.held.contains(&start) {
            return Ok(stretch);
        }
        // Records may have come or gone since the source was opened.
        let (low, high) = Inquiry::new(&thing, &self.address, &self.config)?.watermarks(partition)?;
        if (low..=high).contains(&start) {
            return Ok(stretch);
        }
        let problem = format!("partition {partition} of topic '{topic}' does not hold offset {start}, only {low} to {high}");
        let remedy = if start < low {
            "records were deleted before they were read: restore the topic, or start the job anew with --reset; let the topic keep \
             its records longer (retention.ms) than the job may be down"
        } else {
            "records that were read are gone, or the topic was created anew: restore it, or start the job anew with --reset"
        };
        Err(Error::setup(thing, problem, remedy))
    }

    /// Makes a reader whose queues together stay within the bounds of one.
    fn open_reader(&self, stretches: Vec<Stretch>) -> Result<KafkaReader, Error> {
        let thing = thing(&self.options);
        let mut config = self.config.clone();
        let count = stretches.len().max(1);
        // Without a group these two bound each partition by itself.
        bound(&mut config, "queued.max.messages.kbytes", QUEUED_KILOBYTES / count);
        bound(&mut config, "queued.min.messages", QUEUED_RECORDS / count);
        let context = Context::new(&thing, &self.address);
        let consumer = BaseConsumer::from_config_and_context(&config, context).map_err(|e| client::refused(&thing, &e))?;
        let topic = &self.address.topic;
        let queue = BatchQueue::new(consumer, topic).map_err(|code| client::sort(&thing, topic, code))?;
        let known = (!self.options.bounded).then_some(self.partitions.len());
        let identity = Identity::new(self.id.clone(), known, self.stand_in);
        KafkaReader::new(thing, topic, identity, queue, &self.decoders, stretches)
    }
}

impl Source for KafkaSource {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn earliest(&self, partition: PartitionId) -> Offset {
        self.stretches.iter().find(|stretch| stretch.partition == partition).map_or(0, |stretch| *stretch.held.start())
    }

    fn identity(&self) -> Option<String> {
        let topic = &self.address.topic;
        Some(match &self.id {
            Some(id) => format!("kafka topic {topic}, id {id}"),
            None => format!("kafka topic {topic}"),
        })
    }

    fn guard(&mut self, circuit: &Arc<Circuit>) {
        self.decoders.guard(circuit);
    }

    fn reader_from(&self, starts: &[(PartitionId, Option<Offset>)]) -> Result<Box<dyn Reader>, Error> {
        let stretches = starts.iter().map(|&(partition, start)| self.stretch(partition, start));
        Ok(Box::new(self.open_reader(stretches.collect::<Result<_, _>>()?)?))
    }
}

/// Names the source for a person.
pub(super) fn thing(options: &SourceOptions) -> String {
    format!("source '{}'", options.name)
}

/// Joins Freshet's settings with those of the job.
pub(super) fn configure(thing: &str, address: &Address, options: &SourceOptions) -> Result<ClientConfig, Error> {
    client::configure(thing, address, &OWN, &OWNED, &options.settings)
}

/// Sets a bound unless the user has.
fn bound(config: &mut ClientConfig, key: &str, value: usize) {
    if config.get(key).is_none() {
        config.set(key, value.max(1024).to_string());
    }
}

/// Finds where a partition begins and, for a bounded run, ends.
fn stretch(inquiry: &Inquiry<'_>, options: &SourceOptions, partition: PartitionId) -> Result<Stretch, Error> {
    let (low, high): (Offset, Offset) = inquiry.watermarks(partition)?;
    let start = if options.from_latest { high } else { low };
    Ok(Stretch { partition, held: low..=high, start, end: options.bounded.then_some(high) })
}
