//! Follows the enriched topic as another program would, with committed records only: how long does it get nothing?

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::faults::now_micros;

/// A thread that follows.
pub(crate) struct Follower {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// When records came.
#[derive(Debug, Default)]
struct Seen {
    /// Microseconds of the machine's clock; 0 before the first.
    last: AtomicI64,
    /// The longest time between two of them.
    longest: Mutex<i64>,
}

impl Seen {
    fn note(&self, now: i64) {
        let last = self.last.swap(now, Ordering::SeqCst);
        if last > 0 {
            let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
            *longest = (*longest).max(now - last);
        }
    }
}

impl Follower {
    /// Starts to follow a topic, from its end.
    pub(crate) fn start(mut client: ClientConfig, topic: &str, partitions: i32) -> Follower {
        client.set("group.id", "chaos").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        client.set("fetch.wait.max.ms", "10").set("fetch.queue.backoff.ms", "5");
        client.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        let consumer: BaseConsumer = client.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::End).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (into, told) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                // A broker that is away is asked again by the client itself.
                if let Some(Ok(_)) = consumer.poll(Duration::from_millis(50)) {
                    into.note(now_micros());
                }
            }
        });
        Follower { seen, stop, thread: Some(thread) }
    }

    /// Returns when the newest record came.
    pub(crate) fn last_micros(&self) -> i64 {
        self.seen.last.load(Ordering::SeqCst)
    }

    /// Returns the longest time, in seconds, for which nothing came since the last call.
    pub(crate) fn take_longest(&self) -> f64 {
        let mut longest = self.seen.longest.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *longest) as f64 / 1e6
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It panics at most with the message that it has printed.
            let _ = thread.join();
        }
    }
}
