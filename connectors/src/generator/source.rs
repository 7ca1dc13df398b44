//! The generator as a source of a job.

use std::time::{Duration, Instant};

use freshet_model::{Batch, Offset, PartitionId, Progress, Timestamp};

use super::pace::{Pace, share};
use super::{Payloads, Settings};
use crate::format::{Decoder, Decoders, Encoding};
use crate::{Error, Reader, Source, SourceOptions};

/// A wait shorter than this would wake the thread for a handful of records.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// So much of what has become due while nobody read comes at once when a job goes on; the rest is put off.
const MAX_BACKLOG: Duration = Duration::from_secs(60);

/// A source that makes its records up.
///
/// Its end is known: with `events` given it reports [`Progress::Finished`] after the last one, in a bounded run or not.
///
/// It can be opened as the same source again: its identity is all that its records depend on, the time of the first opening included, which
/// is what "now" means in the settings. Record `n` is due `n / rate` seconds after that time, as in a topic that
/// somebody fills; but a job that goes on after a long pause gets only the last minute's worth of what it has missed at once.
pub struct GeneratorSource {
    options: SourceOptions,
    decoders: Decoders,
    payloads: Payloads,
    partitions: Vec<PartitionId>,
    clock: Clock,
    begin: Instant,
    /// How many records had become due when it was opened.
    missed: u64,
}

/// The times at which records are made.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// When the source was opened for the first time.
    opened: Timestamp,
    rate: f64,
}

impl Clock {
    /// Returns how many records have become due at a time.
    fn due(&self, now: Timestamp) -> u64 {
        (now.0.saturating_sub(self.opened.0).max(0) as f64 / 1e6 * self.rate) as u64
    }
}

impl GeneratorSource {
    /// Reads the settings from a URL as described [above](super) and starts the clock, or goes on with that of the identity in the options.
    ///
    /// # Errors
    /// A parameter is unknown, cannot be read or does not fit the others, or a bounded run would have no end.
    pub fn open(url: &str, options: SourceOptions) -> Result<GeneratorSource, Error> {
        let settings = Settings::from_url(url)?;
        if !matches!(options.format.encoding, Encoding::Json) {
            let thing = format!("source '{}'", options.name);
            return Err(Error::setup(thing, "the generator writes JSON", "leave its format out"));
        }
        let decoders = Decoders::open(&options)?;
        let now = Timestamp::now();
        let opened = options.identity.as_deref().and_then(opened_in).unwrap_or(now);
        let clock = Clock { opened, rate: settings.rate };
        let partitions = (0..settings.partitions).collect();
        let payloads = Payloads::new(settings, opened);
        if options.bounded && payloads.events().is_none() {
            let thing = format!("source '{}'", options.name);
            return Err(Error::setup(thing, "a bounded run of a generator without end", "add events=… to its url"));
        }
        Ok(GeneratorSource { options, decoders, payloads, partitions, clock, begin: Instant::now(), missed: clock.due(now) })
    }

    fn cursor(&self, partition: PartitionId, start: Option<Offset>) -> Result<Cursor, Error> {
        let refused = |problem: String, remedy: &str| Error::setup(format!("source '{}'", self.options.name), problem, remedy);
        if !self.partitions.contains(&partition) {
            return Err(refused(format!("has no partition {partition}"), "set partitions=… in its url"));
        }
        let id = partition.unsigned_abs().into();
        let end = share(self.payloads.events().unwrap_or(u64::MAX), id, self.payloads.partitions());
        let start = start.unwrap_or(0);
        match u64::try_from(start) {
            Ok(next) if next <= end => Ok(Cursor { partition: id, next, told: None, held: false }),
            _ => {
                Err(refused(format!("partition {partition} has {end} records, and no offset {start}"), "set events=… in its url"))
            }
        }
    }
}

/// Appended to the settings in an identity.
const OPENED: &str = " opened=";

/// Reads the time of the first opening from an identity.
fn opened_in(identity: &str) -> Option<Timestamp> {
    identity.rsplit_once(OPENED).and_then(|(_, micros)| micros.parse().ok()).map(Timestamp)
}

impl Source for GeneratorSource {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn identity(&self) -> Option<String> {
        Some(format!("generator {}{OPENED}{}", self.payloads.settings(), self.clock.opened.0))
    }

    fn reader_from(&self, starts: &[(PartitionId, Option<Offset>)]) -> Result<Box<dyn Reader>, Error> {
        let cursors = starts.iter().map(|&(partition, start)| self.cursor(partition, start)).collect::<Result<Vec<_>, _>>()?;
        let partitions = self.payloads.partitions();
        let first = cursors.iter().map(|cursor| cursor.number(partitions)).min().unwrap_or(0);
        let backlog = (MAX_BACKLOG.as_secs_f64() * self.clock.rate) as u64;
        let ahead = if starts.iter().any(|(_, start)| start.is_some()) {
            self.missed.clamp(first, first.saturating_add(backlog))
        } else {
            0
        };
        Ok(Box::new(GeneratorReader {
            payloads: self.payloads.clone(),
            pace: Pace::new(self.begin, self.clock.rate, ahead),
            cursors,
            turn: 0,
            decoder: self.decoders.decoder(),
            record: Vec::new(),
        }))
    }
}

struct Cursor {
    partition: u64,
    next: u64,
    /// The kind of progress told last: a change is worth an empty batch.
    told: Option<Progress>,
    /// It is not to be read further for now.
    held: bool,
}

impl Cursor {
    /// Returns the number of the next record among those of all partitions.
    fn number(&self, partitions: u64) -> u64 {
        self.next.saturating_mul(partitions).saturating_add(self.partition)
    }
}

struct GeneratorReader {
    payloads: Payloads,
    pace: Pace,
    cursors: Vec<Cursor>,
    /// The cursor that goes first in the next read, so that a small `max_records` starves none.
    turn: usize,
    decoder: Decoder,
    record: Vec<u8>,
}

impl Reader for GeneratorReader {
    fn set_now(&mut self, now: Timestamp) {
        self.decoder.set_now(now);
    }

    fn hold(&mut self, partition: PartitionId, held: bool) -> Result<(), Error> {
        let id = u64::from(partition.unsigned_abs());
        self.cursors.iter_mut().filter(|cursor| cursor.partition == id).for_each(|cursor| cursor.held = held);
        Ok(())
    }

    fn read(&mut self, max_records: usize, wait: Duration, out: &mut Vec<Batch>) -> Result<(), Error> {
        let deadline = Instant::now() + wait;
        let before = out.len();
        loop {
            let now = Instant::now();
            self.read_due(max_records, now, out)?;
            if out.len() > before || now >= deadline {
                return Ok(());
            }
            std::thread::sleep(self.until_next(now).max(LEAST_WAIT).min(deadline - now));
        }
    }

    fn is_finished(&self) -> bool {
        self.cursors.iter().all(|cursor| cursor.told == Some(Progress::Finished))
    }
}

impl GeneratorReader {
    fn read_due(&mut self, max_records: usize, now: Instant, out: &mut Vec<Batch>) -> Result<(), Error> {
        let due = self.pace.due(now);
        let mut left = max_records;
        for step in 0..self.cursors.len() {
            // An equal share of what is left for each of the partitions to come.
            let most = left.div_ceil(self.cursors.len() - step);
            let index = (self.turn + step) % self.cursors.len();
            left -= self.read_partition(index, most, due, out)?;
        }
        self.turn = (self.turn + 1) % self.cursors.len().max(1);
        Ok(())
    }

    /// Reads at most so many due records of one partition, and returns how many.
    fn read_partition(&mut self, index: usize, most: usize, due: u64, out: &mut Vec<Batch>) -> Result<usize, Error> {
        let (partitions, events) = (self.payloads.partitions(), self.payloads.events());
        let cursor = &mut self.cursors[index];
        if cursor.held {
            return Ok(0);
        }
        let end = share(events.unwrap_or(u64::MAX), cursor.partition, partitions);
        let due = share(due, cursor.partition, partitions).min(end);
        let from = cursor.next;
        let limit = due.min(from.saturating_add(most as u64));
        while cursor.next < limit && !self.decoder.is_full() {
            self.record.clear();
            self.payloads.write(cursor.partition, cursor.next, &mut self.record);
            self.decoder.decode(cursor.next.cast_signed(), Some(&self.record));
            cursor.next += 1;
        }
        self.decoder.check()?;
        let to = cursor.next;
        let progress = match due.saturating_sub(to) {
            0 if to == end => Progress::Finished,
            0 => Progress::AtEnd,
            waiting => Progress::Behind(waiting),
        };
        let news = cursor.told.as_ref().map(std::mem::discriminant) != Some(std::mem::discriminant(&progress));
        if to > from || news {
            cursor.told = Some(progress);
            let partition = PartitionId::try_from(cursor.partition).unwrap_or(PartitionId::MAX);
            out.push(self.decoder.finish(partition, from.cast_signed()..to.cast_signed(), progress));
        }
        Ok((to - from) as usize)
    }

    fn until_next(&self, now: Instant) -> Duration {
        let partitions = self.payloads.partitions();
        let open = self.cursors.iter().filter(|cursor| cursor.told != Some(Progress::Finished) && !cursor.held);
        open.map(|cursor| cursor.number(partitions)).min().map_or(Duration::MAX, |number| self.pace.until(number, now))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use freshet_model::{Column, ColumnType};

    use super::*;

    type Row = (PartitionId, Offset, String);

    /// Returns all records by their places: rows as text, dead letters by their reasons.
    fn records(batches: &[Batch]) -> BTreeSet<Row> {
        let rows = batches.iter().flat_map(|batch| {
            let row = |row: usize| (batch.partition, batch.offsets[row], format!("{:?}", batch.columns.slice(row, 1)));
            (0..batch.offsets.len()).map(row)
        });
        let dead =
            batches.iter().flat_map(|batch| batch.dead.iter().map(|dead| (dead.partition, dead.offset, dead.reason.to_string())));
        rows.chain(dead).collect()
    }

    #[test]
    fn a_source_that_is_opened_again_brings_the_same_records_from_any_offset() {
        for query in [
            "full?events=9000&rate=0&malformed=0.1",
            "full?events=9000&rate=30000000",
            "finalizer",
            "full?events=20&rate=100&start=2100-01-01T00:00:00Z",
        ] {
            let url = format!("generator://local/{query}&partitions=3").replace("finalizer&", "finalizer?");
            let source = GeneratorSource::open(&url, options(true)).unwrap();
            let all = records(&read_all(&mut *source.reader(&[0, 1, 2]).unwrap(), 1000, 3));
            std::thread::sleep(Duration::from_millis(2));
            let again = SourceOptions { identity: source.identity(), ..options(true) };
            let again = crate::open_source(&url, again).unwrap();
            assert_eq!(again.identity(), source.identity());
            let count = |partition| all.iter().filter(|(of, _, _)| *of == partition).count() as Offset;
            let starts = [(0, Some(count(0) / 2)), (1, Some(0)), (2, Some(count(2)))];
            let tail = records(&read_all(&mut *again.reader_from(&starts).unwrap(), 700, 3));
            let wanted = all.into_iter().filter(|(partition, offset, _)| starts[*partition as usize].1.unwrap() <= *offset);
            assert!(tail == wanted.collect(), "{query}");
        }
    }

    #[test]
    fn another_generator_is_not_taken_for_the_same() {
        let url = "generator://local/full?events=10&rate=0";
        let identity = GeneratorSource::open(url, options(true)).unwrap().identity();
        for (url, identity) in [("generator://local/full?events=10&rate=0&seed=2", identity), (url, Some("topic".to_owned()))] {
            let error = crate::open_source(url, SourceOptions { identity, ..options(true) }).err().unwrap().to_string();
            assert!(error.contains("source 'activity': is not what the job's state was made from"), "{error}");
        }
        let source = GeneratorSource::open(url, options(true)).unwrap();
        assert!(source.reader_from(&[(0, Some(4))]).is_err() && source.reader_from(&[(0, Some(-1))]).is_err());
    }

    #[test]
    fn a_job_that_goes_on_gets_a_bounded_backlog_and_then_the_pace() {
        let url = "generator://local/full?rate=100&partitions=1";
        let first = GeneratorSource::open(url, options(false)).unwrap();
        let identity = |seconds_ago: i64| {
            let opened = first.clock.opened.plus_micros(-seconds_ago * 1_000_000);
            Some(format!("generator {}{OPENED}{}", first.payloads.settings(), opened.0))
        };
        let next = |seconds_ago, start| {
            let source = GeneratorSource::open(url, SourceOptions { identity: identity(seconds_ago), ..options(false) }).unwrap();
            let mut batches = Vec::new();
            source.reader_from(&[(0, Some(start))]).unwrap().read(1_000_000, Duration::ZERO, &mut batches).unwrap();
            batches[0].range.end
        };
        // Ten seconds at a hundred a second, of which 900 have been read; the machine may be slow.
        assert!((1001..1500).contains(&next(10, 900)), "what was missed comes at once");
        assert!((6901..7500).contains(&next(3600, 900)), "of an hour a minute");
        assert!((5001..5500).contains(&next(10, 5000)), "what has been read is not waited for");
    }

    fn options(bounded: bool) -> SourceOptions {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
        let text = ColumnType::Text(None);
        SourceOptions {
            name: "activity".to_owned(),
            columns: vec![
                column("event_time", ColumnType::Timestamp),
                column("user_id", text),
                column("page_url", text),
                column("event_type", text),
            ],
            format: Default::default(),
            time_column: Some(0),
            max_future_skew: Duration::from_secs(300),
            max_record_bytes: 10_000,
            bounded,
            from_latest: false,
            identity: None,
            settings: BTreeMap::new(),
        }
    }

    fn read_all(reader: &mut dyn Reader, most: usize, partitions: usize) -> Vec<Batch> {
        let mut batches = Vec::new();
        let ended = |batches: &[Batch]| batches.iter().filter(|batch| batch.progress == Progress::Finished).count();
        while ended(&batches) < partitions {
            reader.read(most, Duration::from_secs(1), &mut batches).unwrap();
        }
        batches
    }

    #[test]
    fn every_record_is_a_row_or_a_dead_letter_of_its_place() {
        let url = "generator://local/full?events=200_001&rate=0&partitions=4&malformed=0.01&seed=5";
        let source = GeneratorSource::open(url, options(true)).unwrap();
        let mut reader = source.reader(source.partitions()).unwrap();
        let now = Timestamp::now();
        reader.set_now(now);
        let mut batches = read_all(&mut *reader, 10_000, 4);
        batches.iter_mut().for_each(|batch| batch.judge_early(now, Some(0)));
        let mut next = [0; 4];
        for batch in &batches {
            let place = &mut next[batch.partition as usize];
            assert_eq!((batch.range.start, batch.columns.num_rows()), (*place, batch.offsets.len()));
            assert_eq!((batch.range.end - batch.range.start) as usize, batch.offsets.len() + batch.dead.len());
            *place = batch.range.end;
        }
        assert_eq!(next, [50_001, 50_000, 50_000, 50_000]);
        let dead: Vec<_> = batches.iter().flat_map(|batch| &batch.dead).collect();
        assert!((1_800..=2_200).contains(&dead.len()), "{} of 2000 dead letters", dead.len());
        let reasons: BTreeSet<&str> = dead.iter().map(|letter| letter.reason.code()).collect();
        for reason in ["empty_payload", "malformed", "missing_column", "nul_character", "time_out_of_range", "wrong_type"] {
            assert!(reasons.contains(reason), "no dead letter is {reason}");
        }
    }

    #[test]
    fn readers_of_single_partitions_bring_what_one_of_all_brings() {
        let url = "generator://local/full?events=3000&rate=0&partitions=3&start=2026-01-29T09:00:00Z";
        let source = GeneratorSource::open(url, options(true)).unwrap();
        let rows = |partitions: &[PartitionId]| {
            let batches = read_all(&mut *source.reader(partitions).unwrap(), 700, partitions.len());
            let rows = batches.iter().flat_map(|batch| {
                (0..batch.offsets.len())
                    .map(|row| (batch.partition, batch.offsets[row], format!("{:?}", batch.columns.slice(row, 1))))
            });
            rows.collect::<BTreeSet<_>>()
        };
        let apart: BTreeSet<_> = [0, 1, 2].iter().flat_map(|&partition| rows(&[partition])).collect();
        assert_eq!(rows(&[0, 1, 2]), apart);
    }

    #[test]
    fn a_partition_that_is_held_brings_nothing_until_it_goes_on() {
        let source = GeneratorSource::open("generator://local/full?events=900&rate=0&partitions=3", options(true)).unwrap();
        let mut reader = source.reader(&[0, 1, 2]).unwrap();
        reader.hold(1, true).unwrap();
        let mut batches = read_all(&mut *reader, 200, 2);
        assert!(batches.iter().all(|batch| batch.partition != 1));
        reader.hold(1, false).unwrap();
        batches.extend(read_all(&mut *reader, 200, 1));
        assert_eq!(records(&batches), records(&read_all(&mut *source.reader(&[0, 1, 2]).unwrap(), 200, 3)));
    }

    #[test]
    fn records_come_at_the_rate_and_the_reader_waits_for_them() {
        let source = GeneratorSource::open("generator://local/full?rate=200&partitions=2&events=41", options(false)).unwrap();
        let mut reader = source.reader(&[0, 1]).unwrap();
        let begin = Instant::now();
        let batches = read_all(&mut *reader, 1000, 2);
        // Number 40 is due after 200 ms.
        assert!(begin.elapsed() >= Duration::from_millis(190), "{:?}", begin.elapsed());
        assert!(batches.iter().any(|batch| batch.progress == Progress::AtEnd));
        let mut more = Vec::new();
        reader.read(1000, Duration::from_millis(20), &mut more).unwrap();
        assert!(more.is_empty(), "nothing comes after the end");
    }

    #[test]
    fn what_has_no_end_is_not_for_a_bounded_run() {
        let error = GeneratorSource::open("generator://local/full", options(true)).err().unwrap().to_string();
        assert!(error.contains("source 'activity'") && error.contains("add events="), "{error}");
        let source = GeneratorSource::open("generator://local/full", options(false)).unwrap();
        assert!(source.reader(&[4]).is_err());
    }
}
