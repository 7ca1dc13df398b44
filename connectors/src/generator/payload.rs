//! What each record holds: a pure function of the settings and the record's place.
//!
//! The records of all partitions are numbered through: record `i` of partition `p` is number `i · partitions + p`. Its number decides
//! the base of its event time, and dice of its own decide everything else; so a record is the same no matter which records were asked
//! for before it.

use std::sync::Arc;

use freshet_model::{PartitionId, Timestamp};

use super::dice::Dice;
use super::kinds::{Events, Record};
use super::malformed::spoil;
use super::timeline::Timeline;
use super::{Profile, Settings};

/// The events that `late` speaks of lag this much.
const LATE_MICROS: u64 = 150_000_000;
/// … and up to this much more: 15 minutes in all.
const LATE_RANGE_MICROS: u64 = 750_000_000;
/// A record is repeated within so much event time.
const REPEATED_MICROS: f64 = 60e6;
/// Sets the dice that decide on repetitions apart from those of records.
const REPETITIONS: u64 = 0x7265_7065_6174;

/// The records of a generator, by place.
#[derive(Debug, Clone)]
pub struct Payloads {
    settings: Settings,
    timeline: Timeline,
    disorder_micros: f64,
    events: Arc<dyn Events>,
}

impl Payloads {
    /// Fixes what the settings leave open: the event time of the first record, counted from `now`, and the step from one to the next.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp) -> Payloads {
        let timeline = Timeline::new(&settings, now);
        let events = settings.kind.events(&settings, &timeline);
        let disorder_micros = settings.disorder.as_micros() as f64;
        Payloads { settings, timeline, disorder_micros, events }
    }

    /// Returns the number of records in all partitions together, if there is an end.
    #[must_use]
    pub fn events(&self) -> Option<u64> {
        let one_each = (self.settings.profile == Profile::Finalizer).then(|| self.partitions());
        self.settings.events.or(one_each)
    }

    /// Returns the number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        u64::from(self.settings.partitions.unsigned_abs()).max(1)
    }

    /// Deals the records out to another number of partitions.
    pub fn set_partitions(&mut self, partitions: PartitionId) {
        self.settings.partitions = partitions.max(1);
        self.events = self.settings.kind.events(&self.settings, &self.timeline);
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Appends the record at this place to `out`.
    pub fn write(&self, partition: u64, offset: u64, out: &mut Vec<u8>) {
        if self.settings.profile == Profile::Finalizer {
            return self.events.write_last(Record { number: partition, time: self.timeline.start() }, out);
        }
        let offset = self.repeats(partition, offset).unwrap_or(offset);
        let mut dice = Dice::at(self.settings.seed, partition, offset);
        let malformed = dice.unit() < self.settings.malformed;
        let number = offset.saturating_mul(self.partitions()).saturating_add(partition);
        let time = self.event_time(number, &mut dice);
        let begin = out.len();
        self.events.write(Record { number, time }, &mut dice, out);
        if malformed {
            spoil(out, begin, self.settings.kind.shape(), &mut dice);
        }
    }

    /// Returns the offset of the earlier record that the one at this place repeats, if it repeats one.
    fn repeats(&self, partition: u64, offset: u64) -> Option<u64> {
        if self.settings.repeated == 0.0 {
            return None;
        }
        let mut dice = Dice::at(self.settings.seed ^ REPETITIONS, partition, offset);
        let most = (REPEATED_MICROS / self.timeline.step_micros() / self.partitions() as f64).max(1.0) as u64;
        (dice.unit() < self.settings.repeated).then(|| offset.checked_sub(1 + dice.below(most))).flatten()
    }

    fn event_time(&self, number: u64, dice: &mut Dice) -> Timestamp {
        let late = dice.unit() < self.settings.late;
        let lag = if late { LATE_MICROS + dice.below(LATE_RANGE_MICROS) } else { dice.exponential(self.disorder_micros) as u64 };
        self.timeline.at(number).plus_micros(-i64::try_from(lag).unwrap_or(0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_769_679_063_027_000);

    fn payloads(query: &str) -> Payloads {
        Payloads::new(Settings::from_url(&format!("generator://local/full?{query}")).unwrap(), NOW)
    }

    fn record(payloads: &Payloads, partition: u64, offset: u64) -> Vec<u8> {
        let mut out = Vec::new();
        payloads.write(partition, offset, &mut out);
        out
    }

    /// The event time, user, page and kind of a record; `None` for one that a source refuses.
    fn parse(record: &[u8]) -> Option<(i64, String, String, String)> {
        let event: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(record).ok()?;
        let text = |name: &str| event.get(name)?.as_str().map(str::to_owned);
        let time = text("event_time")?.parse::<jiff::Timestamp>().ok()?.as_microsecond();
        let ahead = time > NOW.0 + 300_000_000;
        let page = text("page_url").filter(|page| !ahead && !page.contains('\0'))?;
        Some((time, text("user_id")?, page, text("event_type")?))
    }

    #[test]
    fn a_record_reads_as_the_pipeline_expects_it() {
        let one = record(&payloads("disorder=0s&late=0&malformed=0"), 0, 0);
        let text = String::from_utf8(one).unwrap();
        assert!(text.starts_with(r#"{"event_time": "2026-01-29T09:31:03.027Z", "user_id": "user_"#), "{text}");
        assert!(
            text.contains(r#"", "page_url": "/"#) && text.contains(r#"", "event_type": ""#) && text.ends_with(r#""}"#),
            "{text}"
        );
    }

    #[test]
    fn a_record_does_not_depend_on_those_before_it() {
        let a = payloads("seed=7");
        let b = payloads("seed=7");
        let forwards: Vec<_> = (0..4000).map(|i| record(&a, i % 4, i / 4)).collect();
        let backwards: Vec<_> = (0..4000).rev().map(|i| record(&b, i % 4, i / 4)).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()));
        assert_ne!(record(&a, 0, 0), record(&payloads("seed=8"), 0, 0));
    }

    #[test]
    fn shares_are_near_their_settings() {
        let payloads = payloads("events=400_000&span=1h&late=0.01&malformed=0.002&partitions=4");
        let first = NOW.0 - 3_600_000_000;
        let (mut malformed, mut late, mut views, mut lag) = (0, 0, 0, 0);
        for number in 0..400_000u64 {
            let Some((time, user, page, kind)) = parse(&record(&payloads, number % 4, number / 4)) else {
                malformed += 1;
                continue;
            };
            let behind = first + (number as i64) * 9_000 - time;
            assert!(user.starts_with("user_") && page.starts_with('/') && behind >= 0);
            views += u64::from(kind == "page_view");
            late += u64::from(behind >= 149_999_000);
            lag += if behind < 149_999_000 { behind } else { 0 };
        }
        assert!((700..=900).contains(&malformed), "{malformed} of 800 malformed");
        assert!((3_800..=4_200).contains(&late), "{late} of 4000 late");
        assert!((276_000..=284_000).contains(&views), "{views} of 280000 page views");
        assert!((1_980_000..2_020_000).contains(&(lag / 396_000)), "mean disorder of {} µs", lag / 396_000);
    }

    #[test]
    fn a_span_ends_now_and_is_covered_evenly() {
        let payloads = payloads("events=60_000&span=1h&late=0&malformed=0&disorder=0s");
        let mut minutes = [0u32; 60];
        for number in 0..60_000u64 {
            let (time, ..) = parse(&record(&payloads, number % 4, number / 4)).unwrap();
            minutes[((time - (NOW.0 - 3_600_000_000)) / 60_000_000) as usize] += 1;
        }
        assert!(minutes.iter().all(|&count| (999..=1001).contains(&count)), "{minutes:?}");
    }

    #[test]
    fn unpaced_events_end_now_instead_of_in_the_future() {
        let payloads = payloads("events=1_000_000&rate=0&late=0&malformed=0&disorder=0s");
        let (time, ..) = parse(&record(&payloads, 3, 249_999)).unwrap();
        assert!((NOW.0 - 1_000..=NOW.0).contains(&time), "{}", time - NOW.0);
    }

    #[test]
    fn the_finalizer_makes_one_event_a_partition_ahead_of_the_clock() {
        let make = |query: &str| Payloads::new(Settings::from_url(&format!("generator://local/finalizer{query}")).unwrap(), NOW);
        assert_eq!(make("?partitions=3").events(), Some(3));
        let (time, user, _, kind) = parse(&record(&make(""), 0, 0)).unwrap();
        assert_eq!((time, user.as_str(), kind.as_str()), (NOW.0 + 270_000_000, "user_0", "finalizer"));
        let (time, ..) = parse(&record(&make("?at=2026-01-29T09:35:00Z"), 0, 0)).unwrap();
        assert_eq!(time, 1_769_679_300_000_000);
    }

    #[test]
    fn every_number_of_pages_works() {
        for urls in [1, 5, 11] {
            let payloads = payloads(&format!("urls={urls}&malformed=0"));
            let pages: std::collections::BTreeSet<_> =
                (0..2000).filter_map(|i| parse(&record(&payloads, 0, i))).map(|e| e.2).collect();
            assert_eq!(pages.len(), urls);
        }
    }
}
