//! What the tests do to topics from outside, and what they see there, by clients that know nothing of Freshet.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(30);

/// A committed record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: String,
    /// The header `freshet`.
    pub(crate) mark: String,
}

impl Broker {
    fn client(&self) -> ClientConfig {
        ClientConfig::new().set("bootstrap.servers", &self.address).set("group.id", "outside").clone()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }

    /// Creates a topic; one of the same name may just have been deleted.
    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        let wanted = [NewTopic::new(topic, partitions, TopicReplication::Fixed(1))];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let results = block_on(self.admin().create_topics(&wanted, &AdminOptions::new())).expect("an answer");
            match results.into_iter().find_map(Result::err) {
                None => break,
                Some((_, code)) => assert!(Instant::now() < deadline, "no topic {topic}: {code}"),
            }
            thread::sleep(Duration::from_millis(50));
        }
        let probe: BaseConsumer = self.client().create().expect("a consumer");
        let there = || {
            let metadata = probe.fetch_metadata(Some(topic), PATIENCE).expect("an answer");
            metadata.topics()[0].partitions().len() == usize::try_from(partitions).expect("a number")
        };
        while !there() {
            assert!(Instant::now() < deadline, "topic {topic} does not show up");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Deletes a topic.
    pub(crate) fn delete(&self, topic: &str) {
        block_on(self.admin().delete_topics(&[topic], &AdminOptions::new())).expect("an answer");
    }

    /// Deletes a partition's records before an offset.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        block_on(self.admin().delete_records(&list, &AdminOptions::new())).expect("an answer");
    }

    /// Appends JSON objects with a number each.
    pub(crate) fn produce(&self, topic: &str, partition: i32, numbers: impl IntoIterator<Item = i64>) {
        let producer: BaseProducer = self.client().create().expect("a producer");
        for n in numbers {
            let payload = format!(r#"{{"n":{n}}}"#);
            producer.send(BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload)).map_err(|e| e.0).expect("room");
        }
        producer.flush(PATIENCE).expect("delivery");
    }

    /// Reads all records of a topic that are committed.
    pub(crate) fn committed(&self, topic: &str) -> Vec<Record> {
        self.read(topic, "read_committed")
    }

    /// Reads all records of a topic, those of open and aborted transactions among them.
    pub(crate) fn everything(&self, topic: &str) -> Vec<Record> {
        self.read(topic, "read_uncommitted")
    }

    fn read(&self, topic: &str, level: &str) -> Vec<Record> {
        let consumer: BaseConsumer = self
            .client()
            .set("isolation.level", level)
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("an answer");
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let (mut records, mut open) = (Vec::new(), list.count());
        while open > 0 {
            match consumer.poll(PATIENCE).expect("an answer in time") {
                Ok(message) => records.push(record(&message)),
                Err(KafkaError::PartitionEOF(_)) => open -= 1,
                Err(error) => panic!("cannot read {topic}: {error}"),
            }
        }
        records
    }

    /// Returns a group's offset in a partition.
    pub(crate) fn group_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let found = consumer.committed_offsets(list, PATIENCE).expect("an answer");
        found.elements()[0].offset().to_raw().filter(|&offset| offset >= 0)
    }
}

fn record(message: &impl Message) -> Record {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let mark = headers.filter(|header| header.key == "freshet").map(|header| text(header.value)).collect();
    Record { partition: message.partition(), key: text(message.key()), value: text(message.payload()), mark }
}

/// Waits for a future on this thread: the admin client has no other interface.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
