//! A topic as a sink for append-only rows.
//!
//! Each row is one message without a key, in JSON or Avro. Rows of a source's partition go to the partition of the topic with the same number,
//! modulo the topic's partitions, so that their order is kept.
//!
//! Each partition of the source has transactions of its own, named `freshet/<job>/<sink>/<partition>`, whoever writes them: which
//! worker that is, and how many there are, may change with each start. A transaction holds the rows of one or more whole epochs,
//! and the newest of these epochs. Readers with `isolation.level=read_committed` see each row once.
//!
//! ```text
//! write, seal ──▶ Shard (a thread for each partition) ── Transactions ── TopicProducer ── brokers
//! flush       ◀── all that was sealed counts
//! ```
//! With the setting `freshet.headers` each row says in the header `freshet` what it is: `job/epoch/number`, where the number counts the rows of the epoch in the
//! source's partition. It is the same whenever the row is written again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use freshet_model::{Epoch, PartitionId, TableSchema};
use rdkafka::ClientConfig;

use super::address::Address;
use super::client;
use super::settings::Settings;
use super::shard::{Common, Shard, Task};
use super::topic::Inquiry;
use super::transaction::{OWN, OWNED, Owner, Transactions};
use super::trouble::Patience;
use crate::circuit::Circuit;
use crate::format::Encoder;
use crate::{BatchSink, Error, SinkOptions};

/// librdkafka's settings for throughput within bounded memory.
const THROUGHPUT: [(&str, &str); 3] =
    [("compression.type", "lz4"), ("linger.ms", "10"), ("queue.buffering.max.messages", "250000")];

/// What all producers of a sink may have in their queues together, and one at least.
const QUEUED_KILOBYTES: (usize, usize) = (64 * 1024, 8 * 1024);

/// A sink takes no more rows while it holds so many bytes of rows that do not count yet.
const MAX_HELD_BYTES: usize = 32 << 20;

/// A sink that holds too much looks so often whether a thread has ended.
const NEWS_WAIT: Duration = Duration::from_millis(100);

/// A thread that ends says why within so long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Rows as messages in a topic.
pub struct KafkaBatchSink {
    thing: String,
    address: Address,
    options: SinkOptions,
    settings: Settings,
    config: ClientConfig,
    /// The topic's partitions.
    topic_partitions: Vec<PartitionId>,
    encoder: Encoder,
    shards: BTreeMap<PartitionId, Sender<Task>>,
    circuit: Arc<Circuit>,
    /// Set when nobody needs the threads any more.
    over: Arc<AtomicBool>,
    load: Arc<AtomicUsize>,
    news: (Sender<()>, Receiver<()>),
    /// Why threads have ended.
    failures: (Sender<Error>, Receiver<Error>),
}

impl KafkaBatchSink {
    /// Finds the topic, or makes it with four partitions.
    ///
    /// # Errors
    /// The url or a setting is wrong, no broker answers within ten seconds, or the topic can be neither found nor made.
    pub fn open(url: &str, options: SinkOptions) -> Result<KafkaBatchSink, Error> {
        let thing = format!("sink '{}'", options.name);
        let address = Address::parse(&thing, url)?;
        let (config, settings, topic_partitions) = prepare(&thing, &address, &THROUGHPUT, &options, &[&address.topic])?;
        let circuit = settings.own_circuit(&thing);
        let load = Arc::new(AtomicUsize::new(0));
        let (shards, news, failures) = (BTreeMap::new(), bounded(1), unbounded());
        let encoder = Encoder::default();
        Ok(KafkaBatchSink {
            thing,
            address,
            options,
            settings,
            config,
            topic_partitions,
            encoder,
            shards,
            circuit,
            over: Arc::default(),
            load,
            news,
            failures,
        })
    }

    /// Starts a partition's thread; the receiver brings the newest epoch that the topic holds of it.
    fn start(&mut self, partition: PartitionId, together: usize) -> Result<Receiver<Option<Epoch>>, Error> {
        let mut config = self.config.clone();
        if config.get("queue.buffering.max.kbytes").is_none() {
            let (all, least) = QUEUED_KILOBYTES;
            config.set("queue.buffering.max.kbytes", (all / together.max(1)).max(least).to_string());
        }
        let owner = Owner::new(&self.thing, &self.address, &config, &self.options, Some(partition));
        let slot = usize::try_from(partition).unwrap_or(0) % self.topic_partitions.len();
        let common = Common {
            job: self.options.job.clone(),
            encoder: self.encoder,
            headers: self.settings.headers.unwrap_or(false),
            interval: self.settings.commit_interval,
            load: Arc::clone(&self.load),
            hurry: MAX_HELD_BYTES / 2,
            news: self.news.0.clone(),
        };
        let mut shard =
            Shard::new(common, self.topic_partitions[slot], Transactions::new(owner), Patience::until(&self.circuit, &self.over));
        let (sender, tasks) = unbounded();
        let (held_sender, held) = bounded(1);
        let (failures, reset) = (self.failures.0.clone(), self.options.past.is_forgotten());
        let run = move || {
            let prepared = shard.prepare(reset).map(|held| held_sender.send(held));
            if let Err(error) = prepared.and_then(|_| shard.run(&tasks)) {
                // A sink that is gone has nobody to tell.
                let _ = failures.send(error);
            }
        };
        let spawned = thread::Builder::new().name(format!("{} {partition}", self.options.name)).spawn(run);
        spawned.map_err(|error| Error::unavailable(&self.thing, format!("no thread can be started: {error}")))?;
        self.shards.insert(partition, sender);
        Ok(held)
    }

    /// Returns why a thread has ended.
    fn failed(&self) -> Error {
        let ended = || Error::unavailable(&self.thing, "one of its threads has ended before");
        self.failures.1.recv_timeout(LAST_WORDS).unwrap_or_else(|_| ended())
    }

    /// Commits what has been sealed, in all partitions at once.
    fn settle(&self) -> Result<(), Error> {
        let (answer, answers) = bounded(self.shards.len());
        for shard in self.shards.values() {
            shard.send(Task::Flush(answer.clone())).map_err(|_| self.failed())?;
        }
        drop(answer);
        self.shards.values().try_for_each(|_| answers.recv()).map_err(|_| self.failed())
    }
}

impl BatchSink for KafkaBatchSink {
    fn guard(&mut self, circuit: &Arc<Circuit>) {
        self.circuit = self.settings.guarded(circuit);
    }

    fn prepare(&mut self, rows: &TableSchema, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error> {
        self.encoder = Encoder::open(&self.address.topic, rows, &self.options, &self.circuit, self.settings.patience())?;
        let start = |&partition: &PartitionId| Ok((partition, self.start(partition, partitions.len())?));
        let started = partitions.iter().map(start).collect::<Result<Vec<_>, Error>>()?;
        let mut epochs = BTreeMap::new();
        for (partition, held) in started {
            if let Some(epoch) = held.recv().map_err(|_| self.failed())? {
                epochs.insert(partition, epoch);
            }
        }
        Ok(epochs)
    }

    fn write(&mut self, epoch: Epoch, partition: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        let Some(shard) = self.shards.get(&partition) else {
            let problem = format!("rows of partition {partition}, for which it was not prepared");
            return Err(Error::setup(&self.thing, problem, "start the job again"));
        };
        let bytes = rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        self.load.fetch_add(bytes, Ordering::Relaxed);
        shard.send(Task::Rows(epoch, rows.clone(), bytes)).map_err(|_| self.failed())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<(), Error> {
        for shard in self.shards.values() {
            shard.send(Task::Seal(epoch)).map_err(|_| self.failed())?;
        }
        while self.load.load(Ordering::Relaxed) > MAX_HELD_BYTES {
            // The last thread to end wakes nobody.
            let _ = self.news.1.recv_timeout(NEWS_WAIT);
            if let Ok(error) = self.failures.1.try_recv() {
                return Err(error);
            }
        }
        Ok(())
    }

    fn flush(&mut self, _: Epoch) -> Result<(), Error> {
        self.settle()
    }

    fn close(&mut self) -> Result<(), Error> {
        self.settle()
    }
}

impl Drop for KafkaBatchSink {
    fn drop(&mut self) {
        // The threads are not waited for: one that is in a call ends after it, and its successor's producer shuts it out.
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Makes a sink's settings, and its topics where they are missing; returns the partitions of the first.
pub(super) fn prepare(
    thing: &str,
    address: &Address,
    own: &[(&str, &str)],
    options: &SinkOptions,
    topics: &[&str],
) -> Result<(ClientConfig, Settings, Vec<PartitionId>), Error> {
    let (settings, clients) = Settings::split(thing, &options.settings)?;
    let own: Vec<_> = OWN.iter().chain(own).copied().collect();
    let config = client::configure(thing, address, &own, &OWNED, &clients)?;
    let inquiry = Inquiry::new(thing, address, &config)?;
    let mut found = topics.iter().map(|topic| inquiry.ensure(topic)).collect::<Result<Vec<_>, _>>()?;
    Ok((config, settings, found.swap_remove(0)))
}
