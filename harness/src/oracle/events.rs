//! The events that a lake and a topic hold, whichever files and offsets they lie at.

use std::collections::HashMap;
use std::path::Path;

use arrow::array::{Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::topic::{fingerprint, parse_time};
use crate::kafka::Kafka;

/// Events with their number of occurrences, by fingerprint.
#[derive(Default, PartialEq, Eq)]
pub struct Contents(HashMap<u64, u32>);

impl Contents {
    /// Adds one occurrence.
    pub fn add(&mut self, fingerprint: u64) {
        *self.0.entry(fingerprint).or_default() += 1;
    }

    /// Returns how often an event occurs.
    pub fn count(&self, fingerprint: u64) -> u32 {
        self.0.get(&fingerprint).copied().unwrap_or(0)
    }

    /// Counts the events that are missing, and those that are there too often.
    pub fn compare(&self, expected: &Contents) -> (u64, u64) {
        let surplus_of = |a: &Contents, b: &Contents| -> u64 {
            let more = |(key, &n): (&u64, &u32)| u64::from(n.saturating_sub(b.0.get(key).copied().unwrap_or(0)));
            a.0.iter().map(more).sum()
        };
        (surplus_of(expected, self), surplus_of(self, expected))
    }

    /// Fails with counts, not with millions of hashes, unless the two are equal.
    pub fn expect(&self, expected: &Contents, what: &str) {
        let (missing, surplus) = self.compare(expected);
        assert!(missing + surplus == 0, "{what} lacks {missing} events and has {surplus} too many");
    }
}

/// Reads every Parquet file below a folder; like any reader of a lake, it leaves out what begins with `_`.
pub fn lake_contents(folder: &Path) -> Contents {
    let mut contents = Contents::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("the lake can be listed").path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['_', '.']));
            if path.is_dir() && !hidden {
                folders.push(path);
            } else if !hidden && path.extension().is_some_and(|e| e == "parquet") {
                read_parquet(&path, &mut contents);
            }
        }
    }
    contents
}

fn read_parquet(path: &Path, contents: &mut Contents) {
    let file = std::fs::File::open(path).expect("a listed file can be opened");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.build());
    for batch in reader.unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
        let batch = batch.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let time = column(&batch, "event_time", &DataType::Timestamp(TimeUnit::Microsecond, None));
        let times = time.as_any().downcast_ref::<TimestampMicrosecondArray>().expect("cast to timestamps");
        let texts = ["user_id", "page_url", "event_type"].map(|name| column(&batch, name, &DataType::Utf8));
        let [user, page, kind] = texts.each_ref().map(|t| t.as_any().downcast_ref::<StringArray>().expect("cast to text"));
        for row in 0..batch.num_rows() {
            contents.add(fingerprint(times.value(row), user.value(row), page.value(row), kind.value(row)));
        }
    }
}

fn column(batch: &RecordBatch, name: &str, data_type: &DataType) -> arrow::array::ArrayRef {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("the lake lacks {name}: {}", batch.schema()));
    cast(column, data_type).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Reads the enriched topic: each event as it was, with the time at which it was processed.
pub fn topic_contents(kafka: &Kafka, topic: &str) -> Contents {
    let mut contents = Contents::default();
    kafka.read(topic, |record| {
        let text = String::from_utf8_lossy(&record.payload);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let field = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}"));
        let time = |name: &str| parse_time(field(name)).unwrap_or_else(|| panic!("no time in {name} of {text}"));
        assert!(time("processing_time") > 0);
        contents.add(fingerprint(time("event_time"), field("user_id"), field("page_url"), field("event_type")));
    });
    contents
}
