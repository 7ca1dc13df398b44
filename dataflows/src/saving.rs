//! Saves the states of a fold as of one epoch, a little at each turn, while the dataflow goes on.
//!
//! The runs of an arrangement never change: a cursor that is made right after an epoch has been processed shows that epoch for as
//! long as it is kept, whatever is added behind it.

use std::ops::RangeInclusive;
use std::time::Duration;

use differential_dataflow::trace::cursor::CursorList;
use differential_dataflow::trace::{Cursor, Navigable};
use freshet_model::Epoch;
use timely::scheduling::{Activator, SyncActivator};

use crate::arrangement::{Key, Piece, StateBatch};

/// So much is looked at in one turn: a fraction of a millisecond's work.
const TURN_BYTES: usize = 256 << 10;

/// A pause before looking again whether there is room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(1);

/// What an arrangement keeps of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// A value for each.
    Values,
    /// How often each is there; its value is empty. What is saved as a value is the count.
    Counts,
}

impl Keeps {
    /// Shows what is saved of a key with this value and count.
    fn saving(self, value: &[u8], count: i64, show: impl FnOnce(&[u8])) {
        match self {
            Keeps::Values => show(value),
            Keeps::Counts => show(&count.to_be_bytes()),
        }
    }

    /// Returns the value and count of which this was saved.
    ///
    /// # Panics
    /// If it was not: checkpoints are checksummed.
    pub(crate) fn restored(self, saved: &[u8]) -> (&[u8], i64) {
        match self {
            Keeps::Values => (saved, 1),
            Keeps::Counts => (&[], i64::from_be_bytes(*saved.first_chunk().expect("invariant: a count is saved whole"))),
        }
    }
}

/// Saved states in the order of keys, without the other workers' keys.
pub type Restore = Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)>>;

/// What is to be saved of a fold on one worker.
#[derive(Debug)]
pub enum Save {
    /// These states, as of an epoch; further ones follow.
    States(Epoch, States),
    /// There are no further states of the epoch.
    End(Epoch),
}

/// Keys and values, end to end.
#[derive(Debug, Default)]
pub struct States {
    bytes: Vec<u8>,
    /// Lengths of each key and its value.
    lengths: Vec<(usize, usize)>,
}

impl States {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.lengths.push((key.len(), value.len()));
    }

    /// Returns the keys and values, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.bytes[..];
        self.lengths.iter().map(move |&(key, value)| {
            let (entry, after) = rest.split_at(key + value);
            rest = after;
            entry.split_at(key)
        })
    }
}

/// The way to the thread that saves states.
pub struct SaveOutlet {
    /// Takes what is to be saved, without waiting.
    pub send: Box<dyn FnMut(Save)>,
    /// Tells whether the thread has room for more.
    pub has_room: Box<dyn Fn() -> bool>,
    /// Returns the first epoch after the newest one whose states are durable.
    pub finished: Box<dyn Fn() -> Epoch>,
}

/// Opens the way to the thread that saves states, given the means to wake the operator.
pub type OpenSave = Box<dyn FnOnce(SyncActivator) -> SaveOutlet>;

/// Where saved states come from and go to, on one worker: plain functions, each given the index of the fold.
pub struct Stores {
    /// Opens what an earlier run saved of the keys in a range of hashes.
    pub restore: Box<dyn Fn(usize, RangeInclusive<u64>) -> Restore>,
    /// Opens the way to the thread that saves the states of a range of hashes.
    pub save: Box<dyn Fn(usize, RangeInclusive<u64>) -> OpenSave>,
}

type StateCursor = CursorList<<StateBatch as Navigable>::Cursor>;

/// Tells by a key and its value whether a state is still needed: what could be forgotten, and is not yet, need not be saved.
pub(crate) type Needed = Box<dyn Fn(&[u8], &[u8]) -> bool>;

/// A copy that has begun.
struct Copying {
    epoch: Epoch,
    /// How far the states have been copied, and what the cursor walks through.
    cursor: StateCursor,
    storage: Vec<StateBatch>,
    needed: Needed,
}

/// What a fold is saving.
pub(crate) struct Saving {
    outlet: SaveOutlet,
    keeps: Keeps,
    again: Activator,
    copying: Option<Copying>,
    /// The epoch whose states have all been sent.
    sent: Option<Epoch>,
}

impl Saving {
    /// Begins with nothing to save; `again` gives the operator another turn.
    pub(crate) fn new(outlet: SaveOutlet, keeps: Keeps, again: Activator) -> Saving {
        Saving { outlet, keeps, again, copying: None, sent: None }
    }

    /// Begins to save what is needed of what a cursor shows, from its beginning.
    pub(crate) fn begin(&mut self, epoch: Epoch, (cursor, storage): (StateCursor, Vec<StateBatch>), needed: Needed) {
        self.copying = Some(Copying { epoch, cursor, storage, needed });
    }

    /// Copies a turn's worth.
    pub(crate) fn advance(&mut self) {
        if self.sent.is_some_and(|epoch| epoch < (self.outlet.finished)()) {
            self.sent = None;
        }
        let Some(copying) = &mut self.copying else { return };
        if !(self.outlet.has_room)() {
            return self.again.activate_after(NO_ROOM_PAUSE);
        }
        let (epoch, states) = (copying.epoch, copying.next(self.keeps));
        let is_last = !copying.cursor.key_valid(&copying.storage);
        (self.outlet.send)(Save::States(epoch, states));
        if is_last {
            (self.outlet.send)(Save::End(epoch));
            (self.copying, self.sent) = (None, Some(epoch));
        } else {
            self.again.activate();
        }
    }

    /// Returns the epoch whose states are not saved yet.
    pub(crate) fn oldest(&self) -> Option<Epoch> {
        self.sent.or_else(|| self.copying.as_ref().map(|copying| copying.epoch))
    }
}

impl Copying {
    /// Copies the next states.
    fn next(&mut self, keeps: Keeps) -> States {
        let Copying { cursor, storage, needed, .. } = self;
        let (mut states, mut looked_at) = (States::default(), 0);
        while looked_at < TURN_BYTES
            && let Some(Key { bytes: key, .. }) = cursor.get_key(storage)
        {
            looked_at += key.len();
            while let Some(Piece(value)) = cursor.get_val(storage) {
                looked_at += value.len();
                let mut count = 0;
                cursor.map_times(storage, |_, diff| count += diff);
                if count != 0 && needed(key, value) {
                    keeps.saving(value, count, |saved| states.push(key, saved));
                }
                cursor.step_val(storage);
            }
            cursor.step_key(storage);
        }
        states
    }
}
