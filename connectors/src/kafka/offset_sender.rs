//! Puts offsets into the transactions of one producer, on a thread that can be left behind.
//!
//! librdkafka's call looks at its time limit only between requests. When the group's coordinator falls silent at the wrong moment there is no next request,
//! and the call stays for ever (<https://github.com/confluentinc/librdkafka/issues/5456>). Whoever waits here gives up in time; the thread, and the producer
//! that it is in, end when the call does: when a connection of the producer changes, or with the process. Its transaction does not count:
//! the next producer of the same name makes the brokers end it.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use freshet_model::Offset;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{BaseProducer, Producer as _, PurgeConfig};

use super::admin;
use super::client::Context;

/// A thread that puts offsets into the open transaction of its producer.
pub(super) struct OffsetSender {
    producer: Arc<BaseProducer<Context>>,
    asks: Option<Sender<(Offset, String)>>,
    answers: Receiver<Result<(), Code>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the thread is in a call.
    is_busy: bool,
}

impl OffsetSender {
    /// Starts the thread; a call may take as long as `limit`, by the producer's own clock.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(
        producer: Arc<BaseProducer<Context>>,
        group: &str,
        topic: &str,
        limit: Duration,
    ) -> io::Result<OffsetSender> {
        let (asks, asked) = bounded::<(Offset, String)>(1);
        let (answer, answers) = bounded(1);
        let (group, topic, caller) = (group.to_owned(), topic.to_owned(), Arc::clone(&producer));
        let run = move || {
            for (offset, text) in asked {
                // Whoever asked may have given up.
                let _ = answer.send(admin::send_offset(caller.client(), &group, &topic, (offset, &text), limit));
            }
        };
        let thread = thread::Builder::new().name("offsets".to_owned()).spawn(run)?;
        Ok(OffsetSender { producer, asks: Some(asks), answers, thread: Some(thread), is_busy: false })
    }

    /// Puts an offset, with a text beside it, into the transaction.
    pub(super) fn begin(&mut self, offset: Offset, text: String) -> Result<(), Code> {
        let asks = self.asks.as_ref().filter(|_| !self.is_busy).ok_or(Code::InProgress)?;
        asks.send((offset, text)).map_err(|_| Code::Fail)?;
        self.is_busy = true;
        Ok(())
    }

    /// Waits for what became of it; `None` if that is not known yet.
    pub(super) fn wait(&mut self, wait: Duration) -> Option<Result<(), Code>> {
        match self.answers.recv_timeout(wait) {
            Ok(answer) => {
                self.is_busy = false;
                Some(answer)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(Code::Fail)),
        }
    }
}

impl Drop for OffsetSender {
    fn drop(&mut self) {
        self.asks = None;
        if self.is_busy {
            // Left behind, but not with the rows that its producer holds.
            self.producer.purge(PurgeConfig::default().queue().inflight());
        } else if let Some(thread) = self.thread.take() {
            // So that the producer ends where it is dropped.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::ClientConfig;
    use rdkafka::config::FromClientConfigAndContext;
    use rdkafka::mocking::{MockCluster, MockCoordinator};

    use super::super::address::Address;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A producer with an open transaction, and its sender; the group has a broker of its own.
    fn open(cluster: &MockCluster<'_, impl rdkafka::ClientContext>) -> (Arc<BaseProducer<Context>>, OffsetSender) {
        cluster.create_topic("t", 1, 2).expect("a topic");
        cluster.coordinator(MockCoordinator::Transaction("id".to_owned()), 1).expect("a coordinator of transactions");
        cluster.coordinator(MockCoordinator::Group("id".to_owned()), 2).expect("a coordinator of groups");
        let address = Address::parse("sink", &format!("kafka://{}/t", cluster.bootstrap_servers())).expect("an address");
        let config = ClientConfig::new().set("bootstrap.servers", &address.brokers).set("transactional.id", "id").clone();
        let producer = BaseProducer::from_config_and_context(&config, Context::quiet("sink", &address)).expect("a producer");
        producer.init_transactions(PATIENCE).and_then(|()| producer.begin_transaction()).expect("a transaction");
        let producer = Arc::new(producer);
        let sender = OffsetSender::start(Arc::clone(&producer), "id", "t", PATIENCE * 6).expect("a thread");
        (producer, sender)
    }

    #[test]
    fn offsets_are_put_into_a_transaction_one_after_another() {
        let cluster = MockCluster::new(2).expect("a mock cluster");
        let (producer, mut sender) = open(&cluster);
        for offset in 1..4 {
            sender.begin(offset, "generation 1".to_owned()).expect("a thread that waits");
            assert_eq!(sender.wait(PATIENCE), Some(Ok(())), "offset {offset}");
        }
        drop(sender);
        assert_eq!(Arc::strong_count(&producer), 1, "the producer ends where it is dropped");
    }

    #[test]
    fn a_call_that_stays_is_left_behind() {
        let cluster = MockCluster::new(2).expect("a mock cluster");
        let (producer, mut sender) = open(&cluster);
        cluster.broker_round_trip_time(2, PATIENCE * 6).expect("a slow broker");
        sender.begin(1, String::new()).expect("a thread that waits");
        assert_eq!(sender.wait(Duration::from_millis(100)), None);
        assert_eq!(sender.begin(2, String::new()), Err(Code::InProgress));
        let begun = Instant::now();
        drop(sender);
        drop(producer);
        assert!(begun.elapsed() < PATIENCE, "nobody waits for the call");
    }
}
