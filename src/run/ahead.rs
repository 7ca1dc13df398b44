//! Keeps a reader together while epochs of an earlier run are read again.
//!
//! A planned epoch takes of each partition exactly what it took, and a fetch brings of each what it likes: what one partition brings beyond the
//! epoch that waits for another one stays in memory until its turn comes. So the partitions that are ahead are held as soon as that
//! is too much.
//!
//! # Invariants
//! - A partition that the oldest incomplete epoch waits for is never held: the reader always has something to do.
//! - What has been read beyond that epoch is at most [`MAX_BYTES`] and what one read brings.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use freshet_dataflows::operators::planned::Plan;
use freshet_model::{Batch, Offset, PartitionId};

/// So much may have been read, over all partitions of a reader, beyond the epoch that is being filled.
const MAX_BYTES: usize = 32 << 20;

/// How far the partitions of a reader have come, epoch by epoch.
pub(super) struct Ahead {
    plan: Plan,
    limit: usize,
    partitions: BTreeMap<PartitionId, Partition>,
    held: BTreeSet<PartitionId>,
}

/// What has been read of a partition.
#[derive(Default)]
struct Partition {
    /// Where the next batch begins.
    position: Offset,
    /// The batches that end beyond the epoch that is being filled: their ends and sizes.
    beyond: VecDeque<(Offset, usize)>,
    bytes: usize,
}

impl Ahead {
    /// Begins with the first of the planned epochs.
    pub(super) fn new(plan: Plan) -> Ahead {
        Ahead { plan, limit: MAX_BYTES, partitions: BTreeMap::new(), held: BTreeSet::new() }
    }

    /// Takes note of a batch that has been read.
    pub(super) fn take(&mut self, batch: &Batch) {
        if self.plan.is_empty() {
            return;
        }
        let partition = self.partitions.entry(batch.partition).or_default();
        partition.position = batch.range.end;
        partition.beyond.push_back((batch.range.end, batch.bytes));
        partition.bytes += batch.bytes;
    }

    /// Returns the partitions that are to be held from now on, or not any more.
    pub(super) fn changes(&mut self) -> Vec<(PartitionId, bool)> {
        self.forget();
        while self
            .plan
            .front()
            .is_some_and(|(_, ends)| ends.iter().all(|(&partition, &end)| self.position(partition) >= Some(end)))
        {
            self.plan.pop_front();
            self.forget();
        }
        let Some((_, ends)) = self.plan.front() else {
            self.partitions.clear();
            return std::mem::take(&mut self.held).into_iter().map(|partition| (partition, false)).collect();
        };
        let is_wanted = |partition: &PartitionId| ends.get(partition).is_some_and(|&end| self.position(*partition) < Some(end));
        let bytes: usize = self.partitions.values().map(|partition| partition.bytes).sum();
        // Those that are held stay so until half of it has been used, lest they come and go with every batch.
        let held: BTreeSet<_> = match bytes {
            _ if bytes > self.limit => self.partitions.keys().copied().filter(|partition| !is_wanted(partition)).collect(),
            _ if bytes > self.limit / 2 => self.held.iter().copied().filter(|partition| !is_wanted(partition)).collect(),
            _ => BTreeSet::new(),
        };
        let changes = self.held.symmetric_difference(&held).map(|partition| (*partition, held.contains(partition))).collect();
        self.held = held;
        changes
    }

    fn position(&self, partition: PartitionId) -> Option<Offset> {
        self.partitions.get(&partition).map(|partition| partition.position)
    }

    /// Forgets the batches that end in the epoch that is being filled, or before it.
    fn forget(&mut self) {
        let Some((_, ends)) = self.plan.front() else { return };
        for (partition, end) in ends {
            let Some(partition) = self.partitions.get_mut(partition) else { continue };
            while let Some((_, bytes)) = partition.beyond.pop_front_if(|(to, _)| *to <= *end) {
                partition.bytes -= bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use freshet_model::{Epoch, Progress};

    use super::*;

    const RECORD_BYTES: usize = 100;
    const LIMIT: usize = 50_000;

    fn batch(partition: PartitionId, start: Offset, records: Offset) -> Batch {
        Batch {
            partition,
            range: start..start + records,
            columns: RecordBatch::new_empty(Schema::empty().into()),
            offsets: Vec::new(),
            max_event_time: None,
            bytes: records.unsigned_abs() as usize * RECORD_BYTES,
            dead: Vec::new(),
            early: Vec::new(),
            progress: Progress::Behind(1),
        }
    }

    /// Reads partitions, each so many records at a time, until the plan is done, and counts what was in memory at most, and whether all
    /// partitions may be read on.
    fn read(plan: &Plan, speeds: &BTreeMap<PartitionId, Offset>, limit: usize) -> (usize, bool) {
        let mut ahead = Ahead { limit, ..Ahead::new(plan.clone()) };
        let mut positions: BTreeMap<PartitionId, Offset> = speeds.keys().map(|&partition| (partition, 0)).collect();
        let (mut held, mut most, mut epoch) = (BTreeSet::new(), 0, 0);
        while epoch < plan.len() {
            let before = positions.clone();
            for (&partition, &speed) in speeds.iter().filter(|(partition, _)| !held.contains(*partition)) {
                let position = positions.entry(partition).or_default();
                ahead.take(&batch(partition, *position, speed));
                *position += speed;
            }
            assert_ne!(before, positions, "somebody reads");
            while plan.get(epoch).is_some_and(|(_, ends)| ends.iter().all(|(partition, end)| positions[partition] >= *end)) {
                epoch += 1;
            }
            let used = |partition: &PartitionId| plan.range(..epoch).filter_map(|(_, ends)| ends.get(partition)).max().copied();
            let kept = |(partition, position): (&PartitionId, &Offset)| position - used(partition).unwrap_or(0);
            most = most.max(positions.iter().map(kept).sum::<Offset>().unsigned_abs() as usize * RECORD_BYTES);
            for (partition, is_held) in ahead.changes() {
                assert!(if is_held { held.insert(partition) } else { held.remove(&partition) }, "told once");
            }
        }
        (most, held.is_empty())
    }

    #[test]
    fn a_partition_that_is_ahead_is_held_until_the_others_have_come() {
        // Each epoch has ten records of partition 0, which is slow, every third one some of partition 1, and none has any of partition 2.
        let ends = |epoch: Epoch| {
            let offset = Offset::try_from(epoch).expect("small") + 1;
            BTreeMap::from_iter([(0, offset * 10)].into_iter().chain(epoch.is_multiple_of(3).then_some((1, offset * 5))))
        };
        let plan: Plan = (0..500).map(|epoch| (epoch, ends(epoch))).collect();
        let speeds = BTreeMap::from([(0, 20), (1, 70), (2, 90)]);
        let a_read = speeds.values().sum::<Offset>().unsigned_abs() as usize * RECORD_BYTES;
        let (most, all_go_on) = read(&plan, &speeds, LIMIT);
        assert!(most <= LIMIT + a_read + 10 * RECORD_BYTES, "{most} bytes are more than {LIMIT} and a read of {a_read}");
        assert!(all_go_on, "nobody is held when the plan is done");
        assert!(read(&plan, &speeds, usize::MAX).0 > 3 * LIMIT, "without a limit it is much more");
    }

    #[test]
    fn without_a_plan_nobody_is_held() {
        let mut ahead = Ahead { limit: 0, ..Ahead::new(Plan::new()) };
        ahead.take(&batch(0, 0, 1000));
        assert_eq!(ahead.changes(), []);
    }
}
