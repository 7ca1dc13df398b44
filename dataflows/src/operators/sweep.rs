//! Clears states of what the watermark has made needless, some of them in each epoch, one after the other as they lie.
//!
//! An agenda finds what is due at once, and pays for it with a look-up for each key. Where it does not matter when something is forgotten,
//! going through all states again and again costs a fraction of that, for twice the memory at most.

use differential_dataflow::trace::Cursor;
use freshet_model::Timestamp;

use super::states::{States, current};
use crate::arrangement::Key;

/// For each state that an epoch brings so many are looked at, whether they can be forgotten: those that can never are more than half.
const SWEPT_PER_STATE: usize = 2;
/// At least so many are looked at in each epoch, so that also a quiet stream forgets.
const SWEPT_PER_EPOCH: usize = 64;

/// How far the states have been cleared.
pub(super) struct Sweep {
    /// The key from which on to look next; empty for the first one.
    from: Vec<u8>,
    /// No state's deadline is before this one.
    earliest: Timestamp,
    /// No deadline that this round has passed, and none that came since it began, is before this one.
    earliest_passed: Timestamp,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep { from: Vec::new(), earliest: Timestamp::MAX, earliest_passed: Timestamp::MAX }
    }
}

impl Sweep {
    /// Takes note of a state that is new, and may be forgotten when the watermark has reached a deadline.
    pub(super) fn saw(&mut self, deadline: Timestamp) {
        self.earliest = self.earliest.min(deadline);
        self.earliest_passed = self.earliest_passed.min(deadline);
    }

    /// Looks at some states after `brought` new ones, and shows the key, value and count of each whose deadline the watermark has reached; if there may be any.
    pub(super) fn advance(
        &mut self,
        states: &mut States,
        (brought, watermark): (usize, Timestamp),
        deadline: impl Fn(&[u8], &[u8]) -> Timestamp,
        mut forget: impl FnMut(&[u8], &[u8], i64),
    ) {
        if self.earliest > watermark {
            return;
        }
        let (mut cursor, storage) = states.cursor();
        cursor.seek_key(&storage, Key::new(&self.from));
        let mut left = SWEPT_PER_EPOCH + SWEPT_PER_STATE * brought;
        while let Some(Key { bytes: key, .. }) = cursor.get_key(&storage)
            && left > 0
        {
            left -= 1;
            if let Some((value, count)) = current(&mut cursor, &storage) {
                let deadline = deadline(key, value);
                if deadline > watermark {
                    self.earliest_passed = self.earliest_passed.min(deadline);
                } else {
                    forget(key, value, count);
                }
            }
            cursor.step_key(&storage);
        }
        match cursor.get_key(&storage) {
            Some(Key { bytes: key, .. }) => self.from = key.to_vec(),
            None => {
                let earliest = std::mem::replace(&mut self.earliest_passed, Timestamp::MAX);
                (self.from, self.earliest) = (Vec::new(), earliest);
            }
        }
    }
}
