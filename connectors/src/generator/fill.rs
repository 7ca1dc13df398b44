//! Puts a generator's records into a Kafka topic or a file.

use std::path::Path;
use std::time::{Duration, Instant};

use freshet_model::PartitionId;

use super::Generator;
use super::pace::Pace;
use crate::Error;
use crate::file::Appender;
use crate::kafka::RawProducer;
use crate::open::path_of;

/// What errors call the target.
const THING: &str = "the generator's target";
/// Records that are made between two looks at the clock.
const BURST: u64 = 10_000;
/// The progress is told at least so often.
const TELL: Duration = Duration::from_millis(100);
/// A shorter wait would wake the thread for a handful of records.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// Where the records go.
enum Target {
    Topic(RawProducer),
    File(Box<Appender>),
}

/// Produces all records of a generator, at its rate, to `kafka://host:port,host:port/topic` or at the end of `file://path.ndjson`.
///
/// A topic that is missing is created with the generator's number of partitions; one that exists keeps its own, which then decides
/// over the generator's. The parameters of a `kafka://` URL are settings of the client library, such as
/// `?security.protocol=ssl`. (Passwords do not belong into a command line.) After each burst, and ten times a second, `progress` is told how many records have been made;
/// returning false ends the run. Returns how many records were made, all of which the target has by then.
///
/// # Errors
/// The target cannot be reached or written, or has refused records.
pub fn fill(target_url: &str, mut generator: Generator, progress: &mut dyn FnMut(u64) -> bool) -> Result<u64, Error> {
    let mut target = Target::open(target_url, &mut generator)?;
    let pace = Pace::new(Instant::now(), generator.settings().rate, 0);
    let (mut made, mut record, mut ended) = (0, Vec::new(), false);
    while !ended {
        let due = pace.due(Instant::now()).min(made + BURST);
        while made < due {
            record.clear();
            let Some(partition) = generator.next(&mut record) else { break };
            target.put(partition, &record)?;
            made += 1;
        }
        target.tick()?;
        ended = !progress(made) || generator.events().is_some_and(|events| made >= events);
        let wait = pace.until(made, Instant::now());
        if !ended && !wait.is_zero() {
            std::thread::sleep(wait.clamp(LEAST_WAIT, TELL));
        }
    }
    target.close()?;
    Ok(made)
}

impl Target {
    fn open(url: &str, generator: &mut Generator) -> Result<Target, Error> {
        match url.split_once("://") {
            Some(("kafka", _)) => {
                let topic = RawProducer::open(THING, url, generator.settings().partitions)?;
                generator.set_partitions(PartitionId::try_from(topic.partitions()).unwrap_or(PartitionId::MAX));
                Ok(Target::Topic(topic))
            }
            Some(("file", _)) if !path_of(url).is_empty() => {
                let appender = Appender::open(THING, Path::new(path_of(url)))?;
                Ok(Target::File(Box::new(appender)))
            }
            _ => {
                let remedy = "use kafka://host:port/topic or file://path.ndjson";
                Err(Error::setup(THING, "the generator cannot write to such a url", remedy))
            }
        }
    }

    fn put(&mut self, partition: PartitionId, record: &[u8]) -> Result<(), Error> {
        match self {
            Target::Topic(topic) => topic.put(usize::try_from(partition).unwrap_or(0), record),
            Target::File(file) => {
                file.lines().extend_from_slice(record);
                file.lines().push(b'\n');
                file.flush_if_full()
            }
        }
    }

    fn tick(&mut self) -> Result<(), Error> {
        match self {
            Target::Topic(topic) => topic.hand_over_all(),
            Target::File(file) => file.flush_if_due(),
        }
    }

    fn close(self) -> Result<(), Error> {
        match self {
            Target::Topic(mut topic) => topic.close(),
            Target::File(mut file) => file.close(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

    use super::*;

    #[test]
    fn a_file_gets_every_record_as_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let url = format!("file://{}", path.display());
        let generator = || Generator::from_url("generator://local/full?events=25000&rate=0&start=2026-01-29T09:00:00Z").unwrap();
        let mut told = Vec::new();
        let made = fill(&url, generator(), &mut |count| {
            told.push(count);
            true
        });
        assert_eq!((made.unwrap(), told), (25_000, vec![10_000, 20_000, 25_000]));
        let (mut expected, mut generator) = (Vec::new(), generator());
        while generator.next(&mut expected).is_some() {
            expected.push(b'\n');
        }
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn a_run_is_paced_and_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().join("events.ndjson").display());
        let begin = Instant::now();
        let made =
            fill(&url, Generator::from_url("generator://local/full?rate=1000").unwrap(), &mut |count| count < 100).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(98) && made >= 100, "{made}");
    }

    /// Returns the payloads of a topic by partition, once there are so many.
    fn topic_contents(brokers: &str, topic: &str, partitions: i32, count: usize) -> Vec<Vec<Vec<u8>>> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "test").create().unwrap();
        let mut wanted = TopicPartitionList::new();
        (0..partitions).for_each(|p| wanted.add_partition_offset(topic, p, Offset::Beginning).unwrap());
        consumer.assign(&wanted).unwrap();
        let mut found = vec![Vec::new(); partitions as usize];
        let begin = Instant::now();
        while found.iter().map(Vec::len).sum::<usize>() < count {
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", found.iter().map(Vec::len).collect::<Vec<_>>());
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.unwrap();
            found[message.partition() as usize].push(message.payload().unwrap_or_default().to_vec());
        }
        found
    }

    #[test]
    fn a_topic_gets_every_record_in_its_partition_whose_number_the_topic_decides() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("user_activity", 3, 1).unwrap();
        let url = format!("kafka://{}/user_activity", cluster.bootstrap_servers());
        let make = || Generator::from_url("generator://local/full?events=5003&rate=0&start=2026-01-29T09:00:00Z").unwrap();
        assert_eq!(fill(&url, make(), &mut |_| true).unwrap(), 5003);
        let mut expected = vec![Vec::new(); 3];
        let (mut generator, mut record) = (make(), Vec::new());
        generator.set_partitions(3);
        while let Some(partition) = generator.next(&mut record) {
            expected[partition as usize].push(std::mem::take(&mut record));
        }
        assert!(topic_contents(&cluster.bootstrap_servers(), "user_activity", 3, 5003) == expected);
    }

    #[test]
    fn other_targets_are_refused() {
        for url in ["postgres://x", "events.ndjson", "file://", "kafka://host:9092", "kafka:///topic"] {
            let generator = Generator::from_url("generator://local/full?events=1").unwrap();
            let error = fill(url, generator, &mut |_| true).unwrap_err().to_string();
            assert!(error.contains("kafka://host:port"), "{url}: {error}");
        }
    }

    /// Run by hand: `FRESHET_BROKERS=host:port cargo test --release -p freshet-connectors fill_rate -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement that needs a broker"]
    fn fill_rate() {
        let Ok(brokers) = std::env::var("FRESHET_BROKERS") else { return };
        let topic = format!("fill_rate_{}", std::process::id());
        let generator = Generator::from_url("generator://local/full?events=3_000_000&rate=0&partitions=3").unwrap();
        let begin = Instant::now();
        let made = fill(&format!("kafka://{brokers}/{topic}"), generator, &mut |_| true).unwrap();
        println!("{:.2} M records/s", made as f64 / 1e6 / begin.elapsed().as_secs_f64());
        let found = topic_contents(&brokers, &topic, 3, 3_000_000);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1_000_000; 3]);
    }
}
