//! When to look at which key again: keys by the watermark at which something of theirs closes.

use std::collections::BTreeMap;

use freshet_model::Timestamp;

/// Keys by deadline. A key may stand at several deadlines; whoever takes it out checks what is due.
#[derive(Debug, Default)]
pub(super) struct Agenda(BTreeMap<Timestamp, Vec<Box<[u8]>>>);

impl Agenda {
    /// Enters a key.
    pub(super) fn enter(&mut self, deadline: Timestamp, key: &[u8]) {
        self.0.entry(deadline).or_default().push(key.into());
    }

    /// Takes out the keys whose deadline the watermark has reached, sorted, each once.
    pub(super) fn take_due(&mut self, watermark: Timestamp) -> Vec<Box<[u8]>> {
        let mut due = Vec::new();
        while let Some(entry) = self.0.first_entry()
            && *entry.key() <= watermark
        {
            due.append(&mut entry.remove());
        }
        due.sort_unstable();
        due.dedup();
        due
    }
}
