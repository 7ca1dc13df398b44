//! The records of a topic, as the oracle understands them.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::FIVE_MINUTES;
use super::events::Contents;
use crate::kafka::{Kafka, Record};

/// An event of the user-activity topic.
pub struct Event {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its time, in microseconds.
    pub time: i64,
    /// The greatest time of the events before it in its partition, `i64::MIN` for the first.
    pub before: i64,
    /// Who.
    pub user: String,
    /// Where.
    pub page: String,
    /// What.
    pub kind: String,
}

/// All records of a topic.
pub struct Topic {
    /// The events, by partition and offset.
    pub events: Vec<Event>,
    /// Partition and offset of each record that is no event.
    pub bad: BTreeSet<(i32, i64)>,
}

impl Topic {
    /// Reads a topic to its end.
    pub fn read(kafka: &Kafka, topic: &str) -> Topic {
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
    pub fn find(&self, partition: i32, offset: i64) -> Option<&Event> {
        let index = self.events.binary_search_by_key(&(partition, offset), |e| (e.partition, e.offset)).ok()?;
        self.events.get(index)
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.events.len() + self.bad.len()
    }

    /// Tells whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what a lake of all events has to hold.
    pub fn contents(&self) -> Contents {
        let mut contents = Contents::default();
        self.events.iter().for_each(|e| contents.add(fingerprint(e.time, &e.user, &e.page, &e.kind)));
        contents
    }
}

/// Returns a number that two different events hardly share.
pub fn fingerprint(time: i64, user: &str, page: &str, kind: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (time, user, page, kind).hash(&mut hasher);
    hasher.finish()
}

/// Reads RFC 3339 as microseconds.
pub fn parse_time(text: &str) -> Option<i64> {
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
