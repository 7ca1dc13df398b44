//! A topic as a sink for views: one message a changed row.
//!
//! | message | key | value | headers |
//! |---|---|---|---|
//! | a row that is new or has changed | the key columns as JSON | the row as JSON, or in Avro | `view`: the view's name; `freshet`: `job/epoch/number` |
//! | a row that is gone | the key columns as JSON | none (a tombstone) | the same |
//!
//! So a compacted topic keeps the newest state of each row. Events that were late go to the topic `<topic>.late`, refused records to
//! `<topic>.dead`, in the form that `rejects` describes. A commit is one transaction, over all three topics, that also holds its epoch: readers with
//! `isolation.level=read_committed` see all of it or nothing, once.
//!
//! The same sink, without views, is a topic for dead letters or for late events.
//!
//! What is absent: the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use freshet_model::{Commit, DeadLetter, Epoch, Reason, Rejects, TableSchema, ViewChanges};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;

use super::address::Address;
use super::batch_sink;
use super::produce::TopicProducer;
use super::rejects::{Message, Writer, with};
use super::settings::Settings;
use super::transaction::{Owner, Transactions};
use super::trouble::{Patience, Trouble};
use crate::circuit::Circuit;
use crate::format::{Encoder, Rows, rows};
use crate::tables::rejects::SHORT_PAYLOAD_BYTES;
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

/// What librdkafka lets a message have when nobody says otherwise.
const DEFAULT_MESSAGE_BYTES: usize = 1_000_000;

/// Key and headers of a dead letter fit in here.
const HEADER_ROOM_BYTES: usize = 16 << 10;

/// Views as keyed messages in a topic.
pub struct KafkaTableSink {
    thing: String,
    topic: String,
    late_topic: String,
    dead_topic: String,
    rejects: Writer,
    options: SinkOptions,
    settings: Settings,
    circuit: Arc<Circuit>,
    transactions: Transactions,
    views: Vec<TableSchema>,
    /// How rows are written; keys are JSON.
    encoder: Encoder,
}

impl KafkaTableSink {
    /// Finds the sink's three topics, or makes them with four partitions each.
    ///
    /// # Errors
    /// The url or a setting is wrong, no broker answers within ten seconds, or a topic can be neither found nor made.
    pub fn open(url: &str, options: SinkOptions) -> Result<KafkaTableSink, Error> {
        let thing = format!("sink '{}'", options.name);
        let address = Address::parse(&thing, url)?;
        let rejects = [format!("{}.late", address.topic), format!("{}.dead", address.topic)];
        let writer = Writer::new(&options.job, SHORT_PAYLOAD_BYTES, BTreeMap::new());
        KafkaTableSink::make(address, &OWN, options, rejects, writer)
    }

    /// Finds the topic of a place for late events, for dead letters, or for both, or makes it with four partitions. `topics` says from which topic
    /// each source of the job reads, if from any.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn for_rejects(
        url: &str,
        options: SinkOptions,
        max_payload_bytes: usize,
        topics: BTreeMap<String, String>,
    ) -> Result<KafkaTableSink, Error> {
        let address = Address::parse(&format!("sink '{}'", options.name), url)?;
        let rejects = [address.topic.clone(), address.topic.clone()];
        let writer = Writer::new(&options.job, max_payload_bytes, topics);
        let room = (max_payload_bytes + HEADER_ROOM_BYTES).max(DEFAULT_MESSAGE_BYTES).to_string();
        let own: Vec<_> = OWN.into_iter().chain([("message.max.bytes", &*room)]).collect();
        KafkaTableSink::make(address, &own, options, rejects, writer)
    }

    fn make(
        address: Address,
        own: &[(&str, &str)],
        options: SinkOptions,
        [late_topic, dead_topic]: [String; 2],
        rejects: Writer,
    ) -> Result<KafkaTableSink, Error> {
        let thing = format!("sink '{}'", options.name);
        let topics = [&*address.topic, &*late_topic, &*dead_topic];
        let (config, settings, _) = batch_sink::prepare(&thing, &address, own, &options, &topics)?;
        let circuit = settings.own_circuit(&thing);
        let transactions = Transactions::new(Owner::new(&thing, &address, &config, &options, None));
        let (topic, views, encoder) = (address.topic, Vec::new(), Encoder::default());
        Ok(KafkaTableSink {
            thing,
            topic,
            late_topic,
            dead_topic,
            rejects,
            options,
            settings,
            circuit,
            transactions,
            views,
            encoder,
        })
    }

    /// Brings a commit into the topics, unless they hold it already.
    fn attempt(&mut self, commit: &Commit, refused: &mut Vec<DeadLetter>) -> Result<(), Trouble> {
        if self.transactions.open(false)? && self.transactions.held() >= Some(commit.epoch) {
            // The answer to the commit had been lost.
            return Ok(());
        }
        refused.clear();
        let (late_topic, dead_topic, rejects) = (&self.late_topic, &self.dead_topic, &self.rejects);
        let producer = self.transactions.rows()?;
        let mut messages = Messages {
            producer,
            encoder: self.encoder,
            prefix: self.settings.headers.unwrap_or(true).then(|| format!("{}/{}", self.options.job, commit.epoch)),
            sent: 0,
        };
        let mut send = || {
            for changes in &commit.views {
                messages.view(&self.topic, &self.views[changes.view], changes, refused)?;
            }
            commit.late().try_for_each(|(part, event)| messages.reject(late_topic, &rejects.late(part, event)))?;
            let own = Rejects { epoch: commit.epoch, processing_time: commit.processing_time, late: vec![], dead: vec![] };
            let dead = commit.dead().chain(refused.iter().map(|letter| (&own, letter)));
            for (part, letter) in dead {
                match messages.reject(dead_topic, &rejects.dead(part, letter)) {
                    // The user's settings allow less than the job keeps.
                    Err(Code::MessageSizeTooLarge) => messages.reject(dead_topic, &rejects.short(part, letter))?,
                    sent => sent?,
                }
            }
            Ok(())
        };
        send().map_err(|code: Code| self.transactions.sort(code))?;
        fault::point("kafka::half_produced", "kafka").map_err(Trouble::Passing)?;
        self.transactions.commit(commit.epoch)
    }
}

/// The messages of one transaction.
struct Messages<'p> {
    producer: &'p TopicProducer,
    encoder: Encoder,
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
        let (keys, deletes) = (rows(&keys), rows(&changes.deletes));
        let mut upserts = Rows::default();
        self.encoder.encode(&changes.upserts, &mut upserts);
        for (key, row) in keys.iter().zip(upserts.iter()) {
            match self.send(topic, Some(key), Some(row), Some(&view.name)) {
                Err(Code::MessageSizeTooLarge) => refused.push(too_large(&view.name, row)),
                sent => sent?,
            }
        }
        deletes.iter().try_for_each(|key| self.send(topic, Some(key), None, Some(&view.name)))
    }

    /// Queues one message of a view; blocks while the queue is full.
    fn send(&mut self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, view: Option<&str>) -> Result<(), Code> {
        let headers = OwnedHeaders::new_with_capacity(2);
        let headers = view.map_or(headers.clone(), |view| with(headers, "view", view));
        self.put(topic, key, value, headers)
    }

    /// Queues a late event or a dead letter; blocks while the queue is full.
    fn reject(&mut self, topic: &str, message: &Message<'_>) -> Result<(), Code> {
        self.put(topic, Some(message.key.as_bytes()), Some(message.value), message.headers.clone())
    }

    fn put(&mut self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, headers: OwnedHeaders) -> Result<(), Code> {
        let mark = self.prefix.as_ref().map(|prefix| format!("{prefix}/{}", self.sent));
        let headers = mark.map_or(headers.clone(), |mark| with(headers, "freshet", &mark));
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        (record.key, record.payload, record.headers) = (key, value, Some(headers));
        self.producer.send_record(record)?;
        self.sent += 1;
        Ok(())
    }
}

impl TableSink for KafkaTableSink {
    fn guard(&mut self, circuit: &Arc<Circuit>) {
        self.circuit = self.settings.guarded(circuit);
    }

    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        if let Some(view) = views.iter().find(|view| view.key.is_empty()) {
            let problem = format!("view '{}' has no key, by which its messages could be told apart", view.name);
            return Err(Error::setup(&self.thing, problem, "give it a key, or write its rows as a batch sink"));
        }
        if let (true, Some(other)) = (self.options.avro.is_some(), views.get(1)) {
            let problem = format!("has rows of '{}' and '{}', which are of two schemas", views[0].name, other.name);
            return Err(Error::setup(&self.thing, problem, "write each view in Avro to a topic of its own"));
        }
        if let Some(view) = views.first() {
            self.encoder = Encoder::open(&self.topic, view, &self.options, &self.circuit, self.settings.patience())?;
        }
        self.views = views.to_vec();
        let mut patience = Patience::new(&self.circuit);
        while let Err(trouble) = self.transactions.open(self.options.past.is_forgotten()) {
            patience.bear(trouble)?;
        }
        patience.restore();
        Ok(self.transactions.held())
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        let (mut refused, mut patience) = (Vec::new(), Patience::new(&self.circuit));
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
        partition: -1,
        offset: -1,
        reason: Reason::DoesNotFit,
        detail: format!("the row has {} bytes, more than message.max.bytes", row.len()),
        payload: row.to_vec(),
    }
}
