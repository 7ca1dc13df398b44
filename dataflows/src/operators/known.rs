//! The hashes of the keys that are kept, and how much is kept of each: most keys are new, and need no look into the arrangement to be found so.
//!
//! Operators go through keys in the order of their hashes, and so entries lie in the table: one look after the other finds the memory that it needs in the processor's cache.

use hashbrown::HashTable;

/// The first table's entries.
const LEAST_ROOM: usize = 56;

/// How many rows of each hash there are on each of the sides.
pub(super) struct Known<const SIDES: usize> {
    table: HashTable<Entry<SIDES>>,
    spread: Spread,
    /// The table was made for so many entries: with more, all have other places.
    room: usize,
}

struct Entry<const SIDES: usize> {
    hash: u64,
    rows: [i64; SIDES],
}

/// Where hashes have their places in a table.
#[derive(Clone, Copy)]
struct Spread {
    /// The number of workers, of which each has the hashes of one range.
    peers: u64,
    /// A hash is shifted by so many bits to be a place.
    shift: u32,
}

impl Spread {
    /// The table takes the place from the low bits, and tells entries apart by the high ones, which a place does not reach.
    fn of(self, hash: u64) -> u64 {
        let place = hash.wrapping_mul(self.peers) >> self.shift;
        place | hash << 57
    }
}

impl<const SIDES: usize> Known<SIDES> {
    /// Begins with nothing, on one of so many workers.
    pub(super) fn new(peers: usize) -> Known<SIDES> {
        let table = HashTable::with_capacity(LEAST_ROOM);
        let (room, spread) = (table.capacity(), Spread { peers: peers as u64, shift: shift(table.capacity()) });
        Known { table, spread, room }
    }

    /// Returns how many rows with this hash there are on each side.
    pub(super) fn rows(&self, hash: u64) -> [i64; SIDES] {
        self.table.find(self.spread.of(hash), |known| known.hash == hash).map_or([0; SIDES], |known| known.rows)
    }

    /// Adds so many rows to each side, or takes them away; returns by how much the number of hashes changes.
    pub(super) fn add(&mut self, hash: u64, rows: [i64; SIDES]) -> i64 {
        match self.table.find_entry(self.spread.of(hash), |known| known.hash == hash) {
            Ok(mut entry) => {
                let known = &mut entry.get_mut().rows;
                known.iter_mut().zip(rows).for_each(|(known, rows)| *known += rows);
                if *known == [0; SIDES] {
                    entry.remove();
                    return -1;
                }
                0
            }
            Err(_) if rows == [0; SIDES] => 0,
            Err(_) => {
                self.insert(Entry { hash, rows });
                1
            }
        }
    }

    fn insert(&mut self, entry: Entry<SIDES>) {
        if self.table.len() == self.room {
            self.make_anew(2 * self.room);
        }
        let spread = self.spread;
        self.table.insert_unique(spread.of(entry.hash), entry, |known| spread.of(known.hash));
        // Where entries come and go the table doubles earlier, by itself.
        if self.table.capacity() > self.room {
            self.make_anew(self.table.capacity());
        }
    }

    /// Moves the entries into a table that has room for so many.
    fn make_anew(&mut self, room: usize) {
        let entries = std::mem::replace(&mut self.table, HashTable::with_capacity(room));
        self.room = self.table.capacity();
        self.spread.shift = shift(self.room);
        let spread = self.spread;
        for entry in entries {
            self.table.insert_unique(spread.of(entry.hash), entry, |known| spread.of(known.hash));
        }
    }
}

/// Returns by how much hashes are shifted for an empty table with room for so many entries: it has a power of two of places, an eighth of them spare.
fn shift(room: usize) -> u32 {
    u64::BITS - (room * 8 / 7).ilog2()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::keys::hashes_of;

    #[test]
    fn a_hash_of_two_keys_stays_when_one_of_them_is_forgotten() {
        let mut known = Known::new(1);
        assert_eq!([1, 2, 3, 2].map(|hash| known.add(hash, [1])), [1, 1, 1, 0]);
        assert_eq!([2, 3].map(|hash| known.add(hash, [-1])), [0, -1]);
        assert_eq!([1, 2, 3].map(|hash| known.rows(hash)), [[1], [1], [0]]);
    }

    #[test]
    fn a_hash_is_gone_when_it_is_gone_from_both_sides() {
        let mut known = Known::new(1);
        assert_eq!([[2, 0], [0, 1], [-2, 0]].map(|rows| known.add(7, rows)), [1, 0, 0]);
        assert_eq!(known.rows(7), [0, 1]);
        assert_eq!((known.add(7, [0, -1]), known.rows(7)), (-1, [0, 0]));
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_map_knows(changes in prop::collection::vec((0u64..500, prop::bool::weighted(0.6)), 1..3000), peers in 1usize..4) {
            let (mut known, mut plain) = (Known::new(peers), BTreeMap::new());
            // The last worker's hashes, over all of its range.
            let range = hashes_of(peers - 1, peers);
            for (number, add) in changes {
                let hash = range.start() + number * ((range.end() - range.start()) / 500);
                if add {
                    prop_assert_eq!(known.add(hash, [1]), i64::from(!plain.contains_key(&hash)));
                    *plain.entry(hash).or_insert(0) += 1;
                } else if plain.contains_key(&hash) {
                    let rows = plain.remove(&hash).unwrap_or_default();
                    prop_assert_eq!(known.add(hash, [-rows]), -1);
                }
            }
            prop_assert_eq!(known.table.len(), plain.len());
            for (hash, rows) in plain {
                prop_assert_eq!(known.rows(hash), [rows]);
            }
            prop_assert!(known.room >= known.table.len() && known.room >= known.table.capacity());
        }
    }

    #[test]
    fn entries_lie_in_the_order_of_their_hashes() {
        for (worker, peers) in [(0, 1), (2, 3)] {
            let mut known = Known::new(peers);
            let range = hashes_of(worker, peers);
            let step = (range.end() - range.start()) / 10_000;
            let added: i64 = (0..10_000).map(|number| known.add(range.start() + number * step, [1])).sum();
            assert_eq!(added, 10_000);
            let places: Vec<u64> = (0..10_000).map(|number| known.spread.of(range.start() + number * step) << 7 >> 7).collect();
            assert!(places.is_sorted(), "worker {worker} of {peers}");
            assert_eq!(known.room * 8 / 7, 16_384);
            assert!(places[9_999] > 16_000 && places[9_999] < 16_384, "they are spread over all of the table");
        }
    }
}
