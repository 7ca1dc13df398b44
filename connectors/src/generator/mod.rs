//! Makes up events of several kinds, with disorder, late events, repetitions and malformed records in known shares.
//!
//! ```text
//! generator://local/user_activity?profile=full&rate=10000&events=4000000&seed=7&partitions=4
//! ```
//!
//! The path names the [kind](KINDS) of events, which is also the name of the topic that they usually lie in; a [profile](PROFILES) says how many and how fast.
//!
//! | parameter | meaning | `full` | `basic` | `time-series` | `finalizer` |
//! |---|---|---|---|---|---|
//! | `events` | number of events | no end | no end | 9,000 | one a partition |
//! | `rate` | events a second, 0 as fast as possible | 10,000 | 5 | 0 | 0 |
//! | `partitions` | number of partitions | 4 | 1 | 1 | 1 |
//! | `users`, `urls` | number of each, heavy-tailed | 80,000, 500 | 50, 20 | 500, 50 | |
//! | `span` | event time that `events` events cover, ending now; makes `rate` 0 unless given | | | 15m | |
//! | `start` | event time of the first event, RFC 3339 | now | now | 15 min ago | |
//! | `at` | event time of the finalizer's events | | | | in 4.5 min |
//! | `disorder` | mean lag of an event behind its place | 2s | 2s | 2s | |
//! | `late` | share of events 2.5 to 15 min late | 0.003 | 0.003 | 0.003 | |
//! | `repeated` | share of records that repeat one of the last minute | 0 | 0 | 0 | |
//! | `malformed` | share of records that are no event | 0.0005 | 0.0005 | 0.0005 | |
//! | `incidents` | share of what goes wrong: fraud, bad minutes, faulty sensors | 0 | 0 | 0 | |
//! | `rhythm` | how much busier evenings of a span are than nights, 0 to 1 | 0 | 0 | 0 | |
//! | `seed` | another seed gives other events | 1 | 1 | 1 | |
//!
//! The values are those of `user_activity`; most other kinds make 1,000 events a second by default, have fewer users, and repeat some records.
//!
//! Record `i` of partition `p` is a function of the parameters and the start time alone, whoever asks, in whatever order. As a source it keeps the time
//! of its first opening in its identity, so that a job that goes on after a crash reads the same records again.
//!
//! - [`GeneratorSource`] is a source of a job; its records take the same way through the decoder as Kafka's.
//! - [`Generator`] iterates over the records of all partitions, and [`fill`] puts them into a Kafka topic or a file.
//!
//! A finalizer closes the windows that end before its time minus the watermark's delay. As events too far ahead of the clock are
//! refused, it cannot close the windows of the last minutes: those close when their partitions turn idle.

mod dice;
mod fill;
mod json;
mod kinds;
mod malformed;
mod pace;
mod payload;
mod places;
mod profile;
mod settings;
mod source;
mod timeline;
mod value;
mod visits;

use freshet_model::{PartitionId, Timestamp};

pub use fill::fill;
pub use kinds::{KINDS, Kind, kind};
pub use payload::Payloads;
pub use profile::{PROFILES, Profile, profile};
pub use settings::{PARAMETERS, Settings};
pub use source::GeneratorSource;

use crate::Error;

/// Iterates over the records of all partitions in turn.
#[derive(Debug, Clone)]
pub struct Generator {
    payloads: Payloads,
    next: u64,
}

impl Generator {
    /// Starts at the first record; the clock is read once, to know what "now" means in the settings.
    #[must_use]
    pub fn new(settings: Settings) -> Generator {
        Generator { payloads: Payloads::new(settings, Timestamp::now()), next: 0 }
    }

    /// Reads the settings from a URL as described [above](self).
    ///
    /// # Errors
    /// A parameter is unknown, cannot be read or does not fit the others.
    pub fn from_url(url: &str) -> Result<Generator, Error> {
        Settings::from_url(url).map(Generator::new)
    }

    /// Reads the settings from parameters by name, over the defaults of a kind and a profile.
    ///
    /// # Errors
    /// As for [`from_url`](Self::from_url).
    pub fn from_params(kind: Kind, profile: Profile, params: &[(String, String)]) -> Result<Generator, Error> {
        Settings::from_params(kind, profile, params).map(Generator::new)
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.payloads.settings()
    }

    /// Returns the number of records in all, if there is an end.
    #[must_use]
    pub fn events(&self) -> Option<u64> {
        self.payloads.events()
    }

    /// Deals the records out to another number of partitions; to be called before the first.
    pub fn set_partitions(&mut self, partitions: PartitionId) {
        self.payloads.set_partitions(partitions);
    }

    /// Appends the next record to `out` and returns its partition, or `None` after the last one.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Option<PartitionId> {
        if self.events().is_some_and(|events| self.next >= events) {
            return None;
        }
        let partitions = self.payloads.partitions();
        let partition = self.next % partitions;
        self.payloads.write(partition, self.next / partitions, out);
        self.next += 1;
        PartitionId::try_from(partition).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn records_come_in_turn_and_end() {
        let mut generator = Generator::from_url("generator://local/full?events=5&rate=0&partitions=2").unwrap();
        let mut partitions = Vec::new();
        while let Some(partition) = generator.next(&mut Vec::new()) {
            partitions.push(partition);
        }
        assert_eq!(partitions, [0, 1, 0, 1, 0]);
        assert_eq!(generator.next(&mut Vec::new()), None);
    }

    #[test]
    fn two_generators_of_one_seed_and_start_agree() {
        let make = || Generator::from_url("generator://local/full?events=1000&start=2026-01-29T09:00:00Z&seed=3").unwrap();
        let (mut a, mut b) = (make(), make());
        let (mut one, mut other) = (Vec::new(), Vec::new());
        while a.next(&mut one).is_some() {
            b.next(&mut other);
        }
        assert_eq!(one, other);
    }

    /// Run by hand: `cargo test --release -p freshet-connectors generator_rate -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn generator_rate() {
        for (kind, _, _) in KINDS {
            let mut generator = Generator::from_url(&format!("generator://local/{kind}?events=5_000_000&rate=0")).unwrap();
            let begin = std::time::Instant::now();
            let (mut out, mut bytes) = (Vec::new(), 0);
            while generator.next(&mut out).is_some() {
                bytes += out.len();
                out.clear();
            }
            let seconds = begin.elapsed().as_secs_f64();
            println!("{kind}: {:.2} M events/s, {:.0} MB/s", 5.0 / seconds, bytes as f64 / 1e6 / seconds);
        }
    }
}
