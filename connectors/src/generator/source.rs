//! The generator as a source of a job.

use std::time::{Duration, Instant};

use freshet_model::{Batch, Offset, PartitionId, Progress, Timestamp};

use super::pace::{Pace, share};
use super::{Payloads, Settings};
use crate::format::json::Decoder;
use crate::{Error, Reader, Source, SourceOptions};

/// A wait shorter than this would wake the thread for a handful of records.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// A source that makes its records up.
///
/// Its end is known: with `events` given it reports [`Progress::Finished`] after the last one, in a bounded run or not.
pub struct GeneratorSource {
    options: SourceOptions,
    payloads: Payloads,
    partitions: Vec<PartitionId>,
    pace: Pace,
}

impl GeneratorSource {
    /// Reads the settings from a URL as described [above](super) and starts the clock.
    ///
    /// # Errors
    /// A parameter is unknown, cannot be read or does not fit the others, or a bounded run would have no end.
    pub fn open(url: &str, options: SourceOptions) -> Result<GeneratorSource, Error> {
        let settings = Settings::from_url(url)?;
        let pace = Pace::new(Instant::now(), settings.rate);
        let partitions = (0..settings.partitions).collect();
        let payloads = Payloads::new(settings, Timestamp::now());
        if options.bounded && payloads.events().is_none() {
            let thing = format!("source '{}'", options.name);
            return Err(Error::setup(thing, "a bounded run of a generator without end", "add events=… to its url"));
        }
        Ok(GeneratorSource { options, payloads, partitions, pace })
    }
}

impl Source for GeneratorSource {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn identity(&self) -> Option<String> {
        None
    }

    fn reader_from(&self, starts: &[(PartitionId, Option<Offset>)]) -> Result<Box<dyn Reader>, Error> {
        let partitions: Vec<_> = starts.iter().map(|(partition, _)| *partition).collect();
        let mut cursors = Vec::new();
        for partition in partitions {
            if !self.partitions.contains(&partition) {
                let thing = format!("source '{}'", self.options.name);
                return Err(Error::setup(thing, format!("has no partition {partition}"), "set partitions=… in its url"));
            }
            cursors.push(Cursor { partition: partition.unsigned_abs().into(), next: 0, told: None });
        }
        Ok(Box::new(GeneratorReader {
            payloads: self.payloads.clone(),
            pace: self.pace,
            cursors,
            turn: 0,
            decoder: Decoder::new(&self.options),
            record: Vec::new(),
        }))
    }
}

struct Cursor {
    partition: u64,
    next: u64,
    /// The kind of progress told last: a change is worth an empty batch.
    told: Option<Progress>,
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
    fn read(&mut self, max_records: usize, wait: Duration, out: &mut Vec<Batch>) -> Result<(), Error> {
        let deadline = Instant::now() + wait;
        let before = out.len();
        loop {
            let now = Instant::now();
            self.read_due(max_records, now, out);
            if out.len() > before || now >= deadline {
                return Ok(());
            }
            std::thread::sleep(self.until_next(now).max(LEAST_WAIT).min(deadline - now));
        }
    }
}

impl GeneratorReader {
    fn read_due(&mut self, max_records: usize, now: Instant, out: &mut Vec<Batch>) {
        let due = self.pace.due(now);
        self.decoder.set_now(Timestamp::now());
        let mut left = max_records;
        for step in 0..self.cursors.len() {
            // An equal share of what is left for each of the partitions to come.
            let most = left.div_ceil(self.cursors.len() - step);
            let index = (self.turn + step) % self.cursors.len();
            left -= self.read_partition(index, most, due, out);
        }
        self.turn = (self.turn + 1) % self.cursors.len().max(1);
    }

    /// Reads at most so many due records of one partition, and returns how many.
    fn read_partition(&mut self, index: usize, most: usize, due: u64, out: &mut Vec<Batch>) -> usize {
        let (partitions, events) = (self.payloads.partitions(), self.payloads.events());
        let cursor = &mut self.cursors[index];
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
        let to = cursor.next;
        let progress = match due - to {
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
        (to - from) as usize
    }

    fn until_next(&self, now: Instant) -> Duration {
        let partitions = self.payloads.partitions();
        let number = |cursor: &Cursor| cursor.next.saturating_mul(partitions).saturating_add(cursor.partition);
        let open = self.cursors.iter().filter(|cursor| cursor.told != Some(Progress::Finished));
        open.map(number).min().map_or(Duration::MAX, |number| self.pace.until(number, now))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use freshet_model::{Column, ColumnType};

    use super::*;

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
            time_column: Some(0),
            max_future_skew: Duration::from_secs(300),
            max_record_bytes: 10_000,
            bounded,
            from_latest: false,
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
        let batches = read_all(&mut *reader, 10_000, 4);
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
