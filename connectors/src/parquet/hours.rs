//! Splits rows by the hour of their event time.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::{Array, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{max, min, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

const MICROS: i64 = 3_600_000_000;
/// What Hive, and every reader of its layout, takes for a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// An hour of event time, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Hour(pub(super) i64);

impl Hour {
    fn of(micros: i64) -> Hour {
        Hour(micros.div_euclid(MICROS))
    }

    /// Returns the folder of rows of an hour, or of those without an event time.
    pub(super) fn folder(hour: Option<Hour>) -> String {
        let time = hour.and_then(|Hour(hour)| jiff::Timestamp::from_second(hour.checked_mul(3600)?).ok());
        match time.map(|time| jiff::tz::Offset::UTC.to_datetime(time)) {
            Some(time) => format!("event_date={}/event_hour={:02}", time.date(), time.hour()),
            None => format!("event_date={NULL}/event_hour={NULL}"),
        }
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

/// Splits rows by hour; without a time column, all have none. Rows keep their order, and are not copied if one hour holds them all or
/// where an hour's rows are neighbours.
///
/// # Errors
/// The time column is not of the type in which Freshet holds times.
pub(super) fn split(rows: &RecordBatch, time_column: Option<usize>) -> Result<Vec<(Option<Hour>, RecordBatch)>, ArrowError> {
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let Some(index) = time_column else { return Ok(vec![(None, rows.clone())]) };
    let unfit = || ArrowError::SchemaError("the time column of the rows is no timestamp in microseconds".to_owned());
    let times = rows.columns().get(index).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(unfit)?;
    if let Some(hour) = only_hour(times) {
        return Ok(vec![(Some(hour), rows.clone())]);
    }
    let mut by_hour: BTreeMap<Option<Hour>, Vec<u32>> = BTreeMap::new();
    for (row, time) in (0..).zip(times) {
        by_hour.entry(time.map(Hour::of)).or_default().push(row);
    }
    by_hour.into_iter().map(|(hour, indices)| Ok((hour, pick(rows, indices)?))).collect()
}

fn only_hour(times: &TimestampMicrosecondArray) -> Option<Hour> {
    let (first, last) = (Hour::of(min(times)?), Hour::of(max(times)?));
    (times.null_count() == 0 && first == last).then_some(first)
}

fn pick(rows: &RecordBatch, indices: Vec<u32>) -> Result<RecordBatch, ArrowError> {
    match indices.as_slice() {
        [first, .., last] if (last - first) as usize + 1 == indices.len() => Ok(rows.slice(*first as usize, indices.len())),
        _ => take_record_batch(rows, &UInt32Array::from(indices)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_utc_hours() {
        let folder = |micros| Hour::folder(Some(Hour::of(micros)));
        assert_eq!(folder(1_769_679_063_027_000), "event_date=2026-01-29/event_hour=09");
        assert_eq!(folder(0), "event_date=1970-01-01/event_hour=00");
        assert_eq!(folder(-1), "event_date=1969-12-31/event_hour=23");
        assert_eq!(folder(i64::MAX), Hour::folder(None));
    }
}
