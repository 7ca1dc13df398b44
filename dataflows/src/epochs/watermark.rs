//! How far event time has come: the watermark of a source, from what its partitions brought.
//!
//! The minimum over the partitions that are not idle, and never backwards. Other systems take the maximum, and lose what a slow
//! partition brings on catch-up.

use std::collections::BTreeMap;

use freshet_model::{PartitionId, Progress, Timestamp};
use serde::{Deserialize, Serialize};

use super::Cut;

/// What a job says of a source's watermark. In microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// How far the watermark stays behind the greatest event time.
    pub delay: i64,
    /// A partition at its end that has brought nothing for so long does not hold the watermark back.
    pub idle_timeout: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Partition {
    max_event_time: Timestamp,
    progress: Progress,
    /// When it last brought something, or when the job began.
    active: Timestamp,
}

/// The watermark of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    lateness: Lateness,
    partitions: BTreeMap<PartitionId, Partition>,
    value: Timestamp,
}

impl Watermark {
    /// Begins with no partitions.
    #[must_use]
    pub fn new(lateness: Lateness) -> Watermark {
        Watermark { lateness, partitions: BTreeMap::new(), value: Timestamp::MIN }
    }

    /// Begins a run with these partitions: nothing is known of how far each has been read, and none is idle yet, however long the
    /// job has stood still.
    pub fn start(&mut self, partitions: &[PartitionId], now: Timestamp) {
        let known = std::mem::take(&mut self.partitions);
        let time_of = |partition| known.get(partition).map_or(Timestamp::MIN, |known| known.max_event_time);
        let begun = |partition| Partition { max_event_time: time_of(partition), progress: Progress::Behind(0), active: now };
        self.partitions = partitions.iter().map(|partition| (*partition, begun(partition))).collect();
    }

    /// Tells whether a run has begun with this partition.
    #[must_use]
    pub fn knows(&self, partition: PartitionId) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// Returns the watermark.
    #[must_use]
    pub fn value(&self) -> Timestamp {
        self.value
    }

    /// Takes in what an epoch brought of a partition, at the time at which the epoch was cut.
    pub fn observe(&mut self, cut: &Cut, now: Timestamp) {
        let Some(partition) = self.partitions.get_mut(&cut.partition) else { return };
        if let Some(time) = cut.max_event_time {
            partition.max_event_time = partition.max_event_time.max(time);
        }
        if cut.end > cut.start {
            partition.active = now;
        }
        partition.progress = cut.progress;
    }

    /// Returns the watermark of the next epoch, given the time at which this one was cut.
    pub fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.value = self.value.max(self.candidate(now));
        self.value
    }

    /// Tells whether every partition has been read to the bound of a bounded run.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.partitions.values().all(|partition| partition.progress == Progress::Finished)
    }

    fn candidate(&self, now: Timestamp) -> Timestamp {
        if self.is_finished() {
            return Timestamp::MAX;
        }
        let active = self.partitions.values().filter(|partition| !self.is_idle(partition, now));
        if let Some(least) = active.map(|partition| partition.max_event_time).min() {
            return least.plus_micros(-self.lateness.delay);
        }
        // All are idle: the partition that is furthest ahead goes on with the clock, as if an event came at each instant.
        let furthest = self.partitions.values().max_by_key(|partition| partition.max_event_time);
        furthest.map_or(Timestamp::MIN, |partition| {
            let silent = now.0.saturating_sub(partition.active.0).max(0);
            partition.max_event_time.plus_micros(silent - self.lateness.delay)
        })
    }

    fn is_idle(&self, partition: &Partition, now: Timestamp) -> bool {
        match partition.progress {
            Progress::Finished => true,
            Progress::AtEnd => now.0.saturating_sub(partition.active.0) >= self.lateness.idle_timeout,
            Progress::Behind(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENESS: Lateness = Lateness { delay: 10, idle_timeout: 100 };

    fn cut(partition: PartitionId, time: Option<i64>, progress: Progress) -> Cut {
        let end = i64::from(time.is_some());
        let max_event_time = time.map(Timestamp);
        Cut { source: 0, partition, start: 0, end, rows: 0, dead_letters: 0, bytes: 0, max_event_time, progress }
    }

    fn watermark() -> Watermark {
        let mut watermark = Watermark::new(LATENESS);
        watermark.start(&[0, 1], Timestamp(0));
        watermark
    }

    #[test]
    fn a_job_that_stood_still_does_not_take_what_came_meanwhile_for_late() {
        let mut watermark = watermark();
        watermark.observe(&cut(0, Some(500), Progress::AtEnd), Timestamp(50));
        watermark.observe(&cut(1, Some(400), Progress::AtEnd), Timestamp(50));
        watermark.start(&[0, 1], Timestamp(100_000));
        assert_eq!(watermark.advance(Timestamp(100_001)), Timestamp(390));
        watermark.start(&[0, 1, 2], Timestamp(100_002));
        assert_eq!(
            watermark.advance(Timestamp(100_003)),
            Timestamp(390),
            "nothing is known of partition 2, and it does not go back"
        );
    }

    #[test]
    fn the_slowest_partition_counts_and_one_that_brought_nothing_yet_holds_all_back() {
        let mut watermark = watermark();
        watermark.observe(&cut(0, Some(500), Progress::AtEnd), Timestamp(1));
        assert_eq!(watermark.advance(Timestamp(1)), Timestamp::MIN);
        watermark.observe(&cut(1, Some(300), Progress::AtEnd), Timestamp(2));
        assert_eq!(watermark.advance(Timestamp(2)), Timestamp(290));
    }

    #[test]
    fn it_never_goes_back() {
        let mut watermark = watermark();
        watermark.observe(&cut(1, None, Progress::AtEnd), Timestamp(1));
        watermark.observe(&cut(0, Some(500), Progress::AtEnd), Timestamp(100));
        assert_eq!(watermark.advance(Timestamp(101)), Timestamp(490));
        watermark.observe(&cut(1, Some(3), Progress::Behind(9)), Timestamp(102));
        assert_eq!(watermark.advance(Timestamp(102)), Timestamp(490));
    }

    #[test]
    fn an_idle_partition_does_not_hold_it_back_until_it_speaks_again() {
        let mut watermark = watermark();
        watermark.observe(&cut(1, None, Progress::AtEnd), Timestamp(1));
        watermark.observe(&cut(0, Some(500), Progress::AtEnd), Timestamp(50));
        assert_eq!(watermark.advance(Timestamp(99)), Timestamp::MIN);
        assert_eq!(watermark.advance(Timestamp(100)), Timestamp(490));
        watermark.observe(&cut(1, Some(5), Progress::AtEnd), Timestamp(110));
        watermark.observe(&cut(0, Some(900), Progress::AtEnd), Timestamp(110));
        assert_eq!(watermark.advance(Timestamp(110)), Timestamp(490));
    }

    #[test]
    fn when_all_are_idle_it_moves_on_with_the_clock() {
        let mut watermark = watermark();
        watermark.observe(&cut(0, Some(500), Progress::AtEnd), Timestamp(50));
        watermark.observe(&cut(1, Some(400), Progress::AtEnd), Timestamp(40));
        assert_eq!(watermark.advance(Timestamp(139)), Timestamp(390));
        assert_eq!(watermark.advance(Timestamp(150)), Timestamp(590), "500 - 10 + (150 - 50)");
        assert_eq!(watermark.advance(Timestamp(1050)), Timestamp(1490));
    }

    #[test]
    fn a_bounded_run_closes_everything_at_its_end() {
        let mut watermark = watermark();
        watermark.observe(&cut(0, Some(500), Progress::Finished), Timestamp(1));
        assert_eq!(watermark.advance(Timestamp(1)), Timestamp::MIN);
        watermark.observe(&cut(1, Some(300), Progress::Behind(7)), Timestamp(2));
        assert_eq!(watermark.advance(Timestamp(2)), Timestamp(290));
        watermark.observe(&cut(1, Some(700), Progress::Finished), Timestamp(3));
        assert_eq!(watermark.advance(Timestamp(3)), Timestamp::MAX);
    }
}
