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
    /// `None` while it is dropped.
    consumer: Option<BaseConsumer<Listener>>,
    /// What was committed last.
    last: Option<TopicPartitionList>,
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
        Ok(GroupOffsets { topic: address.topic, consumer: Some(consumer), last: None })
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
        if list.count() == 0 {
            return;
        }
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            consumer.context().failed(&error);
        }
        self.last = Some(list);
    }
}

impl Drop for GroupOffsets {
    /// Waits until the brokers have taken the last offsets. Nobody waits until the client has closed, which it looks for ten times a second only, and for ever
    /// if the group's coordinator is away.
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        let (done, taken) = bounded(1);
        let last = self.last.take();
        let close = move || {
            // They have been sent before; this is how to hear that they have arrived.
            if let Some(last) = last
                && let Err(error) = consumer.commit(&last, CommitMode::Sync)
            {
                consumer.context().failed(&error);
            }
            let _ = done.send(());
            drop(consumer);
        };
        // Without a thread the closure, and the client with it, is dropped here.
        if thread::Builder::new().name("close offsets".to_owned()).spawn(close).is_ok() {
            let _ = taken.recv_timeout(FAREWELL);
        }
    }
}

/// Hears what becomes of the commits.
struct Listener {
    thing: String,
    group: String,
}

impl Listener {
    fn failed(&self, error: &KafkaError) {
        tracing::debug!("{}: offsets for group '{}': {error}", self.thing, self.group);
    }
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
            self.failed(&error);
        }
    }
}
