//! The hashes of the keys that are remembered: most keys are new, and need no look into the arrangement to be found so.

use std::collections::BTreeSet;

use hashbrown::HashTable;

/// A set of hashes. It may hold one that belongs to no key any more, never the other way round.
#[derive(Default)]
pub(super) struct Known {
    hashes: HashTable<u64>,
    /// Hashes that several keys have had: nobody counts how many still do, so these stay.
    shared: BTreeSet<u64>,
}

impl Known {
    /// Tells whether a key with this hash may be remembered.
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.hashes.find(spread(hash), |known| *known == hash).is_some()
    }

    /// Adds the hash of a new key.
    pub(super) fn insert(&mut self, hash: u64) {
        if self.contains(hash) {
            self.shared.insert(hash);
        } else {
            self.hashes.insert_unique(spread(hash), hash, |known| spread(*known));
        }
    }

    /// Takes out the hash of a key that is forgotten.
    pub(super) fn remove(&mut self, hash: u64) {
        if !self.shared.contains(&hash)
            && let Ok(entry) = self.hashes.find_entry(spread(hash), |known| *known == hash)
        {
            entry.remove();
        }
    }
}

/// A worker's hashes are alike in their upper bits, by which the table tells entries apart.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_two_keys_stays_when_one_of_them_is_forgotten() {
        let mut known = Known::default();
        (1..=3).for_each(|hash| known.insert(hash));
        known.insert(2);
        (2..=4).for_each(|hash| known.remove(hash));
        assert_eq!([1, 2, 3].map(|hash| known.contains(hash)), [true, true, false]);
    }
}
