//! Puts dead letters back, each once.
//!
//! ```text
//! 1  open the target         who opened it before is fenced; what he left unfinished is undone
//! 2  read its ledger         what has been put back
//! 3  for each group          payloads and their places in the ledger: one transaction, both or neither
//! 4  mark the archive        a copy of what the ledger says, for people and for `list`
//! ```
//! The ledger lies with the target and not with the archive, since only so one transaction can hold both. A crash between 3 and 4 leaves letters
//! that are put back and not marked: the next replay finds them in the ledger, puts none of them back, and marks them. A crash in 3 leaves nothing.
//! Of two replays at once the later one fences the earlier one, which ends with an error.
//!
//! Letters of which a part was not kept are not put back, and nor are rows that a view's expression or a table refused: whoever asks leaves them
//! out, for they are no records, and the record of which they come has counted in other views.

use std::collections::BTreeSet;

use freshet_model::Timestamp;

use super::{Archive, Letter, Place};
use crate::Error;

/// So many letters are put back together at most.
const GROUP_LETTERS: usize = 500;
/// And so many bytes of them.
const GROUP_BYTES: usize = 8 << 20;

/// Where letters are put back, and the ledger of those that have been.
pub trait Target {
    /// Returns the places that have been put back.
    ///
    /// # Errors
    /// The ledger cannot be read.
    fn replayed(&mut self) -> Result<BTreeSet<Place>, Error>;

    /// Says why a letter cannot be put back here, if that is so.
    fn refuses(&self, _letter: &Letter) -> Option<&'static str> {
        None
    }

    /// Puts letters back and notes it in the ledger: all of them or none.
    ///
    /// # Errors
    /// None of them was put back, unless the answer was lost: the ledger tells.
    fn put(&mut self, letters: &[Letter], at: Timestamp) -> Result<(), Error>;
}

/// Which letters are put back.
pub struct Replay<'a> {
    /// Chooses among those that were kept.
    pub wanted: &'a dyn Fn(&Letter) -> bool,
    /// Whether nothing is to be done.
    pub dry: bool,
    /// The time that is noted.
    pub at: Timestamp,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is put back now; of a dry run: it would be.
    Replayed,
    /// It was put back before.
    Before,
    /// It stays, for this reason.
    Left(&'static str),
}

/// Puts letters of an archive back, and says of each that was wanted what becomes of it. Only once this has returned is it so.
///
/// # Errors
/// A system refuses or is away. What has been put back by then is in the ledger.
pub fn replay(
    archive: &mut dyn Archive,
    target: &mut dyn Target,
    replay: &Replay<'_>,
    told: &mut dyn FnMut(&Letter, Outcome),
) -> Result<(), Error> {
    let known = target.replayed()?;
    let mut work = Work { target, replay, known, group: Vec::new(), unmarked: Vec::new() };
    let mut taken = Ok(());
    archive.read(&mut |letter| {
        if taken.is_ok() && (replay.wanted)(&letter) {
            let outcome = work.outcome(&letter);
            told(&letter, outcome);
            taken = work.take(letter, outcome);
        }
    })?;
    taken.and_then(|()| work.flush())?;
    let unmarked = work.unmarked;
    if replay.dry || unmarked.is_empty() { Ok(()) } else { archive.mark(&unmarked, replay.at) }
}

/// A replay under way.
struct Work<'a> {
    target: &'a mut dyn Target,
    replay: &'a Replay<'a>,
    /// What the target has, or is about to be given.
    known: BTreeSet<Place>,
    /// What the target is given next.
    group: Vec<Letter>,
    /// What has been put back, and is not marked in the archive.
    unmarked: Vec<Place>,
}

impl Work<'_> {
    fn outcome(&self, letter: &Letter) -> Outcome {
        if letter.replayed_at.is_some() || self.known.contains(&letter.place) {
            return Outcome::Before;
        }
        let cut = (!letter.is_whole()).then_some("only a part of it was kept");
        cut.or_else(|| self.target.refuses(letter)).map_or(Outcome::Replayed, Outcome::Left)
    }

    fn take(&mut self, letter: Letter, outcome: Outcome) -> Result<(), Error> {
        match outcome {
            Outcome::Left(_) => return Ok(()),
            Outcome::Before => {
                if letter.replayed_at.is_none() {
                    self.unmarked.push(letter.place);
                }
                return Ok(());
            }
            Outcome::Replayed => {}
        }
        self.known.insert(letter.place.clone());
        self.group.push(letter);
        let bytes = || self.group.iter().map(|letter| letter.payload.len()).sum::<usize>();
        if self.group.len() >= GROUP_LETTERS || bytes() >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let mut group = std::mem::take(&mut self.group);
        // An archive may have an order of its own: a topic reads partition by partition.
        group.sort_by(|one, other| one.place.cmp(&other.place));
        if !group.is_empty() && !self.replay.dry {
            self.target.put(&group, self.replay.at)?;
        }
        self.unmarked.extend(group.into_iter().map(|letter| letter.place));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
