//! How each epoch comes into each sink once, through any crash: the decisions, and nothing else.
//!
//! ```text
//! start    raise the generation          put-if-absent of its number in the job's state
//!          fence every sink              from here on no older generation can commit
//!          read the log and the          chain: which records count, though older generations may go on writing
//!            checkpoints
//!          read the sinks                believed only with our generation beside it, else a newer one has begun
//!          pick where to begin           resume: newest checkpoint that no sink is behind, then the log
//!          begin a segment of the log    Start: from here on what older generations append is not read any more
//! epoch    write its record, durably     before anything of it is visible outside
//!          compute
//!          commit to each sink           if the generation is ours; what a sink holds already is left out: unapplied
//! reply    lost                          read back with the generation, never guess
//! now and  checkpoint                    of an epoch that every sink holds: may_publish; its manifest last
//! then     collect                       what no start needs any more: collect
//! ```
//!
//! The program calls [`resume`] and [`applies`]; the other decisions it makes where the state lies (`recovery/`), by the same rules. The model in `tests/model` calls all of them, and tries every interleaving of several generations with
//! crashes, lost replies and instances that go on after they have been replaced. `docs/protocol.md` names the rules, each with what goes
//! wrong without it.
//!
//! What is absent: I/O, clocks, threads, and any type of another crate.

mod chain;
mod checkpoints;
mod refusal;
mod resume;

use std::ops::Range;

pub use chain::{Piece, Segment, chain};
pub use checkpoints::{Collect, collect, may_publish};
pub use refusal::Refusal;
pub use resume::{Resume, resume};

/// The unit in which sinks commit; the same number as `freshet-model`'s.
pub type Epoch = u64;

/// What one sink says that it holds, read after it has been fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The sink's name in the job.
    pub sink: String,
    /// Its committed epoch, if anything has been committed.
    pub epoch: Option<Epoch>,
    /// Whether the sink writes its epoch with every commit, so that a lower one than a checkpoint's means lost data. A sink that writes
    /// only when there are rows may name an older epoch though it lacks nothing.
    pub strict: bool,
}

/// What the job's state holds durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// First epoch that the log still has, and the next one to be written.
    pub log: Range<Epoch>,
    /// The verified checkpoints, each by the epoch as of which it holds everything; in any order.
    pub checkpoints: Vec<Epoch>,
}

/// Tells whether a sink that holds everything up to `held` lacks `epoch`: a replayed epoch is applied only if it is newer.
#[must_use]
pub fn applies(held: Option<Epoch>, epoch: Epoch) -> bool {
    held.is_none_or(|held| epoch > held)
}

/// Returns the part of consecutive epochs that a sink lacks; several epochs share a commit only within it.
#[must_use]
pub fn unapplied(held: Option<Epoch>, epochs: Range<Epoch>) -> Range<Epoch> {
    let from = held.map_or(0, |held| held.saturating_add(1)).clamp(epochs.start, epochs.end.max(epochs.start));
    from..epochs.end.max(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_newer_epochs_are_applied() {
        assert!(applies(None, 0));
        assert!(!applies(Some(0), 0));
        assert!(!applies(Some(7), 3));
        assert!(applies(Some(7), 8));
    }

    #[test]
    fn what_a_sink_lacks_of_a_span() {
        assert_eq!(unapplied(None, 0..3), 0..3);
        assert_eq!(unapplied(Some(0), 0..3), 1..3);
        assert_eq!(unapplied(Some(2), 0..3), 3..3);
        assert_eq!(unapplied(Some(9), 0..3), 3..3);
        assert_eq!(unapplied(Some(1), 5..8), 5..8);
        assert!((0..10).all(|epoch| unapplied(Some(4), 0..10).contains(&epoch) == applies(Some(4), epoch)));
    }
}
