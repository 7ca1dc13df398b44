//! The records of a topic of JSON events, as the oracle understands them.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::topic::parse_time;
use super::{FIVE_MINUTES, MINUTE};
use crate::kafka::{Kafka, Record};

/// What a job declares of a source.
pub struct Declared {
    /// The column with the event time.
    pub time: &'static str,
    /// How long the watermark waits, in minutes.
    pub delay_minutes: i64,
    /// Columns with texts of at most so many characters.
    pub texts: &'static [(&'static str, usize)],
    /// Columns with numbers.
    pub numbers: &'static [&'static str],
}

/// An event of any kind.
#[derive(Clone)]
pub struct Fact {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its time, in microseconds.
    pub time: i64,
    /// The greatest time of the events before it in its partition, `i64::MIN` for the first.
    pub before: i64,
    fields: Value,
}

/// All records of a topic.
pub struct Stream {
    /// How long its watermark waits.
    pub delay: i64,
    /// The events, by partition and offset.
    pub events: Vec<Fact>,
    /// Partition and offset of each record that is no event.
    pub bad: BTreeSet<(i32, i64)>,
}

impl Fact {
    /// Returns a text, if it is there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// Returns a text that has to be there.
    pub fn expect(&self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| panic!("no {name} in {}", self.fields)).to_owned()
    }

    /// Returns a number, if it is there.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name)?.as_f64()
    }

    /// Returns a number of hundredths, if it is there.
    pub fn hundredths(&self, name: &str) -> Option<i64> {
        self.number(name).map(|number| (number * 100.0).round() as i64)
    }

    /// Tells whether a text is there and is this one.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == Some(value)
    }

    /// Tells whether a boolean is there and true.
    pub fn is_true(&self, name: &str) -> bool {
        self.fields.get(name).and_then(Value::as_bool) == Some(true)
    }
}

impl Stream {
    /// Reads a topic to its end.
    pub fn read(kafka: &Kafka, topic: &str, declared: &Declared) -> Stream {
        let mut all = Stream { delay: declared.delay_minutes * MINUTE, events: Vec::new(), bad: BTreeSet::new() };
        let mut greatest = HashMap::new();
        kafka.read(topic, |record| match parse(&record, declared) {
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

    /// Returns the first event of each id, or of each text and time, which is what is left without repeats: a repeat lies in the partition of the first, further back.
    #[must_use]
    pub fn distinct(&self, id: &str, with_time: bool) -> Stream {
        let key = |event: &Fact| (event.text(id).map(str::to_owned), with_time.then_some(event.time));
        let mut seen = BTreeSet::new();
        let events = self.events.iter().filter(|event| seen.insert(key(event))).cloned().collect();
        Stream { delay: self.delay, events, bad: self.bad.clone() }
    }

    /// Finds an event by its place.
    pub fn find(&self, partition: i32, offset: i64) -> Option<&Fact> {
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
}

fn parse(record: &Record, declared: &Declared) -> Option<Fact> {
    let fields: Value = serde_json::from_slice(&record.payload).ok()?;
    let object = fields.as_object()?;
    // A column that is missing or null is NULL; one that is there has to be of its type.
    let given = |name: &str| object.get(name).filter(|value| !value.is_null());
    let fits =
        |value: &Value, chars: usize| value.as_str().is_some_and(|text| !text.contains('\0') && text.chars().count() <= chars);
    let are_texts = declared.texts.iter().all(|&(name, chars)| given(name).is_none_or(|value| fits(value, chars)));
    let are_numbers = declared.numbers.iter().all(|name| given(name).is_none_or(Value::is_number));
    let time = parse_time(object.get(declared.time)?.as_str()?)?;
    let latest = jiff::Timestamp::now().as_microsecond() + FIVE_MINUTES;
    let is_event = are_texts && are_numbers && (0..=latest).contains(&time);
    is_event.then_some(Fact { partition: record.partition, offset: record.offset, time, before: i64::MIN, fields })
}
