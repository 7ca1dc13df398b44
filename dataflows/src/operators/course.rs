//! The course of an operator that keeps states: which epoch it may process next, and which states are to be saved.
//!
//! # Frontiers
//! The operator holds its capabilities at the oldest epoch that it has not processed; one more stands at a checkpoint's epoch until the states as of
//! that epoch have been saved. It processes `E` when its input's frontier has
//! passed `E` and the watermark of `E` is known, hence every epoch once, in order, also those that brought nothing.

use std::collections::BTreeSet;

use freshet_model::{Epoch, Timestamp};
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::frontier::MutableAntichain;

use super::partial::{Announced, Announcement};
use super::states::States;
use crate::epochs::Seal;
use crate::saving::{Keeps, OpenSave, Saving};

/// Where an operator stands.
pub(super) struct Course {
    announced: Announced,
    saving: Saving,
    /// The epochs of which the states are to be saved.
    checkpoints: BTreeSet<Epoch>,
    first: Epoch,
    next: Epoch,
    sealed: Option<Epoch>,
}

impl Course {
    /// Begins at the first epoch of a run.
    pub(super) fn new(
        scope: Scope<'_, Epoch>,
        info: &OperatorInfo,
        begin: Announcement,
        (save, keeps): (OpenSave, Keeps),
    ) -> Course {
        let outlet = save(scope.worker().sync_activator_for(info.address.to_vec()));
        let saving = Saving::new(outlet, keeps, scope.activator_for(info.address.clone()));
        let first = begin.epoch;
        Course { announced: Announced::new(begin), saving, checkpoints: BTreeSet::new(), first, next: first, sealed: None }
    }

    /// Takes in the seals of an epoch.
    pub(super) fn take(&mut self, epoch: Epoch, seals: impl Iterator<Item = Seal>) {
        for seal in seals {
            self.announced.advance(epoch, &seal);
            self.checkpoints.extend(seal.checkpoint.then_some(epoch + 1));
        }
        self.sealed = self.sealed.max(Some(epoch));
    }

    /// Returns the next epoch that is complete, by its input's frontier, and its watermark.
    pub(super) fn due(&self, frontier: &MutableAntichain<Epoch>) -> Option<(Epoch, Timestamp)> {
        (self.next < self.open(frontier)).then(|| self.announced.of(self.next)).flatten().map(|watermark| (self.next, watermark))
    }

    /// Goes on to the next epoch, after the states of this one are in place, of which a checkpoint has those that are needed; returns it.
    pub(super) fn advance(&mut self, states: &mut States, needed: impl Fn(&[u8], &[u8]) -> bool + 'static) -> Epoch {
        if self.checkpoints.remove(&self.next) {
            self.saving.begin(self.next, states.cursor(), Box::new(needed));
        }
        self.next += 1;
        self.announced.forget(self.next);
        self.next
    }

    /// Saves a turn's worth, lets the states be compacted, and returns the epoch of which not all has been saved.
    pub(super) fn rest(&mut self, states: &mut States) -> Epoch {
        self.saving.advance();
        states.compact(self.next);
        self.saving.oldest().unwrap_or(self.next)
    }

    /// Tells whether there is nothing left to do, by the frontiers of the input and of the seals.
    pub(super) fn is_over(&self, input: &MutableAntichain<Epoch>, seals: &MutableAntichain<Epoch>) -> bool {
        let ended = input.frontier().is_empty() && seals.frontier().is_empty();
        ended && self.next >= self.open(input) && self.saving.oldest().is_none()
    }

    /// Returns the first epoch that may bring more. Once the input has ended, the epochs that remain are those that have been sealed.
    fn open(&self, frontier: &MutableAntichain<Epoch>) -> Epoch {
        frontier.frontier().first().copied().unwrap_or_else(|| self.sealed.map_or(self.first, |epoch| epoch + 1))
    }
}
