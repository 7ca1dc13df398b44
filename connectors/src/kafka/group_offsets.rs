//! Offsets in a consumer group, for people's tools alone: they show how far a job lags behind its topic.
//!
//! Freshet never reads them: where a job goes on is in its epoch log.

use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use freshet_model::{Offset, PartitionId};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientContext, Offset as Position, TopicPartitionList};

use super::address::Address;
use super::client;
use super::source;
use crate::{Error, SourceOptions};

/// At the end the brokers have so long to take the last offsets.
const FAREWELL: Duration = Duration::from_millis(500);

/// A source's offsets in the consumer group `freshet-<job>`.
pub struct GroupOffsets {
    topic: String,
    /// `None` once it has been dropped.
    consumer: Option<BaseConsumer<Listener>>,
}

impl GroupOffsets {
    /// Makes a client for a source that could be opened with the same url and options; the brokers are contacted in the background.
    ///
    /// # Errors
    /// The url or a setting is wrong.
    pub fn open(url: &str, options: &SourceOptions, job: &str) -> Result<GroupOffsets, Error> {
        let thing = source::thing(options);
        let address = Address::parse(&thing, url)?;
        let mut config = source::configure(&thing, &address, options)?;
        let group = format!("freshet-{job}");
        config.set("group.id", &group);
        let context = Listener { thing: thing.clone(), group };
        let consumer = BaseConsumer::from_config_and_context(&config, context).map_err(|e| client::refused(&thing, &e))?;
        Ok(GroupOffsets { topic: address.topic, consumer: Some(consumer) })
    }

    /// Commits for each partition the offset of the next record to read. Returns at once; a failure is written to the log, at debug level.
    pub fn commit(&mut self, offsets: &[(PartitionId, Offset)]) {
        let Some(consumer) = &self.consumer else { return };
        // Hears of what was committed earlier.
        while consumer.poll(Duration::ZERO).is_some() {}
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for &(partition, offset) in offsets {
            // An offset that is none is left out.
            let _ = list.add_partition_offset(&self.topic, partition, Position::Offset(offset));
        }
        if list.count() > 0
            && let Err(error) = consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!("{}: offsets for group '{}': {error}", consumer.context().thing, consumer.context().group);
        }
    }
}

impl Drop for GroupOffsets {
    /// The client closes only when the group's coordinator has answered; nobody waits for one that is away.
    fn drop(&mut self) {
        let (done, closed) = bounded(1);
        let consumer = self.consumer.take();
        let close = move || {
            drop(consumer);
            let _ = done.send(());
        };
        // Without a thread the closure, and the client with it, is dropped here.
        if thread::Builder::new().name("close offsets".to_owned()).spawn(close).is_ok() {
            let _ = closed.recv_timeout(FAREWELL);
        }
    }
}

/// Hears what becomes of the commits.
struct Listener {
    thing: String,
    group: String,
}

impl ClientContext for Listener {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("{}: offsets for group '{}': librdkafka: {facility}: {message}", self.thing, self.group);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The source itself speaks of outages.
        tracing::debug!("{}: offsets for group '{}': {error}: {reason}", self.thing, self.group);
    }
}

impl ConsumerContext for Listener {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!("{}: offsets for group '{}': {error}", self.thing, self.group);
        }
    }
}
