//! Puts a generator's records into a Kafka topic or a file.

mod block_on;
mod topic;

use std::path::Path;
use std::time::{Duration, Instant};

use freshet_model::PartitionId;

use self::topic::Topic;
use super::Generator;
use super::pace::Pace;
use crate::Error;
use crate::file::Appender;
use crate::open::path_of;

/// Records that are made between two looks at the clock.
const BURST: u64 = 10_000;
/// The progress is told at least so often.
const TELL: Duration = Duration::from_millis(100);
/// A shorter wait would wake the thread for a handful of records.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// Where the records go.
enum Target {
    Topic(Topic),
    File(Box<Appender>),
}

/// Produces all records of a generator, at its rate, to `kafka://host:port,host:port/topic` or at the end of `file://path.ndjson`.
///
/// A topic that is missing is created with the generator's number of partitions; one that exists keeps its own, which then decides
/// over the generator's. The parameters of a `kafka://` URL are settings of the client library, such as
/// `?security.protocol=ssl`. After each burst, and ten times a second, `progress` is told how many records have been made;
/// returning false ends the run. Returns how many records were made, all of which the target has by then.
///
/// # Errors
/// The target cannot be reached or written, or has refused records.
pub fn fill(target_url: &str, mut generator: Generator, progress: &mut dyn FnMut(u64) -> bool) -> Result<u64, Error> {
    let mut target = Target::open(target_url, &mut generator)?;
    let pace = Pace::new(Instant::now(), generator.settings().rate);
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
                let topic = Topic::open(url, generator.settings().partitions)?;
                generator.set_partitions(topic.partitions());
                Ok(Target::Topic(topic))
            }
            Some(("file", _)) if !path_of(url).is_empty() => {
                let path = path_of(url);
                Ok(Target::File(Box::new(Appender::open(&format!("target '{path}'"), Path::new(path))?)))
            }
            _ => {
                let problem = "the generator cannot write there";
                Err(Error::setup(format!("target '{url}'"), problem, "use kafka://host:port/topic or file://path.ndjson"))
            }
        }
    }

    fn put(&mut self, partition: PartitionId, record: &[u8]) -> Result<(), Error> {
        match self {
            Target::Topic(topic) => topic.put(partition, record),
            Target::File(file) => {
                file.lines().extend_from_slice(record);
                file.lines().push(b'\n');
                file.flush_if_full()
            }
        }
    }

    fn tick(&mut self) -> Result<(), Error> {
        match self {
            Target::Topic(topic) => topic.check(),
            Target::File(file) => file.flush_if_due(),
        }
    }

    fn close(self) -> Result<(), Error> {
        match self {
            Target::Topic(topic) => topic.close(),
            Target::File(mut file) => file.close(),
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn other_targets_are_refused() {
        for url in ["postgres://x", "events.ndjson", "file://", "kafka://host:9092", "kafka:///topic"] {
            let generator = Generator::from_url("generator://local/full?events=1").unwrap();
            let error = fill(url, generator, &mut |_| true).unwrap_err().to_string();
            assert!(error.contains("kafka://host:port/topic"), "{url}: {error}");
        }
    }
}
