//! User activity at a steady rate, some of it late or malformed; no two events have the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::stage::PARTITIONS;

const PAGES: u32 = 40;
const USERS: u32 = 300;
/// One event in so many is late.
const LATE_ONE_IN: u32 = 300;
/// One record in so many is no event.
const MALFORMED_ONE_IN: u32 = 1000;

/// A thread that produces.
pub(crate) struct Producer {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    /// Starts to produce.
    pub(crate) fn start(mut client: ClientConfig, topic: &str, rate: u64, seed: u64) -> Producer {
        // Idempotent, and as patient as it takes: what is lost here would be nobody's fault.
        client.set("enable.idempotence", "true").set("message.timeout.ms", "0").set("linger.ms", "5");
        client.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        let producer: BaseProducer = client.create().expect("a producer");
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count, topic) = (Arc::clone(&stop), Arc::clone(&sent), topic.to_owned());
        let thread = std::thread::spawn(move || {
            produce(&producer, &topic, rate, seed, &told, &count);
            producer.flush(Duration::from_secs(120)).expect("the broker takes what is left");
        });
        Producer { stop, sent, thread: Some(thread) }
    }

    /// Stops, waits until the broker has everything, and returns the number of records.
    pub(crate) fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the producer has not failed");
        }
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn produce(producer: &BaseProducer, topic: &str, rate: u64, seed: u64, stop: &AtomicBool, sent: &AtomicU64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (began, mut last, mut count) = (Instant::now(), 0, 0);
    while !stop.load(Ordering::SeqCst) {
        let due = began.elapsed().as_micros() as u64 * rate / 1_000_000;
        while count < due && !stop.load(Ordering::SeqCst) {
            last = Timestamp::now().as_microsecond().max(last + 1);
            let record = record(last, &mut random);
            let partition = random.random_range(0..PARTITIONS);
            send(producer, topic, partition, &record);
            count += 1;
            sent.store(count, Ordering::SeqCst);
        }
        producer.poll(Duration::from_millis(2));
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Makes a record; its time is `now` unless it is late.
fn record(now: i64, random: &mut StdRng) -> Vec<u8> {
    if random.random_ratio(1, MALFORMED_ONE_IN) {
        return malformed(random);
    }
    let late_micros = if random.random_ratio(1, LATE_ONE_IN) { random.random_range(1..600) * 1_000_000 } else { 0 };
    let time = Timestamp::from_microsecond(now - late_micros).expect("a time");
    // A few users come back after minutes only, so that sessions end.
    let user = if random.random_ratio(1, 50) { random.random_range(USERS..20 * USERS) } else { random.random_range(0..USERS) };
    let page = random.random_range(0..PAGES);
    let kind = ["page_view", "page_view", "click", "scroll"][random.random_range(0..4)];
    format!(r#"{{"event_time":"{time:.6}","user_id":"user_{user}","page_url":"/page/{page}","event_type":"{kind}"}}"#)
        .into_bytes()
}

fn malformed(random: &mut StdRng) -> Vec<u8> {
    let all: [&[u8]; 5] = [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        br#"{"event_time":"9999-01-01T00:00:00Z","user_id":"u","page_url":"/","event_type":"page_view"}"#,
        br#"{"user_id":"u","page_url":"/","event_type":"page_view"}"#,
    ];
    all[random.random_range(0..all.len())].to_vec()
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, payload: &[u8]) {
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(payload);
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "the producer has failed");
        record = back;
        producer.poll(Duration::from_millis(20));
    }
}
