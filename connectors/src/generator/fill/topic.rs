//! A Kafka topic as the target of a generator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freshet_model::PartitionId;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::block_on::block_on;
use crate::Error;
use crate::open::{path_of, query_of};

const TIMEOUT: Duration = Duration::from_secs(15);
/// Records in the client's queue are given so long to reach the brokers at the end.
const LAST_TIMEOUT: Duration = Duration::from_secs(60);

/// Counts what the brokers refuse, and keeps the first reason.
#[derive(Clone, Default)]
struct Refusals {
    count: Arc<AtomicU64>,
    first: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
        }
    }
}

/// A producer to the partitions of one topic.
pub(super) struct Topic {
    thing: String,
    name: String,
    partitions: PartitionId,
    producer: BaseProducer<Refusals>,
    refusals: Refusals,
}

impl Topic {
    /// Connects, and creates the topic with so many partitions if it is missing.
    pub(super) fn open(url: &str, partitions: PartitionId) -> Result<Topic, Error> {
        let (brokers, name) = path_of(url).split_once('/').unwrap_or_default();
        if brokers.is_empty() || name.is_empty() {
            let problem = format!("'{}' names no broker or no topic", path_of(url));
            return Err(Error::setup("the generator's target", problem, "write kafka://host:port/topic"));
        }
        let thing = format!("topic '{name}' at {brokers}");
        let (config, refusals) = (config(url, brokers), Refusals::default());
        let producer: BaseProducer<Refusals> = config.create_with_context(refusals.clone()).map_err(|error| {
            Error::setup(&thing, format!("the client refuses its settings: {error}"), "correct the parameters of the url")
        })?;
        let mut topic = Topic { thing, name: name.to_owned(), partitions, producer, refusals };
        topic.partitions = match topic.find()? {
            Some(found) => found,
            None => topic.create(&config)?,
        };
        Ok(topic)
    }

    /// Returns the number of partitions.
    pub(super) fn partitions(&self) -> PartitionId {
        self.partitions
    }

    /// Queues a record; waits while the queue is full.
    pub(super) fn put(&mut self, partition: PartitionId, payload: &[u8]) -> Result<(), Error> {
        let mut record = BaseRecord::<(), [u8]>::to(&self.name).partition(partition).payload(payload);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(10));
                    record = back;
                }
                Err((error, _)) => return Err(Error::unavailable(&self.thing, format!("producing failed: {error}"))),
            }
        }
    }

    /// Takes the brokers' answers.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.producer.poll(Duration::ZERO);
        let count = self.refusals.count.load(Ordering::Relaxed);
        if count == 0 {
            return Ok(());
        }
        let first = self.refusals.first.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        Err(Error::unavailable(&self.thing, format!("{count} records were refused, the first because of: {first}")))
    }

    /// Waits until the brokers have all records.
    pub(super) fn close(self) -> Result<(), Error> {
        let flushed = self.producer.flush(LAST_TIMEOUT);
        self.check()?;
        flushed.map_err(|error| Error::unavailable(&self.thing, format!("the last records did not arrive: {error}")))
    }

    /// Returns the number of partitions of the topic, if it exists. Asks for all topics, as asking for one may create it.
    fn find(&self) -> Result<Option<PartitionId>, Error> {
        let metadata = self.producer.client().fetch_metadata(None, TIMEOUT);
        let metadata = metadata.map_err(|error| Error::unavailable(&self.thing, format!("no broker answers: {error}")))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.name);
        Ok(topic.and_then(|topic| PartitionId::try_from(topic.partitions().len()).ok()).filter(|&count| count > 0))
    }

    fn create(&self, config: &ClientConfig) -> Result<PartitionId, Error> {
        let refused = |problem: String| Error::setup(&self.thing, problem, "create the topic by hand");
        let admin: AdminClient<DefaultClientContext> =
            config.create().map_err(|error| refused(format!("no admin client: {error}")))?;
        // -1: as many replicas as the brokers make by default.
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let results = block_on(admin.create_topics([&topic], &options));
        for result in results.map_err(|error| refused(format!("cannot be created: {error}")))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(refused(format!("cannot be created: {code}"))),
            }
        }
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.find()? {
                Some(found) => return Ok(found),
                None if Instant::now() > deadline => return Err(refused("was created and is not there".to_owned())),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// Settings for throughput, over which those of the URL go.
fn config(url: &str, brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "131072")
        // Millions of answers that say "fine" cost more than the records.
        .set("delivery.report.only.error", "true");
    for (key, value) in query_of(url) {
        config.set(key, value);
    }
    config
}
