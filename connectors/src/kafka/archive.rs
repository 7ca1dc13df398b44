//! Reads a topic once, from its beginning to its end, as dead letters or late events.

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;

use super::address::Address;
use super::client::{self, Context};
use super::rejects;
use super::settings::Settings;
use super::topic::Inquiry;
use crate::Error;
use crate::letters::{Archive, Kind, Letter, Shelf};

/// librdkafka's settings for one pass over what has been committed.
const OWN: [(&str, &str); 4] = [
    // A group is never joined; the client asks for the name all the same.
    ("group.id", "freshet-archive"),
    ("enable.auto.commit", "false"),
    ("enable.partition.eof", "true"),
    ("fetch.queue.backoff.ms", "5"),
];

/// The brokers may be silent for so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a topic has of one kind of rejects.
pub(crate) struct KafkaArchive {
    thing: String,
    address: Address,
    config: ClientConfig,
}

impl KafkaArchive {
    /// Means the topic of a place, or the topic beside that of a sink for views.
    pub(crate) fn open(shelf: &Shelf, kind: Kind) -> Result<KafkaArchive, Error> {
        let thing = format!("sink '{}'", shelf.name);
        let mut address = Address::parse(&thing, &shelf.url)?;
        if !shelf.alone {
            address.topic.push_str(match kind {
                Kind::Dead => ".dead",
                Kind::Late => ".late",
            });
        }
        let (_, clients) = Settings::split(&thing, &shelf.settings)?;
        let config = client::configure(&thing, &address, &OWN, &[], &clients)?;
        Ok(KafkaArchive { thing, address, config })
    }
}

impl Archive for KafkaArchive {
    fn read(&mut self, each: &mut dyn FnMut(Letter)) -> Result<(), Error> {
        scan(&self.thing, &self.address, &self.config, &mut |message| {
            if let Some(letter) = rejects::letter(message) {
                each(letter);
            }
        })
    }
}

/// Returns the settings of a client that reads, from those of one that writes.
pub(super) fn reading(config: &ClientConfig) -> ClientConfig {
    let mut reading = config.clone();
    reading.remove("transactional.id");
    for (key, value) in OWN {
        reading.set(key, value);
    }
    reading
}

/// Reads all that a topic has committed now, partition by partition; a topic that does not exist has nothing.
pub(super) fn scan(
    thing: &str,
    address: &Address,
    config: &ClientConfig,
    each: &mut dyn FnMut(&BorrowedMessage<'_>),
) -> Result<(), Error> {
    let Some(partitions) = Inquiry::new(thing, address, config)?.partitions(&address.topic)? else { return Ok(()) };
    let consumer: BaseConsumer<Context> = BaseConsumer::from_config_and_context(config, Context::quiet(thing, address))
        .map_err(|error| client::refused(thing, &error))?;
    let failed = |error: &KafkaError| match error.rdkafka_error_code() {
        Some(code) => client::sort(thing, &address.topic, code),
        None => Error::unavailable(thing, format!("topic '{}': {error}", address.topic)),
    };
    for partition in partitions {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&address.topic, partition, Offset::Beginning).map_err(|error| failed(&error))?;
        consumer.assign(&list).map_err(|error| failed(&error))?;
        loop {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) if message.partition() == partition => each(&message),
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => break,
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(failed(&error)),
                None => {
                    let problem = format!("topic '{}': no answer from {} for {PATIENCE:?}", address.topic, address.brokers);
                    return Err(Error::unavailable(thing, problem));
                }
            }
        }
    }
    Ok(())
}
