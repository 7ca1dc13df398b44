//! A producer that takes many rows in one call of librdkafka, and can be flushed without delay.
//!
//! Two calls are made here directly:
//! - `rd_kafka_produce_batch` looks up topic and partition once for all rows, where a row at a time looks them up for each.
//! - `rd_kafka_flush` returns when the last message has been acknowledged. The `rdkafka` crate's own flush looks only every 100 ms.
//!
//! Only failed deliveries are reported (`delivery.report.only.error`): a report for each message would cost as much as
//! the message. What is not reported as failed when a flush ends has been delivered.
//!
//! Invariants that the `unsafe` blocks rely on:
//! 1. `producer` outlives `topic`, which is destroyed exactly once: in `drop`, before the producer's own.
//! 2. librdkafka copies payloads during the call (`RD_KAFKA_MSG_F_COPY`), so that it keeps no pointer to them.
//! 3. librdkafka's functions may be called from any thread; the handles are not tied to the one that made them.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::ptr;
use std::thread;
use std::time::Duration;

use freshet_model::PartitionId;
use rdkafka::ClientConfig;
use rdkafka::bindings as ffi;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};

use super::client::Context;
use crate::format::Rows;

/// So many rows are handed over in one call at most.
const MAX_ROWS: usize = 1024;

/// A flush looks for failed deliveries so often.
const FLUSH_STEP: Duration = Duration::from_millis(50);

/// A full queue is looked at again after so long.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(2);

/// A producer for one topic.
pub(super) struct TopicProducer {
    topic: *mut ffi::rd_kafka_topic_t,
    messages: Vec<ffi::rd_kafka_message_t>,
    producer: BaseProducer<Context>,
}

// SAFETY: by invariant 3; the pointers in `messages` are used only while a call that was given `&mut self` runs.
unsafe impl Send for TopicProducer {}

impl TopicProducer {
    /// Makes a producer; the brokers are contacted in the background.
    pub(super) fn new(config: &ClientConfig, context: Context, topic: &str) -> Result<TopicProducer, KafkaError> {
        let name = CString::new(topic)?;
        let producer = BaseProducer::from_config_and_context(config, context)?;
        // SAFETY: the client is alive, the name ends with a NUL and is copied; no topic configuration means the default one.
        let topic = unsafe { ffi::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            // SAFETY: reads a variable of the thread.
            let code = RDKafkaErrorCode::from(unsafe { ffi::rd_kafka_last_error() });
            return Err(KafkaError::ClientCreation(code.to_string()));
        }
        Ok(TopicProducer { topic, messages: Vec::with_capacity(MAX_ROWS), producer })
    }

    /// Queues all rows for one partition, in order; blocks while the queue is full.
    pub(super) fn send_all(&mut self, partition: PartitionId, rows: &Rows) -> Result<(), RDKafkaErrorCode> {
        let mut sent = 0;
        while sent < rows.len() {
            match self.send_some(partition, rows, sent)? {
                0 => self.wait_for_room()?,
                taken => sent += taken,
            }
        }
        Ok(())
    }

    /// Queues rows from an index on, as many as there is room for; returns their number.
    fn send_some(&mut self, partition: PartitionId, rows: &Rows, from: usize) -> Result<usize, RDKafkaErrorCode> {
        self.messages.clear();
        let until = rows.len().min(from + MAX_ROWS);
        self.messages.extend((from..until).map(|index| message(rows.row(index))));
        let count = c_int::try_from(self.messages.len()).unwrap_or(c_int::MAX);
        // SAFETY: the topic is alive by invariant 1. Each message's payload is borrowed from `rows` for longer than the call, which
        // only reads it (invariant 2); keys are null with length 0; the call writes nothing but each message's `err`.
        let taken = unsafe {
            ffi::rd_kafka_produce_batch(self.topic, partition, ffi::RD_KAFKA_MSG_F_COPY, self.messages.as_mut_ptr(), count)
        };
        let failed = |message: &&ffi::rd_kafka_message_t| message.err != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        match self.messages.iter().find(failed).map(|message| RDKafkaErrorCode::from(message.err)) {
            // Once the queue is full librdkafka refuses the rest: those taken are the first ones.
            None | Some(RDKafkaErrorCode::QueueFull) => Ok(usize::try_from(taken).unwrap_or(0)),
            Some(code) => Err(code),
        }
    }

    /// Waits a little for messages to leave the full queue.
    pub(super) fn wait_for_room(&self) -> Result<(), RDKafkaErrorCode> {
        // The crate's own `poll` with a timeout spins through the last millisecond of it.
        thread::sleep(QUEUE_FULL_WAIT);
        self.check()
    }

    /// Fails if a message queued earlier could not be delivered.
    pub(super) fn check(&self) -> Result<(), RDKafkaErrorCode> {
        self.producer.poll(Duration::ZERO);
        let context = self.producer.context();
        context.take_failure().map_or(Ok(()), Err)
    }

    /// Sends what is queued without lingering, and returns when all of it has been acknowledged.
    ///
    /// Bounded by `message.timeout.ms`: a message that is as old fails.
    pub(super) fn flush(&self) -> Result<(), RDKafkaErrorCode> {
        let step_ms = c_int::try_from(FLUSH_STEP.as_millis()).unwrap_or(c_int::MAX);
        loop {
            // SAFETY: the client is alive.
            let result = unsafe { ffi::rd_kafka_flush(self.producer.client().native_ptr(), step_ms) };
            self.check()?;
            match RDKafkaErrorCode::from(result) {
                RDKafkaErrorCode::NoError => return Ok(()),
                RDKafkaErrorCode::OperationTimedOut => {}
                code => return Err(code),
            }
        }
    }

    /// Returns the producer, for messages that are sent one by one.
    pub(super) fn single(&self) -> &BaseProducer<Context> {
        &self.producer
    }
}

impl Drop for TopicProducer {
    fn drop(&mut self) {
        // SAFETY: by invariant 1 this is the only place that destroys it; the producer, a field, is dropped after this.
        unsafe { ffi::rd_kafka_topic_destroy(self.topic) };
    }
}

/// Describes a row to librdkafka, which only reads through the pointers.
fn message(payload: &[u8]) -> ffi::rd_kafka_message_t {
    ffi::rd_kafka_message_t {
        err: ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: 0,
        payload: payload.as_ptr().cast_mut().cast(),
        len: payload.len(),
        key: ptr::null_mut(),
        key_len: 0,
        offset: 0,
        _private: ptr::null_mut(),
    }
}
