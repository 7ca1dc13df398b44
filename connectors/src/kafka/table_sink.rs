//! A topic as a sink for views: one message a changed row.
//!
//! | message | key | value | header |
//! |---|---|---|---|
//! | a row that is new or has changed | the key columns as JSON | the row as JSON | `view`: the view's name |
//! | a row that is gone | the key columns as JSON | none (a tombstone) | `view` |
//!
//! So a compacted topic keeps the newest state of each row. Events that were late go to the topic `<topic>.late`, refused records to
//! `<topic>.dead`. A commit returns when the brokers have acknowledged all of its messages.
//!
//! What is absent: the epoch and the ledger. A consumer of a topic has no moment at which it could see all of an epoch.

use freshet_model::{Commit, DeadLetter, Epoch, LateEvent, MAX_DEAD_PAYLOAD_BYTES, Reason, TableSchema, ViewChanges};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::address::Address;
use super::batch_sink;
use super::client::{self, Context};
use super::produce::TopicProducer;
use crate::format::rows;
use crate::format::to_json::{write_text, write_time};
use crate::{Error, SinkOptions, TableSink};

/// librdkafka's settings; a commit is flushed at once whatever `linger.ms` is.
const OWN: [(&str, &str); 7] = [
    ("enable.idempotence", "true"),
    ("delivery.report.only.error", "true"),
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
    producer: TopicProducer,
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
        let (config, _) = batch_sink::prepare(&thing, &address, &OWN, &options, &topics)?;
        let producer = TopicProducer::new(&config, Context::new(&thing, &address), &address.topic);
        let producer = producer.map_err(|error| client::refused(&thing, &error))?;
        Ok(KafkaTableSink { thing, topic: address.topic, late_topic, dead_topic, producer, views: Vec::new() })
    }

    /// Queues a view's changes; returns the rows that no message can hold.
    fn send_view(&self, changes: &ViewChanges) -> Result<Vec<DeadLetter>, Error> {
        let view = &self.views[changes.view];
        let headers = OwnedHeaders::new().insert(Header { key: "view", value: Some(&view.name) });
        let keys = changes.upserts.project(&view.key).map_err(|error| {
            Error::setup(&self.thing, format!("view '{}' does not fit its schema: {error}", view.name), "report it")
        })?;
        let (rows, keys, deletes) = (rows(&changes.upserts), rows(&keys), rows(&changes.deletes));
        let mut refused = Vec::new();
        for (key, row) in keys.iter().zip(rows.iter()) {
            let sent = self.send(&self.topic, Some(key), Some(row), Some(&headers));
            match sent {
                Err(RDKafkaErrorCode::MessageSizeTooLarge) => refused.push(too_large(&view.name, row)),
                sent => sent.map_err(|code| self.sort(code))?,
            }
        }
        for key in deletes.iter() {
            self.send(&self.topic, Some(key), None, Some(&headers)).map_err(|code| self.sort(code))?;
        }
        Ok(refused)
    }

    /// Queues one message; blocks while the queue is full.
    fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Option<&OwnedHeaders>,
    ) -> Result<(), RDKafkaErrorCode> {
        loop {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic);
            (record.key, record.payload, record.headers) = (key, value, headers.cloned());
            match self.producer.single().send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => self.producer.wait_for_room()?,
                Err((error, _)) => return Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
            }
        }
    }

    fn sort(&self, code: RDKafkaErrorCode) -> Error {
        client::sort(&self.thing, &self.topic, code)
    }
}

impl TableSink for KafkaTableSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        if let Some(view) = views.iter().find(|view| view.key.is_empty()) {
            let problem = format!("view '{}' has no key, by which its messages could be told apart", view.name);
            return Err(Error::setup(&self.thing, problem, "give it a key, or write its rows as a batch sink"));
        }
        self.views = views.to_vec();
        Ok(None)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        let mut refused = Vec::new();
        for changes in &commit.views {
            refused.append(&mut self.send_view(changes)?);
        }
        for event in &commit.late {
            self.send(&self.late_topic, None, Some(&late_json(event)), None).map_err(|code| self.sort(code))?;
        }
        for letter in commit.dead.iter().chain(&refused) {
            self.send(&self.dead_topic, None, Some(&dead_json(letter)), None).map_err(|code| self.sort(code))?;
        }
        self.producer.flush().map_err(|code| self.sort(code))?;
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

/// Writes a late event, with the event itself as an object.
fn late_json(late: &LateEvent) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + late.event.len());
    out.push(b'{');
    text_field(&mut out, "view", &late.view);
    text_field(&mut out, "source", &late.source);
    raw_field(&mut out, "partition", late.partition.to_string().as_bytes());
    raw_field(&mut out, "offset", late.offset.to_string().as_bytes());
    for (name, time) in [
        ("window_start", late.window_start),
        ("window_end", late.window_end),
        ("event_time", late.event_time),
        ("watermark", late.watermark),
    ] {
        name_field(&mut out, name);
        write_time(&mut out, time.0);
    }
    raw_field(&mut out, "event", late.event.as_bytes());
    out.push(b'}');
    out
}

/// Writes a dead letter, with what can be read of the record as text.
fn dead_json(dead: &DeadLetter) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + dead.payload.len());
    out.push(b'{');
    text_field(&mut out, "source", &dead.source);
    raw_field(&mut out, "partition", dead.partition.to_string().as_bytes());
    raw_field(&mut out, "offset", dead.offset.to_string().as_bytes());
    text_field(&mut out, "reason", dead.reason.code());
    text_field(&mut out, "detail", &dead.detail);
    text_field(&mut out, "payload", &String::from_utf8_lossy(&dead.payload));
    out.push(b'}');
    out
}

/// Writes a field's name, and the comma between it and the one before.
fn name_field(out: &mut Vec<u8>, name: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    write_text(out, name);
    out.push(b':');
}

fn text_field(out: &mut Vec<u8>, name: &str, text: &str) {
    name_field(out, name);
    write_text(out, text);
}

fn raw_field(out: &mut Vec<u8>, name: &str, json: &[u8]) {
    name_field(out, name);
    out.extend_from_slice(json);
}
