//! Gathers the epochs that wait for a table sink into one commit: of a key's many changes only the last is written.

use freshet_model::{Commit, Epoch, Rejects, Timestamp, ViewChanges};
use hashbrown::HashMap;

use crate::appending::Appending;
use crate::changes::{Delta, Side};
use crate::epochs::Seal;
use crate::keys::RowCodec;
use crate::ledger::Ledger;
use crate::operators::drain::SinkEpoch;
use crate::plan::{Input, Plan, View};

/// The epochs of one table sink that have not been committed.
pub struct Coalescer {
    tables: Vec<Table>,
    ledger: Ledger,
    newest: Option<(Epoch, Seal)>,
    rejects: Vec<Rejects>,
}

/// One view's part.
enum Table {
    /// Rows that change.
    Changing(Changing),
    /// Rows that are appended.
    Appending(Appending),
}

/// A view whose rows change.
struct Changing {
    view: usize,
    key_codec: RowCodec,
    row_codec: RowCodec,
    trusts_key: bool,
    /// The row that each changed key has now, or `None` if it has none any more, since which epoch.
    changed: HashMap<Vec<u8>, (Epoch, Option<Vec<u8>>)>,
}

impl Coalescer {
    /// Begins with nothing, for a sink of these tables of a plan.
    #[must_use]
    pub fn new(plan: &Plan, tables: &[Input]) -> Coalescer {
        let table = |&input: &Input| match input {
            Input::View(view) if !plan.is_append_only(input) => Table::Changing(Changing::new(view, &plan.views[view])),
            _ => Table::Appending(Appending::new(&plan.table(input))),
        };
        let tables = tables.iter().map(table).collect();
        Coalescer { tables, ledger: Ledger::new(plan), newest: None, rejects: Vec::new() }
    }

    /// Takes in the next epoch.
    pub fn take(&mut self, epoch: SinkEpoch) {
        let mut rejects =
            Rejects { epoch: epoch.epoch, processing_time: epoch.seal.processing_time, late: Vec::new(), dead: Vec::new() };
        self.newest = Some((epoch.epoch, epoch.seal));
        // What is gone first: a row that replaces another of the same key must be left standing.
        let (now, gone) = match epoch.deltas.iter().any(|delta| delta.diff < 0) {
            true => epoch.deltas.into_iter().partition(|delta| delta.diff > 0),
            false => (epoch.deltas, Vec::new()),
        };
        for delta in gone.into_iter().chain(now) {
            let mut changing = self.tables.iter_mut().filter_map(Table::changing);
            if let Some(table) = changing.find(|table| table.view == delta.view) {
                table.take(epoch.epoch, delta);
            }
        }
        let mut appended = epoch.appended;
        appended.sort_by_key(|part| (part.rows.partition, part.rows.offsets.first().copied()));
        for part in appended {
            if let Table::Appending(table) = &mut self.tables[part.table] {
                table.take(part.rows);
            }
        }
        for side in epoch.sides {
            match side {
                Side::Read { source, records, dead_letters } => self.ledger.advance_source(source, records, dead_letters),
                Side::Counted(counts) => self.ledger.advance_view(&counts),
                Side::LeftOut(left_out) => self.ledger.advance_stream(&left_out),
                Side::Late(late) => rejects.late.push(*late),
                Side::Dead(dead) => rejects.dead.push(*dead),
            }
        }
        rejects.late.sort_unstable();
        rejects.dead.sort_unstable();
        if !(rejects.late.is_empty() && rejects.dead.is_empty()) {
            self.rejects.push(rejects);
        }
    }

    /// Returns the commit of all epochs taken since the last one; `None` if there were none.
    pub fn commit(&mut self) -> Option<Commit> {
        let (epoch, seal) = self.newest.take()?;
        Some(Commit {
            epoch,
            watermark: seal.watermarks.iter().copied().min().unwrap_or(Timestamp::MIN),
            processing_time: seal.processing_time,
            views: self.tables.iter_mut().enumerate().filter_map(|(index, table)| table.commit(index)).collect(),
            rejects: std::mem::take(&mut self.rejects),
            ledger: self.ledger.take_rows(),
        })
    }
}

impl Table {
    fn changing(&mut self) -> Option<&mut Changing> {
        if let Table::Changing(table) = self { Some(table) } else { None }
    }

    fn commit(&mut self, index: usize) -> Option<ViewChanges> {
        match self {
            Table::Changing(table) => table.commit(index),
            Table::Appending(table) => table.commit(index),
        }
    }
}

impl Changing {
    fn new(index: usize, view: &View) -> Changing {
        let View { table, trusts_key, .. } = view;
        let (key_codec, row_codec) = (RowCodec::new(table.key_arrow()), RowCodec::new(table.arrow()));
        Changing { view: index, key_codec, row_codec, trusts_key: *trusts_key, changed: HashMap::new() }
    }

    /// Takes in a change of an epoch, of which those come first that take rows away.
    fn take(&mut self, epoch: Epoch, delta: Delta) {
        let row = (delta.diff > 0).then_some(delta.row);
        let (since, known) = self.changed.entry(delta.key).or_default();
        // Of rows that have the same key nonetheless the greatest stands, whichever came first.
        if !(self.trusts_key && *since == epoch && *known > row) {
            (*since, *known) = (epoch, row);
        }
    }

    fn commit(&mut self, index: usize) -> Option<ViewChanges> {
        if self.changed.is_empty() {
            return None;
        }
        let changed: Vec<_> = self.changed.drain().collect();
        // By the keys' first bytes where these differ: a key is too far away to be asked each time.
        let start = |key: &[u8]| (0..8).fold(0, |start, at| start << 8 | u64::from(key.get(at).copied().unwrap_or_default()));
        let mut order: Vec<_> = changed.iter().enumerate().map(|(at, (key, _))| (start(key), at)).collect();
        order.sort_unstable_by(|one, other| one.0.cmp(&other.0).then_with(|| changed[one.1].0.cmp(&changed[other.1].0)));
        let changed = || order.iter().map(|(_, at)| &changed[*at]);
        let upserts = self.row_codec.unpack(changed().filter_map(|(_, (_, row))| row.as_deref()));
        let deletes = self.key_codec.unpack(changed().filter(|(_, (_, row))| row.is_none()).map(|(key, _)| key.as_slice()));
        Some(ViewChanges { view: index, upserts, deletes })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use freshet_model::{Column, LedgerRow};

    use super::*;
    use crate::changes::Counts;
    use crate::plan::{Emit, LatePolicy, SourcePlan};
    use crate::sql::{ViewDefinition, plan};

    fn coalescer() -> Coalescer {
        let column = |name: &str, kind: &str| Column { name: name.to_owned(), column_type: kind.parse().expect("a type") };
        let columns = vec![column("time", "timestamp"), column("page", "text")];
        let source = SourcePlan { name: "events".to_owned(), columns, time_column: Some(0), derived: None };
        let sql = "SELECT page, count(*) AS hits FROM events GROUP BY page".to_owned();
        let view = ViewDefinition { name: "pages".to_owned(), sql, key: Vec::new(), emit: Emit::Changes, late: LatePolicy::Keep };
        Coalescer::new(&plan(&[source], &[view]).expect("the view can be planned"), &[Input::View(0)])
    }

    fn epoch(epoch: Epoch, records: u64) -> SinkEpoch {
        let seal = Seal {
            watermarks: vec![Timestamp(0)],
            versions: Vec::new(),
            processing_time: Timestamp(0),
            newest: None,
            checkpoint: false,
        };
        let counted = Side::Counted(Counts { view: 0, counted: records - 1, ..Counts::default() });
        SinkEpoch {
            epoch,
            seal,
            deltas: Vec::new(),
            appended: Vec::new(),
            sides: vec![Side::Read { source: 0, records, dead_letters: 1 }, counted],
        }
    }

    #[test]
    fn a_commit_has_the_accounts_of_its_own_epochs_alone() {
        let mut coalescer = coalescer();
        let row = |read, counted, dead_letters| LedgerRow {
            view: "pages".to_owned(),
            read,
            counted,
            filtered: 0,
            late: 0,
            dead_letters,
        };
        coalescer.take(epoch(3, 10));
        coalescer.take(epoch(4, 5));
        let first = coalescer.commit().expect("epochs were taken");
        assert_eq!((first.epoch, first.ledger), (4, vec![row(15, 13, 2)]));
        assert!(coalescer.commit().is_none());
        coalescer.take(epoch(5, 7));
        assert_eq!(coalescer.commit().expect("an epoch was taken").ledger, vec![row(7, 6, 1)]);
    }

    #[test]
    fn of_rows_with_one_key_the_greatest_of_the_newest_epoch_stands_whichever_came_first() {
        let mut coalescer = coalescer();
        let Table::Changing(table) = &mut coalescer.tables[0] else { panic!("its rows change") };
        table.trusts_key = true;
        let columns =
            |hits: i64| -> [ArrayRef; 2] { [Arc::new(StringArray::from(vec!["/cart"])), Arc::new(Int64Array::from(vec![hits]))] };
        let key = table.key_codec.pack(&columns(0)[..1]).row(0).to_vec();
        let rows = [1, 2, 3].map(|hits| table.row_codec.pack(&columns(hits)).row(0).to_vec());
        let delta = |hits: usize, diff| Delta { view: 0, key: key.clone(), row: rows[hits - 1].clone(), diff };
        let epochs = [
            (vec![delta(2, 1), delta(3, 1), delta(1, 1)], 3),
            (vec![delta(2, 1), delta(1, 1), delta(3, -1)], 2),
            (vec![delta(1, 1)], 1),
        ];
        for (number, (deltas, stands)) in (7..).zip(epochs) {
            coalescer.take(SinkEpoch { deltas, ..epoch(number, 1) });
            let Table::Changing(table) = &coalescer.tables[0] else { panic!("its rows change") };
            assert_eq!(table.changed[&key].1.as_ref(), Some(&rows[stands - 1]), "epoch {number}");
        }
    }
}
