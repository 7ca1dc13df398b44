//! Makes of a checkpoint of the job and one of views that were computed anew one checkpoint of both.

use std::cmp::Ordering;

use freshet_dataflows::lower::Lowered;
use freshet_dataflows::saved::{Saved, Splice};
use freshet_recovery::{self as recovery, Entries, Files};

use super::keep::fold_name;

/// A checkpoint, where it lies, and what its folds saved.
pub(super) struct Taken<'a> {
    pub(super) files: &'a Files,
    pub(super) id: recovery::Checkpoint,
    pub(super) saved: &'a [Saved],
}

impl Taken<'_> {
    /// Returns what was saved of a fold, and its states in the order of their keys.
    fn states(&self, of: &Saved) -> Result<(Option<&Saved>, Source), recovery::Error> {
        let Some(place) = of.place_in(self.saved) else { return Ok((None, Source::default())) };
        let entries = self.files.parts(self.id, &fold_name(place), 0..=u64::MAX)?;
        Ok((Some(&self.saved[place]), Source::of(entries)?))
    }
}

/// Writes the states of all folds as parts of the checkpoint `to`: components that `anew` has are its, all others those of `kept`.
pub(super) fn splice(
    to: (&Files, recovery::Checkpoint),
    (saved, lowered): (&[Saved], &Lowered),
    kept: &Taken<'_>,
    anew: &Taken<'_>,
) -> Result<Vec<String>, recovery::Error> {
    let (files, id) = to;
    let mut names = Vec::with_capacity(saved.len());
    for (index, fold) in saved.iter().enumerate() {
        let components = lowered.folds.get(index).into_iter().flat_map(|fold| &fold.components);
        let shapes: Vec<_> = components.map(|component| &component.shape).collect();
        let ((of_kept, mut kept), (of_anew, mut anew)) = (kept.states(fold)?, anew.states(fold)?);
        let splice = Splice::new(of_kept, of_anew, fold, &shapes);
        let mut part = files.part(id, &fold_name(index), 0..=u64::MAX)?;
        while let Some(order) = kept.order(&anew) {
            let of_kept = if order == Ordering::Greater { None } else { kept.take()? };
            let of_anew = if order == Ordering::Less { None } else { anew.take()? };
            let key = of_kept.as_ref().or(of_anew.as_ref()).map(|(key, _)| key.clone()).unwrap_or_default();
            if let Some(state) = splice.splice(of_kept.map(|(_, state)| state), of_anew.map(|(_, state)| state)) {
                part.push(&key, &state)?;
            }
        }
        part.finish()?;
        names.push(fold_name(index));
    }
    Ok(names)
}

type Entry = (Vec<u8>, Vec<u8>);

/// States in the order of their keys, with the next one in sight.
#[derive(Default)]
struct Source {
    next: Option<Entry>,
    rest: Option<Entries>,
}

impl Source {
    fn of(entries: Entries) -> Result<Source, recovery::Error> {
        let mut source = Source { next: None, rest: Some(entries) };
        source.take()?;
        Ok(source)
    }

    /// Takes the next state.
    fn take(&mut self) -> Result<Option<Entry>, recovery::Error> {
        let next = self.rest.as_mut().and_then(Iterator::next).transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Tells whose key comes first; `None` if both are at their ends.
    fn order(&self, other: &Source) -> Option<Ordering> {
        match (&self.next, &other.next) {
            (None, None) => None,
            (Some(_), None) => Some(Ordering::Less),
            (None, Some(_)) => Some(Ordering::Greater),
            (Some((mine, _)), Some((theirs, _))) => Some(mine.cmp(theirs)),
        }
    }
}
