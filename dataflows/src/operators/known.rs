//! The hashes of the keys that are kept, and how much is kept of each: most keys are new, and need no look into the arrangement to be found so.

use hashbrown::HashTable;

/// How many rows of each hash there are.
#[derive(Default)]
pub(super) struct Known(HashTable<(u64, i64)>);

impl Known {
    /// Tells whether there is a row with this hash.
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.0.find(spread(hash), |(known, _)| *known == hash).is_some()
    }

    /// Adds so many rows, or takes them away; returns by how much the number of hashes changes.
    pub(super) fn add(&mut self, hash: u64, rows: i64) -> i64 {
        match self.0.find_entry(spread(hash), |(known, _)| *known == hash) {
            Ok(mut entry) => {
                entry.get_mut().1 += rows;
                if entry.get().1 == 0 {
                    entry.remove();
                    return -1;
                }
                0
            }
            Err(_) if rows == 0 => 0,
            Err(_) => {
                self.0.insert_unique(spread(hash), (hash, rows), |(known, _)| spread(*known));
                1
            }
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
        assert_eq!([1, 2, 3, 2].map(|hash| known.add(hash, 1)), [1, 1, 1, 0]);
        assert_eq!([2, 3].map(|hash| known.add(hash, -1)), [0, -1]);
        assert_eq!([1, 2, 3].map(|hash| known.contains(hash)), [true, true, false]);
    }
}
