//! Writes what a run does into its [`Stats`](crate::stats::Stats).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_dataflows::changes::Side;
use freshet_dataflows::epochs::{Cut, EpochRecord};
use freshet_dataflows::plan::Input;
use freshet_model::{Commit, DeadLetter, Progress, Timestamp};

use super::{Shared, connect};
use crate::stats::SinkStats;

/// How often a view's newest rows are put on show.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// So many rows of a commit are shown.
const SHOWN_ROWS: usize = 3;

/// Takes down an epoch of all sources; `lag` holds the records waiting in each partition that has been heard of.
pub(super) fn epoch(record: &EpochRecord, lag: &mut std::collections::BTreeMap<(usize, i32), u64>, shared: &Shared) {
    let stats = &shared.stats;
    stats.epoch.store(record.epoch, Ordering::Relaxed);
    for cut in &record.cuts {
        source(cut, shared);
        let waiting = if let Progress::Behind(records) = cut.progress { records } else { 0 };
        lag.insert((cut.source, cut.partition), waiting);
    }
    for (index, source) in stats.sources.iter().enumerate() {
        source.watermark.store(record.seal.watermarks[index].0, Ordering::Relaxed);
        let waiting = lag.range((index, i32::MIN)..=(index, i32::MAX)).map(|(_, waiting)| waiting).sum();
        source.lag.store(waiting, Ordering::Relaxed);
    }
}

fn source(cut: &Cut, shared: &Shared) {
    let source = &shared.stats.sources[cut.source];
    add(&source.records, cut.rows + cut.dead_letters);
    add(&source.bytes, cut.bytes);
    add(&source.dead_letters, cut.dead_letters);
    if let Some(time) = cut.max_event_time {
        source.max_event_time.fetch_max(time.0, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Takes down where records went.
pub(super) fn count(sides: &[Side], shared: &Shared) {
    for side in sides {
        if let Side::LeftOut(left_out) = side {
            let stream = shared.stats.stream(left_out.stream);
            add(&stream.duplicates, left_out.repeats);
            add(&stream.late, left_out.late);
            add(&stream.unmatched, left_out.unmatched);
        }
        if let Side::Counted(counts) = side {
            let view = shared.stats.view(counts.view);
            add(&view.counted, counts.counted);
            add(&view.filtered, counts.filtered);
            add(&view.late, counts.late);
        }
    }
}

/// The numbers of one table sink.
pub(super) struct SinkNumbers {
    /// Index among the sinks that are shown, if it is one of them.
    sink: Option<usize>,
    tables: Vec<Input>,
    shown: Instant,
    shared: Arc<Shared>,
}

impl SinkNumbers {
    pub(super) fn new(table: &connect::Table, shared: Arc<Shared>) -> SinkNumbers {
        let (sink, tables) = (table.stats, table.tables.clone());
        SinkNumbers { sink, tables, shown: Instant::now(), shared }
    }

    /// Takes down a commit, how long it took, and how fresh it was.
    pub(super) fn committed(&mut self, commit: &Commit, refused: &[DeadLetter], took: Duration, newest: &[Timestamp]) {
        let show = self.shown.elapsed() >= SHOW_INTERVAL;
        let mut rows = 0;
        for changes in &commit.views {
            rows += changes.upserts.num_rows() + changes.deletes.num_rows();
            let Input::View(view) = self.tables[changes.view] else { continue };
            let view = self.shared.stats.view(view);
            add(&view.upserts, changes.upserts.num_rows() as u64);
            add(&view.deletes, changes.deletes.num_rows() as u64);
            if show {
                view.show(last_rows(&changes.upserts));
            }
        }
        if show {
            self.shown = Instant::now();
        }
        let Some(sink) = self.stats() else { return };
        sink.epoch.store(commit.epoch, Ordering::Relaxed);
        add(&sink.commits, 1);
        add(&sink.rows, rows as u64);
        add(&sink.refused, refused.len() as u64);
        sink.commit.observe(took);
        let now = Timestamp::now();
        // A place for rejects shows no event.
        for time in newest.iter().filter(|_| !self.tables.is_empty()) {
            sink.freshness.observe(Duration::from_micros(u64::try_from(now.0.saturating_sub(time.0)).unwrap_or_default()));
        }
    }

    fn stats(&self) -> Option<&SinkStats> {
        self.sink.map(|sink| &self.shared.stats.sinks[sink])
    }
}

/// Writes the last rows of a batch for people.
fn last_rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let Ok(columns) =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>()
    else {
        return Vec::new();
    };
    let first = batch.num_rows().saturating_sub(SHOWN_ROWS);
    let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("  ");
    (first..batch.num_rows()).map(row).collect()
}
