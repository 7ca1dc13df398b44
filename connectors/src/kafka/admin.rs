//! Questions to the brokers for which the `rdkafka` crate has no words: a group's offset with the text beside it, a topic's id and size, and
//! an offset that goes into a producer's transaction.
//!
//! The questions are put through a client that exists already, a producer's or a consumer's: a client of its own would be three
//! threads and three connections for one answer.
//!
//! Invariants that the `unsafe` blocks rely on:
//! 1. Each client outlives its [`Question`]: the question borrows it, or is a field before it and so dropped earlier.
//! 2. Queues, options and events are owned by one wrapper each, which destroys them once, in `drop`.
//! 3. What is read from an event is copied before the event is destroyed.
//! 4. librdkafka copies names, options and lists during the call that is given them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::slice;
use std::time::Duration;

use freshet_model::Offset;
use rdkafka::bindings as ffi;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset as Position, TopicPartitionList};

/// Puts a group's offset, with a text beside it, into the producer's open transaction.
pub(super) fn send_offset<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    topic: &str,
    (offset, text): (Offset, &str),
    wait: Duration,
) -> Result<(), Code> {
    let group = CString::new(group).map_err(|_| Code::InvalidGroupId)?;
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(topic, 0, Position::Offset(offset)).map_err(|_| Code::InvalidArgument)?;
    list.find_partition(topic, 0).ok_or(Code::InvalidArgument)?.set_metadata(text);
    // SAFETY: the client is alive; group, list and metadata live through the call, which copies them (invariant 4); the metadata
    // and the error are ours and destroyed once. A null error means success, for which `rd_kafka_error_code` has an answer.
    unsafe {
        let metadata = ffi::rd_kafka_consumer_group_metadata_new(group.as_ptr());
        let error = ffi::rd_kafka_send_offsets_to_transaction(client.native_ptr(), list.ptr(), metadata, millis(wait));
        ffi::rd_kafka_consumer_group_metadata_destroy(metadata);
        let code = Code::from(ffi::rd_kafka_error_code(error));
        if !error.is_null() {
            ffi::rd_kafka_error_destroy(error);
        }
        if code == Code::NoError { Ok(()) } else { Err(code) }
    }
}

/// Returns a group's offset in the first partition of a topic, and the text beside it; waits for transactions that are being ended.
pub(super) fn group_offset<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    topic: &str,
    wait: Duration,
) -> Result<Option<(Offset, String)>, Code> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, 0);
    let group = CString::new(group).map_err(|_| Code::InvalidGroupId)?;
    let question = Question::new(client, ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, wait);
    // SAFETY: client, queue and options are alive; the request is ours and destroyed once, after the call has copied it (invariant
    // 4). An AdminOptions call returns null or an error that is ours.
    unsafe {
        let error = ffi::rd_kafka_AdminOptions_set_require_stable_offsets(question.options, 1);
        if !error.is_null() {
            ffi::rd_kafka_error_destroy(error);
        }
        let mut request = ffi::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list.ptr());
        ffi::rd_kafka_ListConsumerGroupOffsets(client.native_ptr(), &mut request, 1, question.options, question.queue);
        ffi::rd_kafka_ListConsumerGroupOffsets_destroy(request);
    }
    let answer = question.answer(wait).ok_or(Code::RequestTimedOut)?;
    answer.check()?;
    // SAFETY: the event holds the answer to this question and is alive; lists that it lends are read while it is, and whether they
    // are null or empty is asked first (invariant 3).
    unsafe {
        let result = ffi::rd_kafka_event_ListConsumerGroupOffsets_result(answer.event);
        let mut count = 0;
        let groups = ffi::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        if groups.is_null() || count == 0 {
            return Err(Code::Fail);
        }
        let code = Code::from(ffi::rd_kafka_error_code(ffi::rd_kafka_group_result_error(*groups)));
        if code != Code::NoError {
            return Err(code);
        }
        let partitions = ffi::rd_kafka_group_result_partitions(*groups);
        if partitions.is_null() || (*partitions).cnt == 0 {
            return Ok(None);
        }
        let found = &*(*partitions).elems;
        let code = Code::from(found.err);
        if code != Code::NoError {
            return Err(code);
        }
        let text = if found.metadata.is_null() {
            String::new()
        } else {
            String::from_utf8_lossy(slice::from_raw_parts(found.metadata.cast::<u8>(), found.metadata_size)).into_owned()
        };
        Ok((found.offset >= 0).then_some((found.offset, text)))
    }
}

/// Returns the broker that the brokers call the controller, if they have named one.
pub(super) fn controller<C: ClientContext>(client: &Client<C>) -> Option<i32> {
    // SAFETY: the client is alive.
    let id = unsafe { ffi::rd_kafka_controllerid(client.native_ptr(), 0) };
    (id >= 0).then_some(id)
}

/// What tells one topic from another of the same name, and from its former self.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// Another one after it has been deleted and created anew; `None` if the brokers are too old for ids.
    pub(super) id: Option<String>,
    pub(super) partitions: usize,
}

/// The question for a topic's id and size, which may be put without waiting for the answer.
pub(super) struct Description {
    question: Question,
}

impl Description {
    /// Puts the question to a broker, or to the controller; it is given up after a time. The client must outlive it (invariant 1).
    pub(super) fn ask<C: ClientContext>(
        client: &Client<C>,
        topic: &str,
        broker: Option<i32>,
        wait: Duration,
    ) -> Result<Description, Code> {
        let topic = CString::new(topic).map_err(|_| Code::InvalidTopic)?;
        let question = Question::new(client, ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, wait);
        if let Some(broker) = broker {
            // SAFETY: the options are alive. A broker that is refused leaves the controller.
            unsafe { ffi::rd_kafka_AdminOptions_set_broker(question.options, broker, ptr::null_mut(), 0) };
        }
        let mut names: [*const c_char; 1] = [topic.as_ptr()];
        // SAFETY: client, queue and options are alive; the names live through the call; the collection is ours and destroyed once,
        // after the call has copied it (invariant 4).
        unsafe {
            let topics = ffi::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            ffi::rd_kafka_DescribeTopics(client.native_ptr(), topics, question.options, question.queue);
            ffi::rd_kafka_TopicCollection_destroy(topics);
        }
        Ok(Description { question })
    }

    /// Waits for the answer; `None` if there is none yet.
    pub(super) fn wait(&self, wait: Duration) -> Option<Result<Described, Code>> {
        let answer = self.question.answer(wait)?;
        Some(answer.check().and_then(|()| read_description(&answer)))
    }
}

fn read_description(answer: &Answer) -> Result<Described, Code> {
    // SAFETY: the event holds the answer to a question for topics and is alive; what it lends is read while it is, and whether it is
    // null or empty is asked first (invariant 3).
    unsafe {
        let result = ffi::rd_kafka_event_DescribeTopics_result(answer.event);
        let mut count = 0;
        let topics = ffi::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return Err(Code::UnknownTopicOrPartition);
        }
        let code = Code::from(ffi::rd_kafka_error_code(ffi::rd_kafka_TopicDescription_error(*topics)));
        if code != Code::NoError {
            return Err(code);
        }
        let id = ffi::rd_kafka_TopicDescription_topic_id(*topics);
        let zero = ffi::rd_kafka_Uuid_least_significant_bits(id) == 0 && ffi::rd_kafka_Uuid_most_significant_bits(id) == 0;
        let text = ffi::rd_kafka_Uuid_base64str(id);
        let id = (!zero && !text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        let mut partitions = 0;
        ffi::rd_kafka_TopicDescription_partitions(*topics, &mut partitions);
        Ok(Described { id, partitions })
    }
}

/// A queue for one answer, and the options of the question.
struct Question {
    queue: *mut ffi::rd_kafka_queue_t,
    options: *mut ffi::rd_kafka_AdminOptions_t,
}

// SAFETY: librdkafka's handles may be used from any thread; a question has one owner.
unsafe impl Send for Question {}

impl Question {
    fn new<C: ClientContext>(client: &Client<C>, kind: ffi::rd_kafka_admin_op_t, wait: Duration) -> Question {
        // SAFETY: the client is alive. A timeout that is refused leaves the default; the text of the refusal is not wanted.
        unsafe {
            let queue = ffi::rd_kafka_queue_new(client.native_ptr());
            let options = ffi::rd_kafka_AdminOptions_new(client.native_ptr(), kind);
            ffi::rd_kafka_AdminOptions_set_request_timeout(options, millis(wait), ptr::null_mut(), 0);
            Question { queue, options }
        }
    }

    fn answer(&self, wait: Duration) -> Option<Answer> {
        // SAFETY: the queue is alive by invariant 2; the event, if any, is ours.
        let event = unsafe { ffi::rd_kafka_queue_poll(self.queue, millis(wait)) };
        (!event.is_null()).then_some(Answer { event })
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // SAFETY: by invariant 2 this is the only place. An answer that comes later is dropped by librdkafka, which holds a
        // reference of its own to the queue.
        unsafe {
            ffi::rd_kafka_AdminOptions_destroy(self.options);
            ffi::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// An event that has been taken from a queue.
struct Answer {
    event: *mut ffi::rd_kafka_event_t,
}

impl Answer {
    fn check(&self) -> Result<(), Code> {
        // SAFETY: the event is alive.
        let code = Code::from(unsafe { ffi::rd_kafka_event_error(self.event) });
        if code == Code::NoError { Ok(()) } else { Err(code) }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: by invariant 2 this is the only place.
        unsafe { ffi::rd_kafka_event_destroy(self.event) };
    }
}

fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}
