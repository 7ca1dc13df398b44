//! Reads some partitions of a topic into batches.
//!
//! All partitions share one queue of librdkafka. A read drains it into one decoder a partition, straight from librdkafka's memory,
//! and finishes a batch for each partition that has moved.
//!
//! Where a partition stands is told by two things: the offsets of its messages, and the client's notice that it has reached the
//! end. The notice is needed: the last offsets of a partition may belong to transaction markers, which never appear as messages.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use freshet_model::{Batch, Offset, PartitionId, Progress, Timestamp};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::batch_queue::{BatchQueue, MAX_TAKEN, Message};
use super::client;
use super::identity::Identity;
use crate::format::{Decoder, Decoders};
use crate::{Error, Reader};

/// Brokers are given so long to say whether the topic is still there.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon records that wait for the registry are looked at again.
const RESUME: Duration = Duration::from_millis(20);

/// The part of a partition that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) partition: PartitionId,
    /// The offsets at which reading could begin when the source was opened.
    pub(super) held: RangeInclusive<Offset>,
    pub(super) start: Offset,
    /// Set for a bounded run.
    pub(super) end: Option<Offset>,
}

/// A cursor over some partitions of a topic.
pub struct KafkaReader {
    thing: String,
    topic: String,
    /// Before the queue, with whose client it asks.
    identity: Identity,
    queue: BatchQueue,
    partitions: Vec<Partition>,
}

impl KafkaReader {
    /// Begins to fetch the partitions.
    pub(super) fn new(
        thing: String,
        topic: &str,
        identity: Identity,
        mut queue: BatchQueue,
        decoders: &Decoders,
        stretches: Vec<Stretch>,
    ) -> Result<KafkaReader, Error> {
        let partitions: Vec<_> = stretches.into_iter().map(|stretch| Partition::new(stretch, decoders.decoder())).collect();
        for partition in partitions.iter().filter(|partition| !partition.is_finished()) {
            queue.start(partition.id, partition.begun).map_err(|code| client::sort(&thing, topic, code))?;
        }
        Ok(KafkaReader { thing, topic: topic.to_owned(), identity, queue, partitions })
    }

    /// Drains the queue into the decoders; waits for a first message only if there is none.
    fn fill(&mut self, max_records: usize, wait: Duration) -> Result<(), Error> {
        let KafkaReader { thing, topic, queue, partitions, .. } = self;
        let mut room = max_records.max(1);
        let mut first_wait = Some(wait);
        while room > 0 && !partitions.iter().any(|partition| partition.decoder.is_full()) {
            let mut messages = queue.take(room.min(MAX_TAKEN), Duration::ZERO);
            if messages.len() == 0 {
                // A call for more than one message would wait until it has them all.
                let Some(wait) = first_wait.filter(|wait| !wait.is_zero()) else { return Ok(()) };
                drop(messages);
                messages = queue.take(1, wait);
            }
            first_wait = None;
            if messages.len() == 0 {
                return Ok(());
            }
            let mut last = 0;
            for message in messages.iter() {
                // Messages come in runs of one partition.
                if partitions[last].id != message.partition {
                    let owner = partitions.iter().position(|partition| partition.id == message.partition);
                    last = owner.expect("the queue holds only partitions that were started");
                }
                let partition = &mut partitions[last];
                partition.take(&message).map_err(|code| describe(thing, topic, partition, code))?;
            }
            room = room.saturating_sub(messages.len());
            drop(messages);
            queue.consumer().context().heard();
        }
        Ok(())
    }

    /// Asks the brokers about the topic, and fails if it is gone or closed; brokers that do not answer are waited for, as ever.
    fn confirm(&self) -> Result<(), Error> {
        let Ok(metadata) = self.queue.consumer().fetch_metadata(Some(&self.topic), CONFIRM_TIMEOUT) else { return Ok(()) };
        let mut errors = metadata.topics().iter().filter_map(|topic| topic.error()).map(RDKafkaErrorCode::from);
        let error = errors.find(|&code| !may_pass(code));
        error.map_or(Ok(()), |code| Err(client::sort(&self.thing, &self.topic, code)))
    }

    /// Appends a batch for each partition that has moved or whose progress has changed.
    fn finish(&mut self, out: &mut Vec<Batch>) -> Result<(), Error> {
        for partition in &mut self.partitions {
            partition.decoder.check()?;
            let high = self.queue.high_watermark(partition.id);
            let Some(batch) = partition.finish(high) else { continue };
            if batch.progress == Progress::Finished {
                self.queue.stop(partition.id);
            }
            out.push(batch);
        }
        Ok(())
    }
}

impl Reader for KafkaReader {
    fn set_now(&mut self, now: Timestamp) {
        self.partitions.iter_mut().for_each(|partition| partition.decoder.set_now(now));
    }

    /// What the client has fetched of a partition that is held is dropped, and fetched again when it goes on.
    fn hold(&mut self, partition: PartitionId, held: bool) -> Result<(), Error> {
        let Some(own) = self.partitions.iter_mut().find(|own| own.id == partition && !own.is_finished()) else { return Ok(()) };
        self.queue.stop(partition);
        if held {
            own.rewind();
            return Ok(());
        }
        self.queue.start(partition, own.position).map_err(|code| client::sort(&self.thing, &self.topic, code))
    }

    fn read(&mut self, max_records: usize, wait: Duration, out: &mut Vec<Batch>) -> Result<(), Error> {
        let (before, begun) = (out.len(), Instant::now());
        self.queue.serve();
        if self.queue.consumer().context().take_doubt() {
            self.confirm()?;
            self.identity.ask_now();
        }
        self.identity.confirm(&self.thing, &self.topic, self.queue.consumer().client())?;
        for partition in &mut self.partitions {
            partition.decoder.resume();
        }
        // Partitions that were empty from the start have something to tell before any message; those that wait perhaps too.
        self.finish(out)?;
        if self.partitions.iter().any(|partition| partition.decoder.waits_at().is_some()) {
            // Nothing more is taken until the registry has answered.
            std::thread::sleep(wait.min(RESUME));
            return Ok(());
        }
        let mut left = if out.len() > before { Duration::ZERO } else { wait };
        loop {
            self.fill(max_records, left)?;
            self.finish(out)?;
            // What came may have been news of an end that was known already.
            left = wait.saturating_sub(begun.elapsed());
            if out.len() > before || left.is_zero() {
                return Ok(());
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.partitions.iter().all(|partition| partition.told == Some(Progress::Finished))
    }
}

/// Where the reader stands in one partition.
struct Partition {
    id: PartitionId,
    decoder: Decoder,
    /// Where the next batch begins.
    begun: Offset,
    /// Where the next message is expected: everything before has been taken, or does not exist.
    position: Offset,
    end: Option<Offset>,
    /// The client has said that there is nothing at `position` yet.
    at_end: bool,
    told: Option<Progress>,
}

impl Partition {
    fn new(stretch: Stretch, decoder: Decoder) -> Partition {
        let Stretch { partition, start, end, .. } = stretch;
        Partition { id: partition, decoder, begun: start, position: start, end, at_end: false, told: None }
    }

    fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.reached() >= end)
    }

    /// Returns where the records end that are rows or dead letters.
    fn reached(&self) -> Offset {
        self.decoder.waits_at().unwrap_or(self.position)
    }

    /// Takes a message or the notice of the end; whatever lies beyond the bound only shows that it has been reached.
    fn take(&mut self, message: &Message<'_>) -> Result<(), RDKafkaErrorCode> {
        // A partition that was held is fetched again from where it stands; nothing before that is new.
        if message.offset < self.position && !matches!(message.payload, Err(code) if code != RDKafkaErrorCode::PartitionEOF) {
            return Ok(());
        }
        match message.payload {
            Ok(payload) => {
                self.at_end = false;
                if self.end.is_none_or(|end| message.offset < end) {
                    self.decoder.decode(message.offset, payload);
                }
                self.move_to(message.offset + 1);
                Ok(())
            }
            Err(RDKafkaErrorCode::PartitionEOF) => {
                self.at_end = true;
                self.move_to(message.offset);
                Ok(())
            }
            Err(code) if may_pass(code) => Ok(()),
            Err(code) => Err(code),
        }
    }

    /// Forgets the records that wait for the registry, to be read again.
    fn rewind(&mut self) {
        self.position = self.reached();
        self.decoder.forget_waiting();
    }

    fn move_to(&mut self, offset: Offset) {
        self.position = self.position.max(offset).min(self.end.unwrap_or(Offset::MAX));
    }

    /// Returns what there is to tell, if anything; `high` is the offset behind the partition's last record, as far as known.
    fn finish(&mut self, high: Option<Offset>) -> Option<Batch> {
        let progress = self.progress(high)?;
        let (reached, is_behind) = (self.reached(), matches!(progress, Progress::Behind(_)));
        // One that waits is not idle, whatever was said before.
        let waits = self.decoder.waits_at().is_some() && !matches!(self.told, Some(Progress::Behind(_)));
        let ended = !is_behind && self.told != Some(progress);
        if self.decoder.is_empty() && reached == self.begun && !ended && !waits {
            return None;
        }
        let range = self.begun..reached;
        self.begun = reached;
        self.told = Some(progress);
        Some(self.decoder.finish(self.id, range, progress))
    }

    fn progress(&self, high: Option<Offset>) -> Option<Progress> {
        let behind = |end: Offset| Progress::Behind(u64::try_from(end - self.reached()).unwrap_or(0));
        match (self.end, high) {
            (end, _) if self.decoder.waits_at().is_some() => Some(behind(end.unwrap_or(self.position))),
            (Some(_), _) if self.is_finished() => Some(Progress::Finished),
            (Some(end), _) => Some(behind(end)),
            (None, _) if self.at_end => Some(Progress::AtEnd),
            (None, Some(high)) if high > self.position => Some(behind(high)),
            // All that the latest fetch told of has been taken; of a partition that has not been fetched nothing is known.
            (None, Some(_)) if self.position > self.begun => Some(Progress::AtEnd),
            (None, _) => (!self.decoder.is_empty()).then_some(Progress::Behind(0)),
        }
    }
}

/// Tells whether the client goes on by itself after this.
fn may_pass(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::KafkaStorageError
    )
}

/// Describes what has ended the reading of a partition.
fn describe(thing: &str, topic: &str, partition: &Partition, code: RDKafkaErrorCode) -> Error {
    let (id, offset) = (partition.id, partition.position);
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => Error::setup(
            thing,
            format!("partition {id} of topic '{topic}' does not hold offset {offset}, which is to be read next"),
            "records were deleted before they were read, or the topic was created anew: let it keep its records longer \
             (retention.ms), and start the job from a fresh state",
        ),
        code => client::sort(thing, topic, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceOptions;

    fn partition(end: Option<Offset>) -> Partition {
        let options = SourceOptions {
            name: "s".to_owned(),
            columns: vec![],
            format: Default::default(),
            time_column: None,
            max_future_skew: Duration::ZERO,
            max_record_bytes: 100,
            bounded: end.is_some(),
            from_latest: false,
            identity: None,
            settings: Default::default(),
        };
        let decoders = Decoders::open(&options).expect("columns that fit");
        Partition::new(Stretch { partition: 0, held: 0..=100, start: 10, end }, decoders.decoder())
    }

    fn record(offset: Offset) -> Message<'static> {
        Message { partition: 0, offset, payload: Ok(Some(b"{}")) }
    }

    fn end(offset: Offset) -> Message<'static> {
        Message { partition: 0, offset, payload: Err(RDKafkaErrorCode::PartitionEOF) }
    }

    /// Takes messages, and returns what is told of them.
    fn told(
        partition: &mut Partition,
        messages: &[Message<'_>],
        high: Option<Offset>,
    ) -> Option<(Offset, Offset, usize, Progress)> {
        for message in messages {
            partition.take(message).expect("no error");
        }
        partition.finish(high).map(|batch| (batch.range.start, batch.range.end, batch.offsets.len(), batch.progress))
    }

    #[test]
    fn a_bound_behind_transaction_markers_is_reached_by_the_notice_of_the_end() {
        let mut partition = partition(Some(14));
        assert_eq!(told(&mut partition, &[record(10), record(11)], Some(14)), Some((10, 12, 2, Progress::Behind(2))));
        assert_eq!(told(&mut partition, &[end(14)], Some(14)), Some((12, 14, 0, Progress::Finished)));
        assert_eq!(told(&mut partition, &[], Some(14)), None);
    }

    #[test]
    fn a_bound_behind_transaction_markers_is_reached_by_a_later_record() {
        let mut partition = partition(Some(14));
        assert_eq!(told(&mut partition, &[record(10), record(15), record(16)], None), Some((10, 14, 1, Progress::Finished)));
    }

    #[test]
    fn an_end_is_told_once_and_again_after_new_records() {
        let mut partition = partition(None);
        assert_eq!(told(&mut partition, &[], None), None);
        assert_eq!(told(&mut partition, &[record(10)], Some(13)), Some((10, 11, 1, Progress::Behind(2))));
        assert_eq!(told(&mut partition, &[end(13)], Some(13)), Some((11, 13, 0, Progress::AtEnd)));
        assert_eq!(told(&mut partition, &[end(13)], Some(13)), None);
        assert_eq!(told(&mut partition, &[record(13)], Some(14)), Some((13, 14, 1, Progress::AtEnd)));
        assert_eq!(told(&mut partition, &[end(14)], Some(14)), None);
    }

    #[test]
    fn trouble_that_passes_is_passed_over_and_other_trouble_is_not() {
        let mut partition = partition(None);
        let trouble = |code| Message { partition: 0, offset: 0, payload: Err(code) };
        assert_eq!(partition.take(&trouble(RDKafkaErrorCode::BrokerTransportFailure)), Ok(()));
        let lost = partition.take(&trouble(RDKafkaErrorCode::AutoOffsetReset));
        assert!(matches!(lost, Err(code) if !describe("s", "t", &partition, code).is_transient()));
    }
}
