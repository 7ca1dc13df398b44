//! The states of an operator that keeps one for each key, as the operator that writes them sees them.
//!
//! # Invariants
//! - As of every epoch the arrangement holds for each key at most one value; where it [keeps values](Keeps::Values), once.

use differential_dataflow::operators::arrange::{TraceAgent, TraceWriter};
use differential_dataflow::trace::cursor::CursorList;
use differential_dataflow::trace::{Cursor, Description, Navigable, Trace, TraceReader};
use freshet_model::Epoch;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::Antichain;

use crate::arrangement::{Key, Piece, Run, StateBatch, StateSpine};
use crate::saving::{Keeps, Restore};

/// Walks through states in the order of their keys.
pub(super) type StateCursor = CursorList<<StateBatch as Navigable>::Cursor>;

/// An arrangement of states by key.
pub(super) struct States {
    reader: TraceAgent<StateSpine>,
    writer: TraceWriter<StateSpine>,
    keeps: Keeps,
}

impl States {
    /// Begins with nothing, for an operator.
    pub(super) fn new(scope: Scope<'_, Epoch>, info: OperatorInfo, keeps: Keeps) -> States {
        let activator = scope.activator_for(info.address.clone());
        let (reader, writer) = TraceAgent::new(StateSpine::new(info.clone(), None, Some(activator)), info, None);
        States { reader, writer, keeps }
    }

    /// Tells what is kept of each key.
    pub(super) fn keeps(&self) -> Keeps {
        self.keeps
    }

    /// Takes in the states that an earlier run saved, shows the key, value and count of each, and returns their number.
    pub(super) fn restore(&mut self, entries: Restore, first: Epoch, mut show: impl FnMut(&[u8], &[u8], i64)) -> i64 {
        let before = first.saturating_sub(1);
        let mut run = Run::with_capacity(before, 0, (0, 0));
        let mut keys = 0;
        for (key, saved) in entries {
            let (value, count) = self.keeps.restored(&saved);
            show(&key, value, count);
            keys += 1;
            run.push(&key, value, count);
        }
        let [lower, upper, since] = [0, first, 0].map(Antichain::from_elem);
        if let Some(batch) = run.done(Description::new(lower, upper, since)) {
            self.writer.insert(batch, Some(before));
        }
        keys
    }

    /// Returns a cursor that shows what the arrangement holds now, for as long as it is kept, and what it walks through.
    pub(super) fn cursor(&mut self) -> (StateCursor, Vec<StateBatch>) {
        self.reader.cursor()
    }

    /// Adds the updates of an epoch.
    pub(super) fn insert(&mut self, epoch: Epoch, updates: impl Into<Run>) {
        let mut upper = Antichain::new();
        self.reader.read_upper(&mut upper);
        let description = Description::new(upper, Antichain::from_elem(epoch + 1), Antichain::from_elem(0));
        if let Some(batch) = updates.into().done(description) {
            self.writer.insert(batch, Some(epoch));
        }
    }

    /// Lets the arrangement forget how it came to hold what it holds before `next`.
    pub(super) fn compact(&mut self, next: Epoch) {
        let next = Antichain::from_elem(next);
        self.writer.seal(next.clone());
        self.reader.set_logical_compaction(next.borrow());
        self.reader.set_physical_compaction(next.borrow());
        self.writer.exert();
    }
}

/// Returns the value that a cursor's key has now, and how often.
pub(super) fn current<'a>(cursor: &mut StateCursor, storage: &'a Vec<StateBatch>) -> Option<(&'a [u8], i64)> {
    while let Some(Piece(value)) = cursor.get_val(storage) {
        let mut count = 0;
        cursor.map_times(storage, |_, diff| count += diff);
        if count != 0 {
            return Some((value, count));
        }
        cursor.step_val(storage);
    }
    None
}

/// Returns the value of a key, looking for it from where the cursor stands.
pub(super) fn find<'a>(cursor: &mut StateCursor, storage: &'a Vec<StateBatch>, key: &[u8]) -> Option<&'a [u8]> {
    let key = Key::new(key);
    cursor.seek_key(storage, key);
    let (value, _) = if cursor.get_key(storage) == Some(key) { current(cursor, storage)? } else { return None };
    Some(value)
}
