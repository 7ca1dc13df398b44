//! Asking the brokers about a topic, and making it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use freshet_model::{Offset, PartitionId};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::address::Address;
use super::admin::{self, Description};
use super::client::{self, Context};
use crate::Error;

/// The brokers are given so long to answer when a job starts.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Partitions of a topic that Freshet makes.
const NEW_PARTITIONS: i32 = 4;

/// As many replicas as the brokers' default.
const ANY_REPLICATION: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// The topic has just been made and its leaders are being found: asked again after so long.
const RETRY: Duration = Duration::from_millis(50);

/// The client may take so long to say why it has no answer.
const REASON_WAIT: Duration = Duration::from_millis(500);

/// A client that asks about topics.
pub(super) struct Inquiry<'a> {
    thing: &'a str,
    address: &'a Address,
    config: &'a ClientConfig,
    consumer: BaseConsumer<Context>,
    timeout: Duration,
}

impl<'a> Inquiry<'a> {
    /// Makes a client; the brokers are not contacted yet.
    pub(super) fn new(thing: &'a str, address: &'a Address, config: &'a ClientConfig) -> Result<Inquiry<'a>, Error> {
        let context = Context::new(thing, address);
        let consumer = BaseConsumer::from_config_and_context(config, context).map_err(|e| client::refused(thing, &e))?;
        Ok(Inquiry { thing, address, config, consumer, timeout: OPEN_TIMEOUT })
    }

    /// Waits no longer than this for an answer.
    #[cfg(test)]
    pub(super) fn patience(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Lists the partitions of a topic, ascending, or none if it does not exist.
    pub(super) fn partitions(&self, topic: &str) -> Result<Option<Vec<PartitionId>>, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(RETRY);
            let metadata = match self.consumer.fetch_metadata(Some(topic), left) {
                Ok(metadata) => metadata,
                // A refused connection fails at once, but the brokers may just be starting. Polling hears the client's reasons.
                Err(_) if Instant::now() < deadline => {
                    self.consumer.poll(RETRY);
                    continue;
                }
                Err(error) => return Err(self.unreachable(&error)),
            };
            let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
            match found.error().map(Code::from) {
                None => {
                    let mut ids: Vec<_> = found.partitions().iter().map(|partition| partition.id()).collect();
                    ids.sort_unstable();
                    return Ok((!ids.is_empty()).then_some(ids));
                }
                Some(Code::UnknownTopicOrPartition) => return Ok(None),
                Some(Code::LeaderNotAvailable) if Instant::now() < deadline => thread::sleep(RETRY),
                Some(code) => return Err(client::sort(self.thing, topic, code)),
            }
        }
    }

    /// Returns the offsets between which a partition holds committed records, half-open.
    pub(super) fn watermarks(&self, partition: PartitionId) -> Result<(Offset, Offset), Error> {
        let topic = &self.address.topic;
        self.consumer.fetch_watermarks(topic, partition, self.timeout).map_err(|error| match error.rdkafka_error_code() {
            Some(code) => client::sort(self.thing, topic, code),
            None => self.unreachable(&error),
        })
    }

    /// Returns the topic's id, which is another one after it has been deleted and created anew; `None` if the brokers are too old for
    /// ids.
    pub(super) fn id(&self) -> Result<Option<String>, Error> {
        let topic = &self.address.topic;
        let asked = Description::ask(self.consumer.client(), topic, self.stand_in(), self.timeout);
        let answer = asked.and_then(|asked| asked.wait(self.timeout).ok_or(Code::RequestTimedOut)?);
        answer.map(|described| described.id).map_err(|code| client::sort(self.thing, topic, code))
    }

    /// Returns a broker to put questions to if none of the brokers is the controller.
    pub(super) fn stand_in(&self) -> Option<i32> {
        let metadata = self.consumer.fetch_metadata(Some(&self.address.topic), self.timeout).ok()?;
        let controller = admin::controller(self.consumer.client());
        let mut brokers = metadata.brokers().iter().map(|broker| broker.id());
        let first = brokers.next()?;
        let known = Some(first) == controller || brokers.any(|broker| Some(broker) == controller);
        (!known).then_some(first)
    }

    /// Makes a topic if it is missing, and lists its partitions.
    pub(super) fn ensure(&self, topic: &str) -> Result<Vec<PartitionId>, Error> {
        self.ensure_with(topic, NEW_PARTITIONS)
    }

    /// Makes a topic with so many partitions if it is missing, and lists those it has.
    pub(super) fn ensure_with(&self, topic: &str, count: i32) -> Result<Vec<PartitionId>, Error> {
        if let Some(partitions) = self.partitions(topic)? {
            return Ok(partitions);
        }
        self.make(NewTopic::new(topic, count, ANY_REPLICATION))
    }

    /// Makes a topic that keeps the newest record of each key, with one partition, if it is missing.
    pub(super) fn ensure_compacted(&self, topic: &str) -> Result<Vec<PartitionId>, Error> {
        match self.partitions(topic)? {
            Some(partitions) => Ok(partitions),
            None => self.make(NewTopic::new(topic, 1, ANY_REPLICATION).set("cleanup.policy", "compact")),
        }
    }

    /// Makes a topic, and lists its partitions once the brokers show them.
    fn make(&self, wanted: NewTopic<'_>) -> Result<Vec<PartitionId>, Error> {
        let topic = wanted.name;
        self.create(&wanted)?;
        tracing::info!("{}: created topic '{topic}' with {} partitions", self.thing, wanted.num_partitions);
        // The broker that is asked next may not have heard of the topic yet.
        let deadline = Instant::now() + self.timeout;
        while Instant::now() < deadline {
            if let Some(partitions) = self.partitions(topic)? {
                return Ok(partitions);
            }
            thread::sleep(RETRY);
        }
        Err(Error::unavailable(self.thing, format!("topic '{topic}' was created, but the brokers do not show it")))
    }

    fn create(&self, wanted: &NewTopic<'_>) -> Result<(), Error> {
        let topic = wanted.name;
        let context = Context::new(self.thing, self.address);
        let admin = AdminClient::from_config_and_context(self.config, context).map_err(|e| client::refused(self.thing, &e))?;
        let options = AdminOptions::new().request_timeout(Some(self.timeout)).operation_timeout(Some(self.timeout));
        let results = wait_for(admin.create_topics([wanted], &options)).map_err(|error| self.unreachable(&error))?;
        match results.into_iter().find_map(Result::err) {
            None | Some((_, Code::TopicAlreadyExists)) => Ok(()),
            Some((_, code)) => Err(Error::setup(
                self.thing,
                format!("topic '{topic}' is missing and cannot be created ({code})"),
                "create it, or let the user create topics",
            )),
        }
    }

    /// Describes that no broker answers, with the reason that the client has given meanwhile.
    fn unreachable(&self, error: &KafkaError) -> Error {
        // The reasons wait in the client's queue, among its log, until they are asked for.
        let deadline = Instant::now() + REASON_WAIT;
        while self.consumer.context().last_error().is_none() && Instant::now() < deadline {
            self.consumer.poll(RETRY);
        }
        let reason = self.consumer.context().last_error().unwrap_or_else(|| error.to_string());
        let problem = format!("the brokers at {} do not answer ({reason})", self.address.brokers);
        Error::setup(self.thing, problem, "check that they run, and the hosts, ports and security settings")
    }
}

/// Blocks until a future is done.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
