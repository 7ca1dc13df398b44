//! What the sequencer decides, without timely: when to cut, what an epoch's record says, when to take a checkpoint, when to end.
//!
//! # Invariants
//! - Epochs are sealed in order, each once.
//! - Nothing is decided while there is something to repeat: a repeated epoch gets the times, the watermarks and the bounds of its record.
//! - After the last epoch nothing is cut: a bounded run ends with one empty epoch, in which the watermark has closed all windows.
//! - One checkpoint is under way at a time, and a run ends with one of its last epoch.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use freshet_model::{Epoch, Offset, PartitionId, Progress, Timestamp};

use super::pacing::{Decision, Pace, Situation};
use super::watermark::{Lateness, Watermark};
use super::{Checkpoint, Cut, EpochRecord, First, LogEntry, Report, Seal, Tick, Version};

/// Where a run begins.
#[derive(Debug, Clone, Default)]
pub struct Begin {
    /// What was known before.
    pub checkpoint: Option<Checkpoint>,
    /// What the epoch log tells after that; the last entry is the start of this run.
    pub repeat: Vec<LogEntry>,
    /// For each source what its watermark never exceeds, in a run that reads once more what another has read up to there: no window is closed
    /// here that is open there.
    pub ceilings: Option<Vec<Timestamp>>,
}

/// Reads of a source differ from what the epoch log says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence(pub String);

/// An epoch that is complete.
#[derive(Debug)]
pub(super) enum Sealed {
    /// Its record must be made durable first.
    New(EpochRecord),
    /// Its record is in the log.
    Repeated(EpochRecord),
}

pub(super) struct Sequence {
    pace: Pace,
    watermarks: Vec<Watermark>,
    /// For each source and partition, the first offset behind the newest epoch sealed.
    ends: Vec<BTreeMap<PartitionId, Offset>>,
    /// For each source and partition that is behind, the number of records known to wait there.
    backlogs: BTreeMap<(usize, PartitionId), u64>,
    /// Their sum when the last epoch was cut.
    backlog_before: u64,
    /// The epoch that sources fill.
    pub(super) open: Epoch,
    last_cut: Timestamp,
    pending: bool,
    full: bool,
    stopping: bool,
    /// Epochs cut and not yet sealed: when they were cut, and what has been reported of them.
    unsealed: BTreeMap<Epoch, (Timestamp, Vec<Cut>)>,
    last_epoch: Option<Epoch>,
    /// The version of each table that is in force in the oldest epoch that is not sealed.
    versions: Vec<Version>,
    repeat: VecDeque<LogEntry>,
    /// When the epochs that are to be repeated, and are not cut yet, were cut.
    repeat_times: VecDeque<Timestamp>,
    ceilings: Option<Vec<Timestamp>>,
    checkpoints: Checkpoints,
}

/// When checkpoints are taken, in microseconds.
struct Checkpoints {
    interval: Option<i64>,
    last: Timestamp,
    /// The one that is under way.
    epoch: Option<Epoch>,
    /// The sequencer's own part of it.
    taken: Option<Checkpoint>,
}

impl Sequence {
    pub(super) fn new(
        pace: Pace,
        sources: &[Lateness],
        checkpoint_interval: Option<Duration>,
        begin: Begin,
        now: Timestamp,
    ) -> Sequence {
        let times = begin.repeat.iter().filter_map(|entry| match entry {
            LogEntry::Epoch(record) => Some(record.seal.processing_time),
            LogEntry::Start(_) => None,
        });
        let repeat_times: VecDeque<Timestamp> = times.collect();
        // Whoever had to repeat something goes on with the time since the last checkpoint: a job that is killed again and again before a
        // checkpoint is due would have more to repeat each time.
        let checkpointed = begin.checkpoint.as_ref().map(|known| known.seal.processing_time);
        let last = if repeat_times.is_empty() { now } else { checkpointed.map_or(now, |time| time.min(now)) };
        let interval = checkpoint_interval.map(|interval| i64::try_from(interval.as_micros()).unwrap_or(i64::MAX));
        let versions = First::after(begin.checkpoint.as_ref(), &begin.repeat, sources.len()).versions;
        let (watermarks, ends, open, last_cut) = match begin.checkpoint {
            Some(known) => (known.watermarks, known.ends, known.epoch + 1, known.seal.processing_time),
            None => {
                let watermarks = sources.iter().map(|lateness| Watermark::new(*lateness)).collect();
                (watermarks, vec![BTreeMap::new(); sources.len()], 0, Timestamp::MIN)
            }
        };
        let mut sequence = Sequence {
            pace,
            watermarks,
            ends,
            backlogs: BTreeMap::new(),
            backlog_before: 0,
            open,
            last_cut,
            pending: false,
            full: false,
            stopping: false,
            unsealed: BTreeMap::new(),
            last_epoch: None,
            versions,
            repeat: begin.repeat.into(),
            repeat_times,
            ceilings: begin.ceilings,
            checkpoints: Checkpoints { interval, last, epoch: None, taken: None },
        };
        sequence.begin_runs();
        sequence
    }

    /// Takes in a report that a source sent in `epoch`.
    pub(super) fn advance_report(&mut self, epoch: Epoch, report: Report) {
        match report {
            Report::Pending => self.pending |= epoch == self.open,
            Report::Full => (self.pending, self.full) = (self.pending || epoch == self.open, self.full || epoch == self.open),
            Report::Stop => self.stopping = true,
            Report::CaughtUp { source, partition } => drop(self.backlogs.remove(&(source, partition))),
            Report::Cut(cut) => {
                match cut.progress {
                    Progress::Behind(records) => self.backlogs.insert((cut.source, cut.partition), records),
                    Progress::AtEnd | Progress::Finished => self.backlogs.remove(&(cut.source, cut.partition)),
                };
                let (_, cuts) = self.unsealed.get_mut(&epoch).expect("invariant: sources report cuts of epochs that were cut");
                cuts.push(cut);
            }
        }
    }

    /// Cuts the open epoch, if it is time: `tables` and `appends` are the first epochs that some sink of the kind has not finished.
    pub(super) fn maybe_cut(&mut self, now: Timestamp, tables: Epoch, appends: Epoch) -> Result<Tick, Decision> {
        let repeating = !self.repeat_times.is_empty();
        let situation = Situation {
            now,
            last_cut: self.last_cut,
            pending: self.pending,
            full: self.full || repeating,
            backlog: if repeating { u64::MAX } else { self.backlogs.values().sum() },
            backlog_before: self.backlog_before,
            tables_in_flight: self.open - tables.min(self.open),
            appends_in_flight: self.open - appends.min(self.open),
        };
        match self.pace.decide(&situation) {
            Decision::Cut => Ok(self.cut(now)),
            // The last epochs of a run are cut at once, however young they are and whatever the sinks have in hand.
            Decision::Wait(_) | Decision::WaitForSinks if self.is_ending() => Ok(self.cut(now)),
            decision => Err(decision),
        }
    }

    /// Tells whether the open epoch is the last one, or the one whose seal says so.
    fn is_ending(&self) -> bool {
        let may_plan = self.unsealed.is_empty() && self.checkpoints.epoch.is_none() && self.repeat_times.is_empty();
        self.last_epoch == Some(self.open) || (self.last_epoch.is_none() && may_plan && self.wants_to_end())
    }

    fn wants_to_end(&self) -> bool {
        self.stopping || self.watermarks.iter().all(Watermark::is_finished)
    }

    fn cut(&mut self, now: Timestamp) -> Tick {
        let processing_time = self.repeat_times.pop_front().unwrap_or_else(|| now.max(self.last_cut));
        let last = self.last_epoch == Some(self.open);
        self.unsealed.insert(self.open, (processing_time, Vec::new()));
        self.open += 1;
        self.backlog_before = self.backlogs.values().sum();
        self.last_cut = processing_time;
        (self.pending, self.full) = (false, false);
        Tick { processing_time, last }
    }

    /// Seals the oldest epoch, if all reports below `reported` have come; `newest_versions` are those of the tables.
    pub(super) fn maybe_seal(&mut self, reported: Epoch, newest_versions: &[Version]) -> Result<Option<Sealed>, Divergence> {
        let Some((&epoch, _)) = self.unsealed.first_key_value().filter(|(epoch, _)| **epoch < reported) else { return Ok(None) };
        let Some((processing_time, mut cuts)) = self.unsealed.remove(&epoch) else { return Ok(None) };
        cuts.sort_by_key(|cut| (cut.source, cut.partition));
        let repeated = match self.repeat.pop_front() {
            Some(LogEntry::Epoch(record)) => Some(record),
            _ => None,
        };
        if let Some(record) = &repeated {
            compare(record, epoch, &cuts)?;
            cuts.clone_from(&record.cuts);
        }
        let watermarks = self.advance(&cuts, processing_time);
        if let Some(record) = repeated {
            if record.seal.watermarks != watermarks {
                return Err(Divergence(format!("epoch {epoch} has other watermarks now than when it was cut")));
            }
            self.versions.clone_from(&record.seal.versions);
            self.begin_runs();
            return Ok(Some(Sealed::Repeated(EpochRecord { seal: Seal { checkpoint: false, ..record.seal }, ..record })));
        }
        let newest = cuts.iter().filter_map(|cut| cut.max_event_time).max();
        self.plan_the_end();
        let checkpoint = self.plan_checkpoint(epoch + 1, processing_time);
        self.advance_versions(newest_versions);
        let seal = Seal { watermarks, versions: self.versions.clone(), processing_time, newest, checkpoint };
        if self.checkpoints.epoch == Some(epoch) {
            let (watermarks, ends) = (self.watermarks.clone(), self.ends.clone());
            self.checkpoints.taken = Some(Checkpoint { epoch, seal: seal.clone(), watermarks, ends });
        }
        Ok(Some(Sealed::New(EpochRecord { epoch, cuts, seal })))
    }

    /// Takes in what an epoch holds, and returns the watermarks of the next one.
    fn advance(&mut self, cuts: &[Cut], processing_time: Timestamp) -> Vec<Timestamp> {
        for cut in cuts {
            self.watermarks[cut.source].observe(cut, processing_time);
            self.ends[cut.source].insert(cut.partition, cut.end);
        }
        let reached = self.watermarks.iter_mut().map(|watermark| watermark.advance(processing_time));
        match &self.ceilings {
            None => reached.collect(),
            Some(ceilings) => reached.zip(ceilings).map(|(reached, &ceiling)| reached.min(ceiling)).collect(),
        }
    }

    /// Takes in the newest versions of tables. None goes back, not even to one that a former leader has named.
    fn advance_versions(&mut self, newest: &[Version]) {
        for (version, newest) in self.versions.iter_mut().zip(newest) {
            *version = (*newest).max(*version);
        }
    }

    /// Takes in the starts of runs that come next in the log.
    fn begin_runs(&mut self) {
        while let Some(LogEntry::Start(start)) = self.repeat.front() {
            for (watermark, partitions) in self.watermarks.iter_mut().zip(&start.partitions) {
                watermark.start(partitions, start.time);
            }
            self.last_cut = self.last_cut.max(if self.repeat.len() == 1 { start.time } else { Timestamp::MIN });
            self.repeat.pop_front();
        }
    }

    /// Fixes the last epoch: the open one, in which a bounded run's watermark closes everything, or which takes what a stopped run has read.
    fn plan_the_end(&mut self) {
        if self.last_epoch.is_none() && self.wants_to_end() && self.checkpoints.epoch.is_none() {
            self.last_epoch = Some(self.open);
        }
    }

    /// Decides whether a checkpoint is taken as of `epoch`, the next one to be sealed.
    fn plan_checkpoint(&mut self, epoch: Epoch, now: Timestamp) -> bool {
        let Checkpoints { interval: Some(interval), last, epoch: under_way, .. } = &mut self.checkpoints else { return false };
        let due = now.0.saturating_sub(last.0) >= *interval && self.last_epoch.is_none() && !self.stopping;
        if under_way.is_some() || !(due || self.last_epoch == Some(epoch)) {
            return false;
        }
        (*last, *under_way) = (now, Some(epoch));
        true
    }

    /// Returns the checkpoint under way, once everybody has kept what lies below `kept`.
    pub(super) fn maybe_checkpoint(&mut self, kept: Epoch) -> Option<Checkpoint> {
        let taken = self.checkpoints.taken.take_if(|taken| taken.epoch < kept)?;
        self.checkpoints.epoch = None;
        Some(taken)
    }

    /// Tells whether the last epoch has been cut.
    pub(super) fn is_over(&self) -> bool {
        self.last_epoch.is_some_and(|last| last < self.open)
    }

    /// Tells whether everything that was cut has been sealed, and every checkpoint taken.
    pub(super) fn is_done(&self) -> bool {
        self.is_over() && self.unsealed.is_empty() && self.checkpoints.epoch.is_none()
    }
}

/// Compares what has been read again with what was read before.
fn compare(record: &EpochRecord, epoch: Epoch, cuts: &[Cut]) -> Result<(), Divergence> {
    if record.epoch != epoch {
        return Err(Divergence(format!("the log has epoch {} where epoch {epoch} is expected", record.epoch)));
    }
    let place = |cut: &Cut| (cut.source, cut.partition, cut.start, cut.end, cut.rows, cut.dead_letters);
    let places = |cuts: &[Cut]| cuts.iter().filter(|cut| cut.end > cut.start).map(place).collect::<Vec<_>>();
    let (was, is) = (places(&record.cuts), places(cuts));
    let Some((was, is)) = was.iter().zip(&is).find(|(was, is)| was != is) else {
        let same = was.len() == is.len();
        return if same {
            Ok(())
        } else {
            Err(Divergence(format!("epoch {epoch} had {} cuts and has {} now", was.len(), is.len())))
        };
    };
    let say = |&(_, partition, start, end, rows, dead): &(usize, PartitionId, Offset, Offset, u64, u64)| {
        format!("partition {partition}, offsets {start} to {end}: {rows} rows and {dead} dead letters")
    };
    Err(Divergence(format!("epoch {epoch} held of source number {} {}; now it holds {}", was.0, say(was), say(is))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epochs::Start;

    const LATENESS: Lateness = Lateness { delay: 10, idle_timeout: 100 };

    fn start(time: i64) -> LogEntry {
        LogEntry::Start(Start { time: Timestamp(time), partitions: vec![vec![0]], versions: Vec::new() })
    }

    fn begun(begin: Begin) -> Sequence {
        Sequence::new(Pace::default(), &[LATENESS], Some(Duration::from_micros(20_000)), begin, Timestamp(0))
    }

    fn sequence() -> Sequence {
        let repeat = vec![start(0)];
        Sequence::new(Pace::default(), &[LATENESS], None, Begin { repeat, ..Begin::default() }, Timestamp(0))
    }

    fn report(start: i64, end: i64, time: i64, progress: Progress) -> Report {
        let max_event_time = Some(Timestamp(time));
        Report::Cut(Cut { source: 0, partition: 0, start, end, rows: 1, dead_letters: 0, bytes: 9, max_event_time, progress })
    }

    fn seal(sequence: &mut Sequence, reported: Epoch) -> Option<EpochRecord> {
        sequence.maybe_seal(reported, &[]).expect("nothing differs").map(|sealed| match sealed {
            Sealed::New(record) | Sealed::Repeated(record) => record,
        })
    }

    /// Cuts an epoch with one record at `now`, and seals it.
    fn step(sequence: &mut Sequence, now: i64, offset: i64) -> EpochRecord {
        sequence.advance_report(sequence.open, Report::Pending);
        let epoch = sequence.open;
        sequence.maybe_cut(Timestamp(now), epoch, epoch).expect("pending and old enough");
        sequence.advance_report(epoch, report(offset, offset + 1, 500 + offset, Progress::AtEnd));
        seal(sequence, epoch + 1).expect("complete")
    }

    #[test]
    fn an_epoch_is_sealed_when_all_reports_are_in_and_its_watermark_is_for_the_next() {
        let mut sequence = sequence();
        sequence.advance_report(0, Report::Pending);
        sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("pending and old enough");
        sequence.advance_report(0, report(0, 1, 500, Progress::AtEnd));
        assert!(seal(&mut sequence, 0).is_none(), "reports of epoch 0 may still come");
        let record = seal(&mut sequence, 1).expect("complete");
        assert_eq!((record.epoch, record.seal.watermarks[0], record.cuts.len()), (0, Timestamp(490), 1));
        assert!(!sequence.is_over());
    }

    #[test]
    fn a_bounded_run_ends_with_an_epoch_in_which_all_windows_are_closed() {
        let mut sequence = sequence();
        sequence.advance_report(0, Report::Pending);
        sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("pending and old enough");
        sequence.advance_report(0, report(0, 1, 500, Progress::Finished));
        assert_eq!(seal(&mut sequence, 1).expect("complete").seal.watermarks[0], Timestamp::MAX);
        assert!(!sequence.is_over());
        let tick = sequence.maybe_cut(Timestamp(5_001), 0, 0).expect("the last epoch is cut at once");
        assert!(tick.last && sequence.is_over());
        assert_eq!(seal(&mut sequence, 2).expect("complete").epoch, 1);
    }

    #[test]
    fn the_last_epoch_of_a_run_does_not_wait_for_sinks() {
        let mut sequence = sequence();
        sequence.pace.max_in_flight = 1;
        sequence.advance_report(0, Report::Pending);
        sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("pending and old enough");
        sequence.advance_report(0, report(0, 1, 500, Progress::Finished));
        assert_eq!(sequence.maybe_cut(Timestamp(5_001), 0, 0).err(), Some(Decision::WaitForSinks));
        assert!(seal(&mut sequence, 1).is_some());
        assert!(sequence.maybe_cut(Timestamp(5_002), 0, 0).expect("at once").last);
    }

    #[test]
    fn a_run_that_reads_again_what_another_has_read_closes_no_window_that_is_open_there() {
        let begin = Begin { repeat: vec![start(0)], ceilings: Some(vec![Timestamp(480)]), ..Begin::default() };
        let mut sequence = begun(begin);
        for (epoch, offset, progress, watermark) in [(0, -30, Progress::Behind(1), 460), (1, 0, Progress::Finished, 480)] {
            sequence.advance_report(epoch, Report::Pending);
            sequence.maybe_cut(Timestamp(5_000 * (epoch.cast_signed() + 1)), epoch, epoch).expect("pending and old enough");
            sequence.advance_report(epoch, report(0, 1, 500 + offset, progress));
            assert_eq!(seal(&mut sequence, epoch + 1).expect("complete").seal.watermarks[0], Timestamp(watermark));
        }
        let tick = sequence.maybe_cut(Timestamp(10_001), 2, 2).expect("the last epoch is cut at once");
        assert!(tick.last);
        assert!(seal(&mut sequence, 3).is_some() && sequence.maybe_checkpoint(3).is_some() && sequence.is_done());
    }

    #[test]
    fn what_is_left_of_a_backlog_does_not_wait_for_an_epoch_to_become_old() {
        let mut sequence = sequence();
        sequence.advance_report(0, Report::Pending);
        sequence.maybe_cut(Timestamp(1_000_000), 0, 0).expect("pending and old enough");
        sequence.advance_report(0, report(0, 1, 500, Progress::Behind(100_000)));
        sequence.advance_report(1, Report::Pending);
        assert_eq!(sequence.maybe_cut(Timestamp(1_005_000), 1, 1).err(), Some(Decision::Wait(Duration::from_millis(995))));
        sequence.advance_report(1, Report::CaughtUp { source: 0, partition: 0 });
        sequence.maybe_cut(Timestamp(1_005_000), 1, 1).expect("nothing waits any more");
    }

    #[test]
    fn a_stopped_run_takes_what_was_read_and_closes_nothing() {
        let mut sequence = sequence();
        sequence.advance_report(0, Report::Pending);
        sequence.advance_report(0, Report::Stop);
        sequence.maybe_cut(Timestamp(1), 0, 0).expect("at once");
        sequence.advance_report(0, report(0, 1, 500, Progress::Behind(3)));
        assert!(sequence.maybe_cut(Timestamp(1), 0, 0).is_err(), "the seal says which epoch is the last one");
        assert_eq!(seal(&mut sequence, 1).expect("complete").seal.watermarks[0], Timestamp(490));
        sequence.maybe_cut(Timestamp(2), 0, 0).expect("the last epoch is cut at once");
        assert!(sequence.is_over());
    }

    #[test]
    fn processing_time_does_not_go_back_with_the_clock() {
        let mut sequence = sequence();
        sequence.pending = true;
        let first = sequence.maybe_cut(Timestamp(5_000), 0, 0).expect("old enough");
        sequence.pending = true;
        let second = sequence.maybe_cut(Timestamp(100), 0, 0).expect("a clock set back does not stop it");
        assert_eq!(second.processing_time, first.processing_time);
    }

    #[test]
    fn a_run_repeats_the_log_and_then_knows_what_the_first_one_knew() {
        let mut first = begun(Begin { repeat: vec![start(0)], ..Begin::default() });
        let mut log = vec![start(0)];
        let mut checkpoint = None;
        for step_number in 0..9 {
            let record = step(&mut first, (step_number + 1) * 10_000, step_number);
            checkpoint = first.maybe_checkpoint(record.epoch + 1).or(checkpoint);
            log.push(LogEntry::Epoch(record));
        }
        let checkpoint = checkpoint.expect("the interval has passed");
        assert!(checkpoint.epoch > 0 && checkpoint.ends[0][&0] == checkpoint.epoch.cast_signed() + 1);
        let after = usize::try_from(checkpoint.epoch).expect("small") + 2;
        for (checkpoint, entries) in [(None, &log[..]), (Some(checkpoint), &log[after..])] {
            let begin = checkpoint.as_ref().map_or(0, |checkpoint: &Checkpoint| checkpoint.epoch + 1);
            let mut repeat = entries.to_vec();
            repeat.push(start(1_000_000));
            let mut second = begun(Begin { checkpoint, repeat, ceilings: None });
            for epoch in begin..9 {
                let tick = second.maybe_cut(Timestamp(2_000_000), 0, 0);
                let tick = tick.or_else(|_| second.maybe_cut(Timestamp(2_000_000), epoch, epoch)).expect("repeated at once");
                second.advance_report(epoch, report(epoch.cast_signed(), epoch.cast_signed() + 1, 0, Progress::Behind(7)));
                let record = seal(&mut second, epoch + 1).expect("complete");
                assert_eq!(record.seal.processing_time, tick.processing_time);
                assert_eq!(tick.processing_time, Timestamp((epoch.cast_signed() + 1) * 10_000));
            }
            let mut expected = first.watermarks.clone();
            expected[0].start(&[0], Timestamp(1_000_000));
            assert_eq!((second.watermarks.clone(), second.ends.clone()), (expected, first.ends.clone()));
            assert!(matches!(second.maybe_seal(99, &[]), Ok(None)));
        }
    }

    #[test]
    fn an_epoch_names_the_versions_of_the_next_one_and_a_run_that_repeats_it_names_them_again() {
        let begin_with = |version| {
            let LogEntry::Start(start) = start(0) else { unreachable!("it is a start") };
            LogEntry::Start(Start { versions: vec![version], ..start })
        };
        let versions = |sealed: Result<Option<Sealed>, Divergence>| match sealed.expect("nothing differs").expect("complete") {
            Sealed::New(record) | Sealed::Repeated(record) => record,
        };
        let cut = |sequence: &mut Sequence, epoch: i64, newest: Version| {
            sequence.advance_report(epoch.cast_unsigned(), Report::Pending);
            let now = Timestamp((epoch + 1) * 10_000);
            let cut =
                sequence.maybe_cut(now, 0, 0).or_else(|_| sequence.maybe_cut(now, epoch.cast_unsigned(), epoch.cast_unsigned()));
            cut.expect("old enough");
            sequence.advance_report(epoch.cast_unsigned(), report(epoch, epoch + 1, 0, Progress::Behind(7)));
            versions(sequence.maybe_seal(epoch.cast_unsigned() + 1, &[newest]))
        };
        // The first of two starts before the first epoch came to nothing.
        let mut log = vec![begin_with(3), begin_with(4)];
        assert_eq!(First::after(None, &log, 1).versions, [4]);
        let mut first = begun(Begin { repeat: log.clone(), ..Begin::default() });
        for (epoch, newest, named) in [(0, 4, 4), (1, 6, 6), (2, 5, 6)] {
            let record = cut(&mut first, epoch, newest);
            assert_eq!(record.seal.versions, [named], "none goes back");
            log.push(LogEntry::Epoch(record));
        }
        log.push(begin_with(9));
        let mut second = begun(Begin { repeat: log, ..Begin::default() });
        for (epoch, named) in [(0, 4), (1, 6), (2, 6), (3, 9)] {
            assert_eq!(cut(&mut second, epoch, 9).seal.versions, [named], "epoch {epoch}");
        }
    }

    #[test]
    fn a_run_that_had_to_repeat_takes_the_checkpoint_that_was_due_before_it() {
        let mut first = begun(Begin { repeat: vec![start(0)], ..Begin::default() });
        let mut taken = None;
        let mut log = Vec::new();
        for number in 0..9 {
            let record = step(&mut first, (number + 1) * 10_000, number);
            taken = taken.or(first.maybe_checkpoint(record.epoch + 1));
            log.push(LogEntry::Epoch(record));
        }
        let checkpoint = taken.expect("the interval has passed");
        let after = usize::try_from(checkpoint.epoch).expect("small") + 1;
        let (kept, time) = (checkpoint.epoch, checkpoint.seal.processing_time.0);
        for (repeated, is_due) in [(2, true), (0, false)] {
            let mut repeat = log[after..after + repeated].to_vec();
            let now = time + 21_000;
            repeat.push(start(now));
            let begin = Begin { checkpoint: Some(checkpoint.clone()), repeat, ..Begin::default() };
            let mut second =
                Sequence::new(Pace::default(), &[LATENESS], Some(Duration::from_micros(20_000)), begin, Timestamp(now));
            for _ in 0..repeated {
                let epoch = second.open;
                second.maybe_cut(Timestamp(now), epoch, epoch).expect("repeated at once");
                second.advance_report(epoch, report(epoch.cast_signed(), epoch.cast_signed() + 1, 0, Progress::Behind(7)));
                seal(&mut second, epoch + 1).expect("complete");
            }
            assert_eq!(second.open, kept + 1 + repeated as u64);
            let offset = second.open.cast_signed();
            assert_eq!(step(&mut second, now + 5_000, offset).seal.checkpoint, is_due, "after {repeated} epochs");
        }
    }

    #[test]
    fn a_source_that_brings_something_else_the_second_time_is_noticed() {
        let mut first = sequence();
        let log = vec![start(0), LogEntry::Epoch(step(&mut first, 10_000, 0)), start(20_000)];
        let mut second = begun(Begin { repeat: log, ..Begin::default() });
        second.maybe_cut(Timestamp(30_000), 0, 0).expect("repeated at once");
        second.advance_report(0, report(0, 2, 500, Progress::AtEnd));
        let Divergence(said) = second.maybe_seal(1, &[]).expect_err("one record more");
        assert!(said.contains("offsets 0 to 1") && said.contains("offsets 0 to 2"), "{said}");
    }

    #[test]
    fn a_run_ends_with_a_checkpoint_of_its_last_epoch() {
        let mut sequence = begun(Begin { repeat: vec![start(0)], ..Begin::default() });
        sequence.advance_report(0, Report::Stop);
        let record = step(&mut sequence, 5_000, 0);
        assert!(record.seal.checkpoint, "of epoch 1");
        assert!(sequence.maybe_cut(Timestamp(5_001), 1, 1).expect("at once").last);
        assert_eq!(seal(&mut sequence, 2).expect("complete").epoch, 1);
        assert!(sequence.maybe_checkpoint(1).is_none() && !sequence.is_done());
        assert_eq!(sequence.maybe_checkpoint(2).expect("kept").epoch, 1);
        assert!(sequence.is_done());
    }
}
