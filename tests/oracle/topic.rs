//! The records of a topic, as the oracle understands them.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::FIVE_MINUTES;
use crate::support::kafka::{Kafka, Record};

/// An event of the user-activity topic.
pub(crate) struct Event {
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) offset: i64,
    /// Its time, in microseconds.
    pub(crate) time: i64,
    /// The greatest time of the events before it in its partition, `i64::MIN` for the first.
    pub(crate) before: i64,
    /// Who.
    pub(crate) user: String,
    /// Where.
    pub(crate) page: String,
    /// What.
    pub(crate) kind: String,
}

/// All records of a topic.
pub(crate) struct Topic {
    /// The events, by partition and offset.
    pub(crate) events: Vec<Event>,
    /// Partition and offset of each record that is no event.
    pub(crate) bad: BTreeSet<(i32, i64)>,
}

/// Events with their number of occurrences, by fingerprint.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Contents(HashMap<u64, u32>);

impl Topic {
    /// Reads a topic to its end.
    pub(crate) fn read(kafka: &Kafka, topic: &str) -> Topic {
        let mut all = Topic { events: Vec::new(), bad: BTreeSet::new() };
        let mut greatest = HashMap::new();
        kafka.read(topic, |record| match parse(&record) {
            Some(mut event) => {
                let seen = greatest.entry(event.partition).or_insert(i64::MIN);
                event.before = *seen;
                *seen = event.time.max(*seen);
                all.events.push(event);
            }
            None => {
                all.bad.insert((record.partition, record.offset));
            }
        });
        all
    }

    /// Finds an event by its place.
    pub(crate) fn find(&self, partition: i32, offset: i64) -> Option<&Event> {
        let index = self.events.binary_search_by_key(&(partition, offset), |e| (e.partition, e.offset)).ok()?;
        self.events.get(index)
    }

    /// Returns the number of records.
    pub(crate) fn len(&self) -> usize {
        self.events.len() + self.bad.len()
    }

    /// Returns what a lake of all events has to hold.
    pub(crate) fn contents(&self) -> Contents {
        let mut contents = Contents::default();
        self.events.iter().for_each(|e| contents.add(fingerprint(e.time, &e.user, &e.page, &e.kind)));
        contents
    }
}

impl Contents {
    /// Adds one occurrence.
    pub(crate) fn add(&mut self, fingerprint: u64) {
        *self.0.entry(fingerprint).or_default() += 1;
    }

    /// Fails with counts, not with millions of hashes, unless the two are equal.
    pub(crate) fn expect(&self, expected: &Contents, what: &str) {
        let total = |c: &Contents| c.0.values().map(|&n| u64::from(n)).sum::<u64>();
        let differing = expected.0.iter().filter(|&(key, n)| self.0.get(key) != Some(n)).count();
        assert!(
            self == expected,
            "{what} holds {} events, not {}; {differing} of the expected are missing or repeated",
            total(self),
            total(expected)
        );
    }
}

/// Returns a number that two different events hardly share.
pub(crate) fn fingerprint(time: i64, user: &str, page: &str, kind: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (time, user, page, kind).hash(&mut hasher);
    hasher.finish()
}

/// Reads RFC 3339 as microseconds.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

fn parse(record: &Record) -> Option<Event> {
    let value: Value = serde_json::from_slice(&record.payload).ok()?;
    // What the job declares: texts without NUL, of at most so many characters, and a time that is not far in the future.
    let fits = |text: &&str, chars: usize| !text.contains('\0') && text.chars().count() <= chars;
    let text = |name: &str, chars: usize| value.get(name)?.as_str().filter(|text| fits(text, chars)).map(str::to_owned);
    let time = parse_time(&text("event_time", usize::MAX)?)?;
    let latest = jiff::Timestamp::now().as_microsecond() + FIVE_MINUTES;
    let event = Event {
        partition: record.partition,
        offset: record.offset,
        time,
        before: i64::MIN,
        user: text("user_id", 50)?,
        page: text("page_url", 255)?,
        kind: text("event_type", usize::MAX)?,
    };
    (0..=latest).contains(&time).then_some(event)
}
