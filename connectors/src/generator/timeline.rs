//! At which event time each numbered record has its place.

use std::time::Duration;

use freshet_model::Timestamp;

use super::{Profile, Settings};

/// Where the finalizer stamps its events: as far ahead as a source with the usual `max_future_skew` of 5 min accepts, with half a
/// minute to spare for clocks that differ.
const FINALIZER_AHEAD_MICROS: i64 = 270_000_000;
/// Event time that passes between two events when neither a rate nor a span says so: that of 10,000 a second.
const DEFAULT_STEP_MICROS: f64 = 100.0;

const HOUR_MICROS: f64 = 3.6e9;
const DAY_MICROS: f64 = 24.0 * HOUR_MICROS;
/// How busy each hour of a day (UTC) is when the rhythm is strongest.
const BUSY: [f64; 24] =
    [0.5, 0.3, 0.2, 0.2, 0.2, 0.3, 0.5, 0.8, 1.0, 1.2, 1.3, 1.3, 1.4, 1.3, 1.2, 1.2, 1.3, 1.4, 1.6, 1.9, 2.0, 1.7, 1.3, 0.9];

/// The event time of numbered records.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    start: Timestamp,
    step_micros: f64,
    day: Option<Day>,
}

impl Timeline {
    /// Fixes what the settings leave open: the event time of the first record, counted from `now`, and the step from one to the next.
    pub(super) fn new(settings: &Settings, now: Timestamp) -> Timeline {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let events = settings.events.unwrap_or(0).max(1);
        let span = settings.span.map(micros);
        let step_micros = match span {
            Some(span) => span as f64 / events as f64,
            None if settings.rate > 0.0 => 1e6 / settings.rate,
            None => DEFAULT_STEP_MICROS,
        };
        // Records made faster than the clock must not get ahead of it: they end now instead of beginning now.
        let covered = span.unwrap_or(if settings.rate > 0.0 { 0 } else { (events as f64 * step_micros) as i64 });
        let start = match settings.profile {
            Profile::Finalizer => settings.at.unwrap_or(now.plus_micros(FINALIZER_AHEAD_MICROS)),
            _ => settings.start.unwrap_or(now.plus_micros(-covered)),
        };
        // Live events come at the pace of the clock; only a span of history has room for busy and quiet hours.
        let day =
            span.filter(|_| settings.rhythm > 0.0).map(|span| Day::new(settings.rhythm, start, span as f64 / step_micros, span));
        Timeline { start, step_micros, day }
    }

    /// Returns the event time of the record with this number, and of all records of a finalizer.
    pub(super) fn at(&self, number: u64) -> Timestamp {
        let passed = match &self.day {
            None => number as f64 * self.step_micros,
            Some(day) => day.passed(number as f64),
        };
        self.start.plus_micros(passed as i64)
    }

    /// Returns the event time of the first record.
    pub(super) fn start(&self) -> Timestamp {
        self.start
    }

    /// Returns the mean distance of two records, in microseconds.
    pub(super) fn step_micros(&self) -> f64 {
        self.step_micros
    }
}

/// A day whose hours are more or less busy. *Work* is what passes evenly with the records: an hour has as much of it as it is busy.
#[derive(Debug, Clone)]
struct Day {
    /// Of each hour, 1 in the mean.
    busy: [f64; 24],
    /// The work before each hour of the day, and at its end that of the whole day.
    before: [f64; 25],
    /// The time of day of the first record.
    start_micros: f64,
    /// The work of the day before the first record, and of each record.
    start_work: f64,
    step_work: f64,
}

impl Day {
    fn new(rhythm: f64, start: Timestamp, events: f64, span_micros: i64) -> Day {
        let mean = BUSY.iter().sum::<f64>() / 24.0;
        let busy = BUSY.map(|busy| 1.0 - rhythm + rhythm * busy / mean);
        let mut before = [0.0; 25];
        for hour in 0..24 {
            before[hour + 1] = before[hour] + busy[hour] * HOUR_MICROS;
        }
        let start_micros = (start.0 as f64).rem_euclid(DAY_MICROS);
        let mut day = Day { busy, before, start_micros, start_work: 0.0, step_work: 0.0 };
        day.start_work = day.work(start_micros);
        day.step_work = (day.work(start_micros + span_micros as f64) - day.start_work) / events;
        day
    }

    /// Returns the work that is done some time after the midnight before the first record.
    fn work(&self, micros: f64) -> f64 {
        let (days, rest) = ((micros / DAY_MICROS).floor(), micros.rem_euclid(DAY_MICROS));
        let hour = ((rest / HOUR_MICROS) as usize).min(23);
        days * self.before[24] + self.before[hour] + (rest - hour as f64 * HOUR_MICROS) * self.busy[hour]
    }

    /// Returns how long after the first record the one with this number comes; the inverse of [`work`](Self::work).
    fn passed(&self, number: f64) -> f64 {
        let work = self.start_work + number * self.step_work;
        let (days, rest) = ((work / self.before[24]).floor(), work.rem_euclid(self.before[24]));
        let hour = self.before.partition_point(|&before| before <= rest).saturating_sub(1).min(23);
        days * DAY_MICROS + hour as f64 * HOUR_MICROS + (rest - self.before[hour]) / self.busy[hour] - self.start_micros
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_769_679_063_027_000);

    fn timeline(query: &str) -> Timeline {
        Timeline::new(&Settings::from_url(&format!("generator://local/full?{query}")).unwrap(), NOW)
    }

    #[test]
    fn a_span_with_a_rhythm_begins_and_ends_where_one_without_does() {
        for rhythm in ["0", "0.5", "1"] {
            let timeline = timeline(&format!("events=1000000&span=60h&rhythm={rhythm}"));
            let (first, last) = (timeline.at(0).0, timeline.at(1_000_000).0);
            assert!((first - (NOW.0 - 60 * 3_600_000_000)).abs() < 10 && (last - NOW.0).abs() < 10, "{first} {last}");
            assert!((1..1000).all(|i| timeline.at(i * 1000).0 > timeline.at(i * 1000 - 1).0), "time goes on");
        }
    }

    #[test]
    fn evenings_are_busy_and_nights_are_quiet() {
        let timeline = timeline("events=2400000&span=240h&rhythm=1");
        let mut hours = [0u32; 24];
        (0..2_400_000).for_each(|number| hours[(timeline.at(number).0 / 3_600_000_000 % 24) as usize] += 1);
        assert!(hours[20] > 8 * hours[3] && hours[3] > 10_000, "{hours:?}");
    }

    #[test]
    fn live_events_have_no_rhythm() {
        let timeline = timeline("rate=1000&rhythm=1");
        assert_eq!(timeline.at(86_400_000).0 - timeline.start().0, 86_400_000_000);
    }
}
