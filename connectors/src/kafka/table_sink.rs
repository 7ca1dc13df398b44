//! A topic as a sink for views: one message a changed row.
//!
//! | message | key | value | headers |
//! |---|---|---|---|
//! | a row that is new or has changed | the key columns as JSON | the row as JSON | `view`: the view's name; `freshet`: `job/epoch/number` |
//! | a row that is gone | the key columns as JSON | none (a tombstone) | the same |
//!
//! So a compacted topic keeps the newest state of each row. Events that were late go to the topic `<topic>.late`, refused records to
//! `<topic>.dead`. A commit is one transaction, over all three topics, that also holds its epoch: readers with
//! `isolation.level=read_committed` see all of it or nothing, once.
//!
//! What is absent: the ledger.

use std::sync::Arc;

use freshet_model::{Commit, DeadLetter, Epoch, MAX_DEAD_PAYLOAD_BYTES, Reason, TableSchema, ViewChanges};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::address::Address;
use super::batch_sink;
use super::produce::TopicProducer;
use super::rejects_json::{dead_json, late_json};
use super::settings::Settings;
use super::transaction::{Owner, Transactions};
use super::trouble::{Outage, Patience, Trouble};
use crate::format::rows;
use crate::{Error, SinkOptions, TableSink, fault};

/// librdkafka's settings; a commit is flushed at once whatever `linger.ms` is.
const OWN: [(&str, &str); 5] = [
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("queue.buffering.max.kbytes", "65536"),
    ("queue.buffering.max.messages", "250000"),
    // As other languages' clients place a key, so that consumers can join topics by partition.
    ("partitioner", "murmur2_random"),
];

/// Views as keyed messages in a topic.
pub struct KafkaTableSink {
    thing: String,
    topic: String,
    late_topic: String,
    dead_topic: String,
    job: String,
    reset: bool,
    settings: Settings,
    outage: Arc<Outage>,
    transactions: Transactions,
    views: Vec<TableSchema>,
}

impl KafkaTableSink {
    /// Finds the sink's three topics, or makes them with four partitions each.
    ///
    /// # Errors
    /// The url or a setting is wrong, no broker answers within ten seconds, or a topic can be neither found nor made.
    pub fn open(url: &str, options: SinkOptions) -> Result<KafkaTableSink, Error> {
        let thing = format!("sink '{}'", options.name);
        let address = Address::parse(&thing, url)?;
        let (late_topic, dead_topic) = (format!("{}.late", address.topic), format!("{}.dead", address.topic));
        let topics = [&*address.topic, &*late_topic, &*dead_topic];
        let (config, settings, _) = batch_sink::prepare(&thing, &address, &OWN, &options, &topics)?;
        let outage = Outage::new(&thing, &address.brokers, settings.outage_limit);
        let transactions = Transactions::new(Owner::new(&thing, &address, &config, &options, None));
        let SinkOptions { job, reset, .. } = options;
        let (topic, views) = (address.topic, Vec::new());
        Ok(KafkaTableSink { thing, topic, late_topic, dead_topic, job, reset, settings, outage, transactions, views })
    }

    /// Brings a commit into the topics, unless they hold it already.
    fn attempt(&mut self, commit: &Commit, refused: &mut Vec<DeadLetter>) -> Result<(), Trouble> {
        if self.transactions.open(false)? && self.transactions.held() >= Some(commit.epoch) {
            // The answer to the commit had been lost.
            return Ok(());
        }
        refused.clear();
        let (late_topic, dead_topic) = (&self.late_topic, &self.dead_topic);
        let producer = self.transactions.rows()?;
        let mut messages = Messages {
            producer,
            prefix: self.settings.headers.unwrap_or(true).then(|| format!("{}/{}", self.job, commit.epoch)),
            sent: 0,
        };
        let mut send = || {
            for changes in &commit.views {
                messages.view(&self.topic, &self.views[changes.view], changes, refused)?;
            }
            for event in &commit.late {
                messages.send(late_topic, None, Some(&late_json(event)), None)?;
            }
            let dead = commit.dead.iter().chain(&*refused);
            dead.map(dead_json).try_for_each(|letter| messages.send(dead_topic, None, Some(&letter), None))
        };
        send().map_err(|code: Code| self.transactions.sort(code))?;
        fault::point("kafka::half_produced", "kafka").map_err(Trouble::Passing)?;
        self.transactions.commit(commit.epoch)
    }
}

/// The messages of one transaction.
struct Messages<'p> {
    producer: &'p TopicProducer,
    /// The job and the epoch, if messages say what they are.
    prefix: Option<String>,
    sent: u64,
}

impl Messages<'_> {
    /// Queues a view's changes; adds the rows that no message can hold to the refused.
    fn view(
        &mut self,
        topic: &str,
        view: &TableSchema,
        changes: &ViewChanges,
        refused: &mut Vec<DeadLetter>,
    ) -> Result<(), Code> {
        let keys = changes.upserts.project(&view.key).map_err(|_| Code::InvalidArgument)?;
        let (rows, keys, deletes) = (rows(&changes.upserts), rows(&keys), rows(&changes.deletes));
        for (key, row) in keys.iter().zip(rows.iter()) {
            match self.send(topic, Some(key), Some(row), Some(&view.name)) {
                Err(Code::MessageSizeTooLarge) => refused.push(too_large(&view.name, row)),
                sent => sent?,
            }
        }
        deletes.iter().try_for_each(|key| self.send(topic, Some(key), None, Some(&view.name)))
    }

    /// Queues one message; blocks while the queue is full.
    fn send(&mut self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, view: Option<&str>) -> Result<(), Code> {
        let mut headers = OwnedHeaders::new_with_capacity(2);
        if let Some(view) = view {
            headers = headers.insert(Header { key: "view", value: Some(view) });
        }
        if let Some(prefix) = &self.prefix {
            headers = headers.insert(Header { key: "freshet", value: Some(&format!("{prefix}/{}", self.sent)) });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        (record.key, record.payload, record.headers) = (key, value, Some(headers));
        loop {
            match self.producer.single().send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    self.producer.wait_for_room()?;
                }
                Err((error, _)) => return Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
            }
        }
        self.sent += 1;
        Ok(())
    }
}

impl TableSink for KafkaTableSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        if let Some(view) = views.iter().find(|view| view.key.is_empty()) {
            let problem = format!("view '{}' has no key, by which its messages could be told apart", view.name);
            return Err(Error::setup(&self.thing, problem, "give it a key, or write its rows as a batch sink"));
        }
        self.views = views.to_vec();
        let mut patience = Patience::new(&self.outage);
        while let Err(trouble) = self.transactions.open(self.reset) {
            patience.bear(trouble)?;
        }
        patience.restore();
        Ok(self.transactions.held())
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        let (mut refused, mut patience) = (Vec::new(), Patience::new(&self.outage));
        while let Err(trouble) = self.attempt(commit, &mut refused) {
            self.transactions.discard();
            patience.bear(trouble)?;
        }
        patience.restore();
        Ok(refused)
    }
}

fn too_large(view: &str, row: &[u8]) -> DeadLetter {
    DeadLetter {
        source: view.to_owned(),
        partition: 0,
        offset: 0,
        reason: Reason::DoesNotFit,
        detail: format!("the row has {} bytes, more than message.max.bytes", row.len()),
        payload: row[..row.len().min(MAX_DEAD_PAYLOAD_BYTES)].to_vec(),
    }
}
