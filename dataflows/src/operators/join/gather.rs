//! Gathers rows of one side of a join for the workers that keep their keys: filters them, takes out what is late, and packs the columns that are needed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion_common::Result;
use freshet_model::{Batch, LateEvent, Timestamp};

use super::super::part::{Part, json};
use super::super::partial::Sum;
use super::packing::Packing;
use super::{Bundle, place};
use crate::changes::{Counts, Side};
use crate::keys::{KeyCodec, worker_of};
use crate::plan::JoinSide;
use crate::state::{JoinRow, JoinRule};

/// What gathering the rows of a side needs to know, fixed for the run.
pub struct Gathering {
    /// Index of the view.
    pub view: usize,
    /// The name under which people know it.
    pub name: String,
    /// The side: 0 is left, 1 is right.
    pub number: usize,
    /// Name of the source or view that is read.
    pub input: String,
    /// The side's filter, keys, time and columns.
    pub side: JoinSide,
    /// What becomes of the rows.
    pub rule: JoinRule,
    /// Packs keys: of the types of either side's, which are the same.
    pub codec: KeyCodec,
    /// Packs the columns.
    pub packing: Packing,
    /// The number of workers.
    pub peers: usize,
}

/// The rows of one epoch.
pub struct Gather {
    gathering: Arc<Gathering>,
    /// For each worker, the rows whose keys it keeps.
    bundles: Vec<Bundle>,
    counts: Counts,
    sides: Vec<Side>,
    /// Whether what is read are records, which are accounted for, and not another view's rows.
    accounts: bool,
}

/// What a side needs of a batch.
struct Evaluated {
    /// The rows that pass the filter; all if there is none.
    rows: Option<BooleanArray>,
    keys: Vec<ArrayRef>,
    time: Option<ArrayRef>,
    columns: Vec<ArrayRef>,
}

/// What becomes of a row.
enum Fate {
    /// It takes part at this time.
    Joins(i64),
    /// It can have no partner, since a key or its time is NULL, and shows by itself.
    Lone(i64),
    /// The conditions leave it out, and so does a key that is NULL where only pairs are shown.
    LeftOut,
    /// It came too late for a partner that is not late.
    Late(i64),
}

impl Gather {
    /// Begins with nothing.
    #[must_use]
    pub fn new(gathering: Arc<Gathering>) -> Gather {
        let counts = Counts { view: gathering.view, ..Counts::default() };
        let bundles = (0..gathering.peers as u64).map(|to| Bundle { to, ..Bundle::default() }).collect();
        Gather { gathering, bundles, counts, sides: Vec::new(), accounts: false }
    }

    fn take_part(&mut self, part: &Part<'_>) {
        let gathering = Arc::clone(&self.gathering);
        match gathering.evaluate(&part.columns) {
            Ok(evaluated) => self.take_evaluated(&gathering, part, &evaluated),
            Err(error) if part.offsets.len() <= 1 => {
                self.counts.failed += 1;
                self.sides.push(Side::Dead(Box::new(part.dead_letter(&gathering.name, &error.to_string()))));
            }
            // Some row has no value: halve the batch until it stands alone.
            Err(_) => {
                let (left, right) = part.halves();
                self.take_part(&left);
                self.take_part(&right);
            }
        }
    }

    fn take_evaluated(&mut self, gathering: &Gathering, part: &Part<'_>, evaluated: &Evaluated) {
        let (keys, packed) = (gathering.codec.pack(&evaluated.keys), gathering.packing.pack(&evaluated.columns));
        let times = evaluated.time.as_ref().map(|time| time.as_primitive::<TimestampMicrosecondType>());
        for row in 0..part.offsets.len() {
            let (time, lone) =
                match gathering.fate(part, evaluated, times.map(|times| times.is_valid(row).then(|| times.value(row))), row) {
                    Fate::Joins(time) => (time, false),
                    Fate::Lone(time) => (time, true),
                    Fate::LeftOut => {
                        self.counts.filtered += 1;
                        continue;
                    }
                    Fate::Late(time) => {
                        self.counts.late += 1;
                        self.sides.push(Side::Late(Box::new(gathering.late(part, row, time))));
                        continue;
                    }
                };
            self.counts.counted += 1;
            let hash = keys.hash(row);
            let Bundle { bytes, rows, .. } = &mut self.bundles[worker_of(hash, gathering.peers) as usize];
            let weight = part.weights.map_or(1, |weights| weights[row]);
            place::write(&keys, (row, hash), gathering.number, &JoinRow { time, lone, row: packed.row(row), weight }, bytes);
            rows.push((bytes.len(), weight));
        }
    }
}

impl Sum for Gather {
    type Out = Bundle;

    fn take(&mut self, batch: &Batch, watermark: Timestamp) {
        self.accounts = true;
        let (columns, partition) = (batch.columns.clone(), batch.partition);
        self.take_part(&Part { columns, offsets: &batch.offsets, weights: None, partition, watermark });
    }

    fn take_changes(&mut self, columns: RecordBatch, weights: &[i64]) {
        let offsets = vec![-1; weights.len()];
        self.take_part(&Part { columns, offsets: &offsets, weights: Some(weights), partition: -1, watermark: Timestamp::MIN });
    }

    fn finish(mut self) -> (impl Iterator<Item = Bundle>, Vec<Side>) {
        self.sides.extend(self.accounts.then_some(Side::Counted(self.counts)));
        (self.bundles.into_iter().filter(|bundle| !bundle.rows.is_empty()), self.sides)
    }
}

impl Gathering {
    fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        let JoinSide { filter, keys, time, columns, .. } = &self.side;
        Ok(Evaluated {
            rows: filter.as_ref().map(|filter| filter.condition(batch)).transpose()?.flatten(),
            keys: keys.iter().map(|key| key.evaluate(batch)).collect::<Result<_>>()?,
            time: time.as_ref().map(|time| time.evaluate(batch)).transpose()?,
            columns: columns.iter().map(|column| column.evaluate(batch)).collect::<Result<_>>()?,
        })
    }

    /// Decides what becomes of a row; `time` is its time, if the side has one, and NULL if that is.
    fn fate(&self, part: &Part<'_>, evaluated: &Evaluated, time: Option<Option<i64>>, row: usize) -> Fate {
        if evaluated.rows.as_ref().is_some_and(|rows| !rows.value(row)) {
            return Fate::LeftOut;
        }
        let is_record = part.weights.is_none();
        if let (Some(Some(time)), Some(end), true) = (time, self.end_of(time.flatten()), is_record)
            && end <= part.watermark
        {
            return Fate::Late(time);
        }
        // A time of NULL is after all others: such a row is never settled.
        let (at, has_time) = time.map_or((0, true), |time| (time.unwrap_or(i64::MAX), time.is_some()));
        match has_time && evaluated.keys.iter().all(|key| key.is_valid(row)) {
            true => Fate::Joins(at),
            false if self.rule.kind.shows(self.number) == Some(false) => Fate::Lone(at),
            false => Fate::LeftOut,
        }
    }

    /// Returns when a record of this time is late, where records can be.
    fn end_of(&self, time: Option<i64>) -> Option<Timestamp> {
        Some(Timestamp(time?.saturating_add(self.rule.reach?[self.number])))
    }

    fn late(&self, part: &Part<'_>, row: usize, time: i64) -> LateEvent {
        LateEvent {
            view: self.name.clone(),
            source: self.input.clone(),
            partition: part.partition,
            offset: part.offsets[row],
            window_start: Timestamp(time),
            window_end: self.end_of(Some(time)).unwrap_or(Timestamp::MAX),
            event_time: Timestamp(time),
            watermark: part.watermark,
            event: json(&part.columns, row),
        }
    }
}
