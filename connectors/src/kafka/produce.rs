//! A producer that takes many rows in one call of librdkafka, and can be flushed without delay.
//!
//! Calls that are made here directly:
//! - `rd_kafka_produce_batch` looks up topic and partition once for all rows, where a row at a time looks them up for each.
//! - `rd_kafka_produceva` takes one row with a header, and the topic as a handle.
//! - `rd_kafka_flush` returns when the last message has been acknowledged. The `rdkafka` crate's own flush looks only every 100 ms,
//!   and so does its `commit_transaction`, which flushes: hence `rd_kafka_commit_transaction`.
//!
//! Only failed deliveries are reported (`delivery.report.only.error`): a report for each message would cost as much as
//! the message. What is not reported as failed when a flush ends has been delivered.
//!
//! Invariants that the `unsafe` blocks rely on:
//! 1. `producer` outlives `topic`, which is destroyed exactly once: in `drop`, before the producer's own.
//! 2. librdkafka copies payloads during the call (`RD_KAFKA_MSG_F_COPY`) and headers always, so that it keeps no pointer to them.
//! 3. librdkafka's functions may be called from any thread; the handles are not tied to the one that made them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use freshet_model::PartitionId;
use rdkafka::ClientConfig;
use rdkafka::bindings as ffi;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::client::Context;
use crate::format::Rows;

/// So many rows are handed over in one call at most.
const MAX_ROWS: usize = 1024;

/// A flush looks for failed deliveries so often.
const FLUSH_STEP: Duration = Duration::from_millis(50);

/// The name of the header by which a row is known.
const HEADER: &CStr = c"freshet";

/// So many events are taken from the client at most before it is asked something else.
const MAX_EVENTS: usize = 1000;

/// A full queue is looked at again after so long.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(2);

/// A producer for one topic.
pub(super) struct TopicProducer {
    topic: *mut ffi::rd_kafka_topic_t,
    messages: Vec<ffi::rd_kafka_message_t>,
    producer: Arc<BaseProducer<Context>>,
}

// SAFETY: by invariant 3; the pointers in `messages` are used only while a call that was given `&mut self` runs.
unsafe impl Send for TopicProducer {}

impl TopicProducer {
    /// Makes a producer; the brokers are contacted in the background.
    pub(super) fn new(config: &ClientConfig, context: Context, topic: &str) -> Result<TopicProducer, KafkaError> {
        let name = CString::new(topic)?;
        let producer: BaseProducer<Context> = BaseProducer::from_config_and_context(config, context)?;
        // SAFETY: the client is alive, the name ends with a NUL and is copied; no topic configuration means the default one.
        let topic = unsafe { ffi::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            // SAFETY: reads a variable of the thread.
            let code = RDKafkaErrorCode::from(unsafe { ffi::rd_kafka_last_error() });
            return Err(KafkaError::ClientCreation(code.to_string()));
        }
        Ok(TopicProducer { topic, messages: Vec::with_capacity(MAX_ROWS), producer: Arc::new(producer) })
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

    /// Queues all rows for one partition as [`send_all`](Self::send_all) does, each with a header: `prefix` and its number, which
    /// counts from `first` on.
    pub(super) fn send_marked(
        &mut self,
        partition: PartitionId,
        rows: &Rows,
        (prefix, first): (&str, u64),
    ) -> Result<(), RDKafkaErrorCode> {
        let mut header = Vec::with_capacity(prefix.len() + 20);
        for (row, number) in rows.iter().zip(first..) {
            header.clear();
            header.extend_from_slice(prefix.as_bytes());
            push_number(&mut header, number);
            loop {
                match self.send_one(partition, row, &header) {
                    RDKafkaErrorCode::NoError => break,
                    RDKafkaErrorCode::QueueFull => self.wait_for_room()?,
                    code => return Err(code),
                }
            }
        }
        Ok(())
    }

    /// Queues one row with a header.
    fn send_one(&self, partition: PartitionId, row: &[u8], header: &[u8]) -> RDKafkaErrorCode {
        use ffi::rd_kafka_vtype_t as Kind;
        let parts = [
            part(Kind::RD_KAFKA_VTYPE_RKT, |u| u.rkt = self.topic),
            part(Kind::RD_KAFKA_VTYPE_PARTITION, |u| u.i32_ = partition),
            part(Kind::RD_KAFKA_VTYPE_MSGFLAGS, |u| u.i = ffi::RD_KAFKA_MSG_F_COPY),
            part(Kind::RD_KAFKA_VTYPE_VALUE, |u| {
                u.mem = ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: row.as_ptr().cast_mut().cast(), size: row.len() };
            }),
            part(Kind::RD_KAFKA_VTYPE_HEADER, |u| {
                let size = isize::try_from(header.len()).unwrap_or(0);
                let val = header.as_ptr().cast();
                u.header = ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 { name: HEADER.as_ptr(), val, size };
            }),
        ];
        // SAFETY: client and topic are alive by invariant 1; row and header live through the call, which copies them (invariant 2);
        // each part's field is the one that its kind names. The error, if any, is ours.
        unsafe { own_error(ffi::rd_kafka_produceva(self.producer.client().native_ptr(), parts.as_ptr(), parts.len())).0 }
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

    /// Queues one message of any topic; blocks while the queue is full.
    pub(super) fn send_record(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), RDKafkaErrorCode> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.wait_for_room()?;
                }
                Err((error, _)) => return Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
            }
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

    /// Hears all that the client has to tell. To be called when no message is on its way: these are counted like news.
    pub(super) fn hear(&self) {
        let mut left = MAX_EVENTS;
        while left > 0 && self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::ZERO);
            left -= 1;
        }
    }

    /// Returns the client's words for a connection that broke while it was in use.
    pub(super) fn broken(&self) -> Option<String> {
        self.producer.context().broken()
    }

    /// Sends what is queued without lingering, and returns when all of it has been acknowledged.
    ///
    /// Bounded by `message.timeout.ms`: a message that is as old fails.
    pub(super) fn flush(&self) -> Result<(), RDKafkaErrorCode> {
        while !self.flush_step()? {}
        Ok(())
    }

    /// Sends what is queued without lingering, and returns when all of it has been acknowledged; fails if that takes too long, or if
    /// a connection breaks.
    pub(super) fn flush_within(&self, limit: Duration) -> Result<(), RDKafkaErrorCode> {
        let deadline = Instant::now() + limit;
        while !self.flush_step()? {
            if self.broken().is_some() {
                return Err(RDKafkaErrorCode::BrokerTransportFailure);
            }
            if Instant::now() >= deadline {
                return Err(RDKafkaErrorCode::OperationTimedOut);
            }
        }
        Ok(())
    }

    /// Waits a little for acknowledgements; tells whether all messages have theirs.
    fn flush_step(&self) -> Result<bool, RDKafkaErrorCode> {
        let step_ms = c_int::try_from(FLUSH_STEP.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client is alive.
        let result = unsafe { ffi::rd_kafka_flush(self.producer.client().native_ptr(), step_ms) };
        self.check()?;
        match RDKafkaErrorCode::from(result) {
            RDKafkaErrorCode::NoError => Ok(true),
            RDKafkaErrorCode::OperationTimedOut => Ok(false),
            code => Err(code),
        }
    }

    /// Ends the open transaction, of which all messages have been acknowledged; says in words why it cannot.
    pub(super) fn commit(&self, limit: Duration) -> Result<(), (RDKafkaErrorCode, String)> {
        let limit_ms = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client is alive; the error, if any, is ours.
        let (code, reason) =
            unsafe { own_error(ffi::rd_kafka_commit_transaction(self.producer.client().native_ptr(), limit_ms)) };
        if code == RDKafkaErrorCode::NoError { Ok(()) } else { Err((code, reason)) }
    }

    /// Returns the producer, for messages that are sent one by one.
    pub(super) fn single(&self) -> &Arc<BaseProducer<Context>> {
        &self.producer
    }
}

impl Drop for TopicProducer {
    fn drop(&mut self) {
        // SAFETY: by invariant 1 this is the only place that destroys it; the producer, a field, is dropped after this.
        unsafe { ffi::rd_kafka_topic_destroy(self.topic) };
    }
}

/// Describes a part of a message to librdkafka.
fn part(kind: ffi::rd_kafka_vtype_t, fill: impl FnOnce(&mut ffi::rd_kafka_vu_s__bindgen_ty_1)) -> ffi::rd_kafka_vu_t {
    let mut u = ffi::rd_kafka_vu_s__bindgen_ty_1 { ptr: ptr::null_mut() };
    fill(&mut u);
    ffi::rd_kafka_vu_t { vtype: kind, u }
}

/// Takes an error's code and words, and destroys it.
///
/// # Safety
/// The error is null or the caller's own, and not used afterwards.
unsafe fn own_error(error: *mut ffi::rd_kafka_error_t) -> (RDKafkaErrorCode, String) {
    if error.is_null() {
        return (RDKafkaErrorCode::NoError, String::new());
    }
    // SAFETY: the error is alive until it is destroyed, once, after its text has been copied.
    unsafe {
        let code = RDKafkaErrorCode::from(ffi::rd_kafka_error_code(error));
        let reason = CStr::from_ptr(ffi::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        ffi::rd_kafka_error_destroy(error);
        (code, reason)
    }
}

/// Appends a number in decimal digits.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
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
