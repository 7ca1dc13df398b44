//! The epochs that an earlier run has cut and this one reads again.
//!
//! # Invariants
//! - A planned epoch takes exactly what it took when it was cut; what comes beyond its end waits for a later one.
//! - The parts of a partition leave in the order in which they were read.

use std::collections::{BTreeMap, VecDeque};

use freshet_model::{Batch, Epoch, Offset, PartitionId, Progress};

/// For each epoch that is to be read again, where it ends in each partition that it has something of.
pub type Plan = VecDeque<(Epoch, BTreeMap<PartitionId, Offset>)>;

/// How far the epochs that are to be read again have come.
pub(super) struct Planned {
    epochs: Plan,
    time_column: Option<usize>,
    /// What was read beyond the planned end of the epoch in which it came.
    ahead: BTreeMap<PartitionId, VecDeque<Batch>>,
    /// Where each partition stands, and what its reader said of it last.
    stands: BTreeMap<PartitionId, (Offset, Progress)>,
}

impl Planned {
    pub(super) fn new(epochs: Plan, time_column: Option<usize>) -> Planned {
        Planned { epochs, time_column, ahead: BTreeMap::new(), stands: BTreeMap::new() }
    }

    /// Tells whether an epoch is one of those.
    pub(super) fn has(&self, epoch: Epoch) -> bool {
        self.epochs.front().is_some_and(|(front, _)| *front == epoch)
    }

    /// Returns the next part of the open epoch, of what was read ahead or else of what `read` brings.
    pub(super) fn next(&mut self, read: &mut dyn FnMut() -> Option<Batch>) -> Option<Batch> {
        while !self.is_complete() {
            let batch = match self.next_ahead() {
                Some(batch) => batch,
                None => {
                    let batch = read()?;
                    // What came before it goes before it.
                    match self.ahead.get_mut(&batch.partition) {
                        Some(ahead) if !ahead.is_empty() => {
                            ahead.push_back(batch);
                            continue;
                        }
                        _ => batch,
                    }
                }
            };
            if let Some(part) = self.take(batch) {
                return Some(part);
            }
        }
        None
    }

    /// Returns the part of a batch that belongs to the open epoch, and keeps the rest for later.
    fn take(&mut self, mut batch: Batch) -> Option<Batch> {
        let partition = batch.partition;
        let end = self.epochs.front().and_then(|(_, ends)| ends.get(&partition).copied()).unwrap_or(batch.range.start);
        if batch.range.end > end {
            let rest = batch.split_off(end, self.time_column);
            self.ahead.entry(partition).or_default().push_front(rest);
        }
        let began = !self.stands.contains_key(&partition);
        self.stands.insert(partition, (batch.range.end, batch.progress));
        (began || batch.range.end > batch.range.start).then_some(batch)
    }

    /// Tells whether a partition is to be read further in the open epoch.
    fn wants(&self, partition: PartitionId) -> bool {
        let end = self.epochs.front().and_then(|(_, ends)| ends.get(&partition));
        let stands = self.stands.get(&partition).map(|(offset, _)| offset);
        end.is_some_and(|end| stands.is_none_or(|stands| stands < end))
    }

    /// Tells whether the open epoch has all that it took when it was cut.
    pub(super) fn is_complete(&self) -> bool {
        self.epochs.front().is_none_or(|(_, ends)| ends.keys().all(|partition| !self.wants(*partition)))
    }

    /// Returns a batch that was read ahead, if the open epoch wants it.
    fn next_ahead(&mut self) -> Option<Batch> {
        let wanted: Vec<_> = self.ahead.keys().copied().filter(|&partition| self.wants(partition)).collect();
        wanted.into_iter().find_map(|partition| self.ahead.get_mut(&partition).and_then(VecDeque::pop_front))
    }

    /// Returns all that was read ahead, one after the other, once nothing is planned any more.
    pub(super) fn release(&mut self) -> Option<Batch> {
        let mut entry = self.ahead.first_entry()?;
        let batch = entry.get_mut().pop_front();
        if entry.get().is_empty() {
            entry.remove();
        }
        batch.or_else(|| self.release())
    }

    /// Goes on to the next epoch, after one of those.
    pub(super) fn advance(&mut self) {
        self.epochs.pop_front();
    }

    /// Returns where partitions stand, once, when nothing is planned any more. What readers said of partitions in planned epochs has not reached
    /// the sequencer, which goes by the log there.
    pub(super) fn stands(&mut self) -> Vec<(PartitionId, Offset, Progress)> {
        if !self.epochs.is_empty() {
            return Vec::new();
        }
        let stands = std::mem::take(&mut self.stands).into_iter();
        let waiting = |partition| self.ahead.get(&partition).into_iter().flatten().map(|batch| batch.offsets.len() as u64).sum();
        let told = |partition, progress| match waiting(partition) {
            0 => progress,
            waiting => Progress::Behind(waiting),
        };
        stands.map(|(partition, (offset, progress))| (partition, offset, told(partition, progress))).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    fn batch(partition: PartitionId, start: Offset, end: Offset) -> Batch {
        let column: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(start..end));
        Batch {
            partition,
            range: start..end,
            columns: RecordBatch::try_from_iter([("n", column)]).expect("one column"),
            offsets: (start..end).collect(),
            max_event_time: None,
            bytes: 10,
            dead: Vec::new(),
            early: Vec::new(),
            progress: Progress::Behind(1),
        }
    }

    fn plan(ends: &[&[(PartitionId, Offset)]]) -> Planned {
        Planned::new((0..).zip(ends.iter().map(|ends| ends.iter().copied().collect())).collect(), None)
    }

    /// Returns the ranges that the open epoch takes of what is read, and begins the next one.
    fn fill(planned: &mut Planned, read: &mut std::vec::IntoIter<Batch>) -> Vec<(PartitionId, Offset, Offset)> {
        let parts = std::iter::from_fn(|| planned.next(&mut || read.next()));
        let ranges = parts.map(|part| (part.partition, part.range.start, part.range.end)).collect();
        if planned.is_complete() {
            planned.advance();
        }
        ranges
    }

    #[test]
    fn each_epoch_takes_what_it_took_and_the_rest_waits_in_its_order() {
        let mut planned = plan(&[&[(0, 3), (1, 2)], &[(0, 5)], &[(0, 6), (1, 4)]]);
        let mut read = vec![batch(0, 0, 4), batch(0, 4, 10), batch(1, 0, 2), batch(1, 2, 5)].into_iter();
        assert_eq!(fill(&mut planned, &mut read), [(0, 0, 3), (1, 0, 2)]);
        assert_eq!(planned.stands(), [], "something is planned");
        assert_eq!(fill(&mut planned, &mut read), [(0, 3, 4), (0, 4, 5)]);
        assert_eq!(fill(&mut planned, &mut read), [(0, 5, 6), (1, 2, 4)]);
        assert!(!planned.has(3) && planned.is_complete());
        assert_eq!(planned.stands(), [(0, 6, Progress::Behind(4)), (1, 4, Progress::Behind(1))]);
        let rest = std::iter::from_fn(|| planned.release()).map(|batch| (batch.partition, batch.range)).collect::<Vec<_>>();
        assert_eq!(rest, [(0, 6..10), (1, 4..5)]);
    }

    #[test]
    fn an_epoch_waits_for_what_has_not_come_yet() {
        let mut planned = plan(&[&[(0, 3)]]);
        assert_eq!(fill(&mut planned, &mut vec![batch(0, 0, 2)].into_iter()), [(0, 0, 2)]);
        assert!(planned.has(0) && !planned.is_complete());
        assert_eq!(fill(&mut planned, &mut vec![batch(1, 0, 9), batch(0, 2, 4)].into_iter()), [(1, 0, 0), (0, 2, 3)]);
        assert!(planned.is_complete() && !planned.has(0));
    }
}
