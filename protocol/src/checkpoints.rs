//! When a checkpoint may be published, and what it makes superfluous.

use crate::{Durable, Epoch};

/// Tells whether a checkpoint as of an epoch may be published: every sink has confirmed that it holds the epoch.
///
/// `committed` is what each sink has confirmed to *this* generation, in reply to a commit or read back.
#[must_use]
pub fn may_publish(checkpoint: Epoch, committed: impl IntoIterator<Item = Option<Epoch>>) -> bool {
    committed.into_iter().all(|epoch| epoch.is_some_and(|epoch| epoch >= checkpoint))
}

/// What no start needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// Checkpoints to remove, oldest first; before the log, so that none is left whose log is gone.
    pub checkpoints: Vec<Epoch>,
    /// The first epoch whose record is still needed.
    pub log_from: Epoch,
}

/// Picks what can be removed if the newest `keep` checkpoints stay, of which there is always at least one.
///
/// Keep two or more: when the newest turns out to be damaged, the one before is taken.
#[must_use]
pub fn collect(durable: &Durable, keep: usize) -> Collect {
    let mut checkpoints = durable.checkpoints.clone();
    checkpoints.sort_unstable();
    checkpoints.dedup();
    let superfluous = checkpoints.len().saturating_sub(keep.max(1));
    let log_from = checkpoints.get(superfluous).filter(|_| checkpoints.len() >= keep).map_or(0, |oldest| oldest + 1);
    checkpoints.truncate(superfluous);
    Collect { checkpoints, log_from: log_from.max(durable.log.start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_waits_for_every_sink() {
        assert!(may_publish(4, [Some(4), Some(9)]));
        assert!(!may_publish(4, [Some(3), Some(9)]));
        assert!(!may_publish(0, [None, Some(9)]));
    }

    #[test]
    fn the_newest_checkpoints_and_their_log_stay() {
        let state = |from, checkpoints: &[Epoch]| Durable { log: from..20, checkpoints: checkpoints.to_vec() };
        let collected = |checkpoints: &[Epoch], log_from| Collect { checkpoints: checkpoints.to_vec(), log_from };
        assert_eq!(collect(&state(0, &[9, 3, 6]), 2), collected(&[3], 7));
        assert_eq!(collect(&state(0, &[9, 3, 6]), 1), collected(&[3, 6], 10));
        assert_eq!(collect(&state(0, &[9]), 2), collected(&[], 0), "with one checkpoint the log is the second way");
        assert_eq!(collect(&state(0, &[]), 2), collected(&[], 0));
        assert_eq!(collect(&state(4, &[9]), 2), collected(&[], 4));
        assert_eq!(collect(&state(0, &[9, 3]), 0), collected(&[3], 10), "one always stays");
    }
}
