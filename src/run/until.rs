//! A reader that ends where another run stood: what lies behind is not its affair.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_connectors::{Error, Reader};
use freshet_model::{Batch, Offset, PartitionId, Progress, Timestamp};

/// Reads each of its partitions up to an offset, and says then that it is finished.
pub(super) struct Until {
    pub(super) inner: Box<dyn Reader>,
    /// For each partition that is not finished, the first offset that is not to be read.
    pub(super) ends: BTreeMap<PartitionId, Offset>,
    pub(super) time_column: Option<usize>,
}

impl Reader for Until {
    fn set_now(&mut self, now: Timestamp) {
        self.inner.set_now(now);
    }

    fn hold(&mut self, partition: PartitionId, held: bool) -> Result<(), Error> {
        if self.ends.contains_key(&partition) { self.inner.hold(partition, held) } else { Ok(()) }
    }

    fn read(&mut self, max_records: usize, wait: Duration, out: &mut Vec<Batch>) -> Result<(), Error> {
        let first = out.len();
        self.inner.read(max_records, wait, out)?;
        for mut batch in out.split_off(first) {
            let Some(&end) = self.ends.get(&batch.partition) else { continue };
            if batch.range.end >= end {
                drop(batch.split_off(end, self.time_column));
                batch.progress = Progress::Finished;
                self.ends.remove(&batch.partition);
                self.inner.hold(batch.partition, true)?;
            }
            out.push(batch);
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;

    use super::*;

    /// Brings ten records of each partition at each read.
    #[derive(Default)]
    struct Endless(BTreeMap<PartitionId, Offset>, BTreeSet<PartitionId>);

    impl Reader for Endless {
        fn set_now(&mut self, _: Timestamp) {}

        fn hold(&mut self, partition: PartitionId, _: bool) -> Result<(), Error> {
            self.1.insert(partition);
            Ok(())
        }

        fn read(&mut self, _: usize, _: Duration, out: &mut Vec<Batch>) -> Result<(), Error> {
            for partition in [0, 1] {
                let start = self.0.entry(partition).or_default();
                out.push(Batch {
                    partition,
                    range: *start..*start + 10,
                    columns: RecordBatch::new_empty(Schema::empty().into()),
                    offsets: Vec::new(),
                    max_event_time: None,
                    bytes: 0,
                    dead: Vec::new(),
                    early: Vec::new(),
                    progress: Progress::Behind(1),
                });
                *start += 10;
            }
            Ok(())
        }

        fn is_finished(&self) -> bool {
            false
        }
    }

    #[test]
    fn each_partition_ends_at_its_offset_and_says_so() {
        let ends = BTreeMap::from([(0, 25), (1, 10)]);
        let mut reader = Until { inner: Box::new(Endless::default()), ends, time_column: None };
        let mut batches = Vec::new();
        for _ in 0..5 {
            reader.read(100, Duration::from_millis(1), &mut batches).expect("nothing fails");
        }
        assert!(reader.is_finished());
        let of = |partition| batches.iter().filter(move |batch: &&Batch| batch.partition == partition);
        let ranges = |partition| of(partition).map(|batch| (batch.range.start, batch.range.end)).collect::<Vec<_>>();
        assert_eq!((ranges(0), ranges(1)), (vec![(0, 10), (10, 20), (20, 25)], vec![(0, 10)]));
        for partition in [0, 1] {
            let finished: Vec<_> = of(partition).map(|batch| batch.progress == Progress::Finished).collect();
            assert_eq!(finished.iter().filter(|finished| **finished).count(), 1);
            assert_eq!(finished.last(), Some(&true), "with its last batch");
        }
    }
}
