//! Many messages in one call of librdkafka, borrowed from its memory.
//!
//! The `rdkafka` crate takes messages one by one, each with an event around it. `rd_kafka_consume_batch_queue` takes what a queue
//! holds at once: 0.2 µs a message less. This is the only module of the source that calls librdkafka itself; everything it
//! offers is safe.
//!
//! Invariants that the `unsafe` blocks rely on:
//! 1. `consumer` outlives `topic` and `queue`, and both are destroyed exactly once: in `drop`, before the consumer's own.
//! 2. Each pointer in `taken` was given out by librdkafka, is not null, and is destroyed exactly once: when the [`Messages`]
//!    that borrow the queue are dropped. Payloads are borrowed from [`Messages`], so none outlives its message.
//! 3. librdkafka's functions may be called from any thread; the handles are not tied to the one that made them.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::slice;
use std::time::Duration;

use freshet_model::{Offset, PartitionId};
use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::client::Context;

/// So many messages are taken by one call at most.
pub(super) const MAX_TAKEN: usize = 2048;

/// The partitions of one topic that one consumer reads, in one queue.
pub(super) struct BatchQueue {
    name: CString,
    topic: *mut ffi::rd_kafka_topic_t,
    queue: *mut ffi::rd_kafka_queue_t,
    started: Vec<PartitionId>,
    taken: Vec<*mut ffi::rd_kafka_message_t>,
    consumer: BaseConsumer<Context>,
}

// SAFETY: by invariant 3, and `&mut self` is needed for whatever touches `taken`.
unsafe impl Send for BatchQueue {}

impl BatchQueue {
    /// Makes an empty queue for partitions of a topic. The consumer must have no group: it would own the partitions then.
    pub(super) fn new(consumer: BaseConsumer<Context>, topic: &str) -> Result<BatchQueue, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive, the name ends with a NUL and is copied; no topic configuration means the default one.
        let topic = unsafe { ffi::rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut()) };
        if topic.is_null() {
            return Err(last_error());
        }
        // SAFETY: the client is alive. The call has no way to fail.
        let queue = unsafe { ffi::rd_kafka_queue_new(client) };
        Ok(BatchQueue { name, topic, queue, started: Vec::new(), taken: Vec::with_capacity(MAX_TAKEN), consumer })
    }

    /// Begins to fetch a partition from an offset on.
    pub(super) fn start(&mut self, partition: PartitionId, offset: Offset) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: topic and queue are alive by invariant 1.
        let result = unsafe { ffi::rd_kafka_consume_start_queue(self.topic, partition, offset, self.queue) };
        if result != 0 {
            return Err(last_error());
        }
        self.started.push(partition);
        Ok(())
    }

    /// Ends fetching a partition, and discards what the queue holds of it.
    pub(super) fn stop(&mut self, partition: PartitionId) {
        let Some(index) = self.started.iter().position(|&started| started == partition) else { return };
        self.started.swap_remove(index);
        // SAFETY: the topic is alive by invariant 1, and the partition is one that was started.
        unsafe { ffi::rd_kafka_consume_stop(self.topic, partition) };
    }

    /// Takes up to `max` messages, or [`MAX_TAKEN`]; waits until it has them all or `wait` has passed.
    pub(super) fn take(&mut self, max: usize, wait: Duration) -> Messages<'_> {
        let wait_ms = c_int::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
        let max = max.min(MAX_TAKEN);
        // SAFETY: the queue is alive by invariant 1; `taken` is empty by invariant 2 and has room for MAX_TAKEN pointers.
        let count = unsafe { ffi::rd_kafka_consume_batch_queue(self.queue, wait_ms, self.taken.as_mut_ptr(), max) };
        // SAFETY: the call has written so many pointers (-1 for an error, which is none), each to a message that is now ours.
        unsafe { self.taken.set_len(usize::try_from(count).unwrap_or(0).min(max)) };
        Messages { taken: &mut self.taken }
    }

    /// Lets the client tell of outages and other trouble.
    pub(super) fn serve(&self) {
        while self.consumer.poll(Duration::ZERO).is_some() {}
    }

    /// Returns the consumer, for questions.
    pub(super) fn consumer(&self) -> &BaseConsumer<Context> {
        &self.consumer
    }

    /// Returns the offset behind a partition's last record as the latest fetch has told it, without asking the broker.
    pub(super) fn high_watermark(&self, partition: PartitionId) -> Option<Offset> {
        let (mut low, mut high) = (0, 0);
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client is alive, the name ends with a NUL, and the two places are ours.
        let result = unsafe { ffi::rd_kafka_get_watermark_offsets(client, self.name.as_ptr(), partition, &mut low, &mut high) };
        (result == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for BatchQueue {
    fn drop(&mut self) {
        while let Some(&partition) = self.started.first() {
            self.stop(partition);
        }
        // SAFETY: by invariant 1 this is the only place that destroys them; the consumer, a field, is dropped after this.
        // No message is left: `Messages` borrow the queue, so they are gone by now.
        unsafe {
            ffi::rd_kafka_queue_destroy(self.queue);
            ffi::rd_kafka_topic_destroy(self.topic);
        }
    }
}

/// Messages and events that have been taken from a queue.
pub(super) struct Messages<'q> {
    taken: &'q mut Vec<*mut ffi::rd_kafka_message_t>,
}

/// A message, or an event of its partition.
pub(super) struct Message<'m> {
    pub(super) partition: PartitionId,
    /// The message's offset; of an event the offset at which it happened.
    pub(super) offset: Offset,
    /// The message, or what has happened instead.
    pub(super) payload: Result<Option<&'m [u8]>, RDKafkaErrorCode>,
}

impl Messages<'_> {
    /// Returns the number of messages and events.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Iterates over them, in the order of each partition.
    pub(super) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        self.taken.iter().map(|&message| {
            // SAFETY: by invariant 2 the message is alive while `self` is borrowed, and nobody writes to it.
            let message = unsafe { &*message };
            let payload = match message.err {
                ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR if message.payload.is_null() => Ok(None),
                // SAFETY: without an error a payload that is not null is `len` bytes, which live as long as the message.
                ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    Ok(Some(unsafe { slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }))
                }
                error => Err(RDKafkaErrorCode::from(error)),
            };
            Message { partition: message.partition, offset: message.offset, payload }
        })
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for message in self.taken.drain(..) {
            // SAFETY: by invariant 2 it is ours, and draining makes this the only time.
            unsafe { ffi::rd_kafka_message_destroy(message) };
        }
    }
}

/// Returns why the latest call of librdkafka on this thread failed.
fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a variable of the thread.
    RDKafkaErrorCode::from(unsafe { ffi::rd_kafka_last_error() })
}
