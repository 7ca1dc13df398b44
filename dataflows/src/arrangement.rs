//! The arrangements that hold the state of folds: differential spines whose keys and values are bytes.
//!
//! A key's state is one value with a count of one; an epoch that changes it takes the old value back and puts the new one in. So an
//! arrangement is a differential collection like any other: it compacts, it can be read as of an epoch, and it can be shared. A join has an entry for each row instead, whose count says how often it is there.
//! Keys and values lie end to end in one buffer for each batch, where a vector of vectors would allocate for each.

use std::cmp::Ordering;
use std::rc::Rc;

use differential_dataflow::trace::implementations::ord_neu::{OrdValBatch, OrdValBuilder};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, BuilderInput, OffsetList};
use differential_dataflow::trace::{Builder, Description};
use freshet_model::Epoch;
use timely::container::{DrainContainer, PushInto};

type Layout = (KeyList, ByteList, Vec<Epoch>, Vec<i64>, OffsetList);

/// A sorted run of updates.
pub(crate) type StateBatch = Rc<OrdValBatch<Layout>>;
/// The runs of an arrangement, merged as they come.
pub(crate) type StateSpine = Spine<StateBatch>;

/// Updates of one epoch, end to end in one buffer; whoever adds them does so in the order of keys and values.
pub(crate) struct Updates {
    epoch: Epoch,
    bytes: Vec<u8>,
    /// How long each key and its value are, and how many there are more.
    items: Vec<(usize, usize, i64)>,
}

impl Updates {
    /// Begins with none.
    pub(crate) fn new(epoch: Epoch) -> Updates {
        Updates { epoch, bytes: Vec::new(), items: Vec::new() }
    }

    /// Adds one behind all others.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], diff: i64) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.items.push((key.len(), value.len(), diff));
    }

    /// Iterates over keys, values and how many more there are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], i64)> {
        let all = UpdatesIter { epoch: self.epoch, rest: &self.bytes, items: self.items.iter() };
        all.map(|(key, value, _, diff)| (key, value, diff))
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the number of bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Updates handed to a builder at once: so few that they stay in the processor's cache.
const UPDATES_AT_ONCE: usize = 512;

/// A run while it is built, in the order of keys and values.
pub(crate) struct Run {
    builder: OrdValBuilder<Layout, Updates>,
    waiting: Updates,
    is_empty: bool,
}

impl Run {
    /// Begins a run of so many updates in an epoch, whose keys and whose values have so many bytes.
    ///
    /// A buffer that doubles as it grows is copied again and again, which took a quarter of a join's time.
    pub(crate) fn with_capacity(epoch: Epoch, count: usize, (keys, values): (usize, usize)) -> Run {
        let mut builder = OrdValBuilder::<Layout, Updates>::with_capacity(count, count, count);
        builder.result.keys.bytes.reserve_exact(keys);
        builder.result.vals.vals.bytes.reserve_exact(values);
        Run { builder, waiting: Updates::new(epoch), is_empty: true }
    }

    /// Adds an update behind all others.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], diff: i64) {
        self.waiting.push(key, value, diff);
        if self.waiting.len() == UPDATES_AT_ONCE {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.is_empty &= self.waiting.is_empty();
        self.builder.push(&mut self.waiting);
        self.waiting.clear();
    }

    /// Completes the run; `None` if there is nothing in it.
    pub(crate) fn done(mut self, description: Description<Epoch>) -> Option<StateBatch> {
        self.hand_over();
        (!self.is_empty).then(|| Rc::new(self.builder.done(description)))
    }
}

impl From<Updates> for Run {
    fn from(mut updates: Updates) -> Run {
        let lengths = updates.items.iter().fold((0, 0), |(keys, values), (key, value, _)| (keys + key, values + value));
        let mut run = Run::with_capacity(updates.epoch, updates.len(), lengths);
        run.builder.push(&mut updates);
        run.is_empty = updates.is_empty();
        run
    }
}

/// Walks through updates.
pub(crate) struct UpdatesIter<'a> {
    epoch: Epoch,
    rest: &'a [u8],
    items: std::slice::Iter<'a, (usize, usize, i64)>,
}

impl<'a> Iterator for UpdatesIter<'a> {
    type Item = (&'a [u8], &'a [u8], Epoch, i64);

    fn next(&mut self) -> Option<Self::Item> {
        let &(key, value, diff) = self.items.next()?;
        let (key, rest) = self.rest.split_at(key);
        let (value, rest) = rest.split_at(value);
        self.rest = rest;
        Some((key, value, self.epoch, diff))
    }
}

impl DrainContainer for Updates {
    type Item<'a> = (&'a [u8], &'a [u8], Epoch, i64);
    type DrainIter<'a> = UpdatesIter<'a>;

    fn drain(&mut self) -> UpdatesIter<'_> {
        UpdatesIter { epoch: self.epoch, rest: &self.bytes, items: self.items.iter() }
    }
}

impl BuilderInput<KeyList, ByteList> for Updates {
    type Key<'a> = &'a [u8];
    type Val<'a> = &'a [u8];
    type Time = Epoch;
    type Diff = i64;

    fn into_parts<'a>(item: Self::Item<'a>) -> (&'a [u8], &'a [u8], Epoch, i64) {
        item
    }

    fn key_eq(this: &&[u8], other: Key<'_>) -> bool {
        *this == other.bytes
    }

    fn val_eq(this: &&[u8], other: Piece<'_>) -> bool {
        *this == other.0
    }

    fn key_val_upd_counts(chain: &[Updates]) -> (usize, usize, usize) {
        // Upper bounds, which only reserve room.
        let count = chain.iter().map(Updates::len).sum();
        (count, count, count)
    }
}

/// A key of an arrangement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// Its first eight bytes, as a number: its hash, by which nearly all comparisons are decided.
    hash: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Key<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Key<'a> {
        let mut first = [0; 8];
        let length = bytes.len().min(first.len());
        first[..length].copy_from_slice(&bytes[..length]);
        Key { hash: u64::from_be_bytes(first), bytes }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.bytes.cmp(other.bytes))
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A list of keys, end to end.
pub(crate) struct KeyList {
    /// The hash of each key and where it ends. Looking for a key reads these alone, which lie side by side, and hardly ever a key.
    items: Vec<(u64, usize)>,
    bytes: Vec<u8>,
}

impl PushInto<&[u8]> for KeyList {
    fn push_into(&mut self, item: &[u8]) {
        self.push_ref(Key::new(item));
    }
}

impl BatchContainer for KeyList {
    type Owned = Vec<u8>;
    type ReadItem<'a> = Key<'a>;

    fn into_owned(item: Key<'_>) -> Vec<u8> {
        item.bytes.to_vec()
    }

    fn push_ref(&mut self, item: Key<'_>) {
        self.bytes.extend_from_slice(item.bytes);
        self.items.push((item.hash, self.bytes.len()));
    }

    fn push_own(&mut self, item: &Vec<u8>) {
        self.push_ref(Key::new(item));
    }

    fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
    }

    fn with_capacity(size: usize) -> Self {
        KeyList { items: Vec::with_capacity(size), bytes: Vec::new() }
    }

    fn merge_capacity(one: &Self, other: &Self) -> Self {
        KeyList {
            items: Vec::with_capacity(one.items.len() + other.items.len()),
            bytes: Vec::with_capacity(one.bytes.len() + other.bytes.len()),
        }
    }

    fn reborrow<'b, 'a: 'b>(item: Key<'a>) -> Key<'b> {
        item
    }

    fn index(&self, index: usize) -> Key<'_> {
        let start = if index == 0 { 0 } else { self.items[index - 1].1 };
        let (hash, end) = self.items[index];
        Key { hash, bytes: &self.bytes[start..end] }
    }

    fn len(&self) -> usize {
        self.items.len()
    }
}

/// A string of a list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Piece<'a>(pub(crate) &'a [u8]);

/// A list of byte strings, end to end.
pub(crate) struct ByteList {
    /// Where each string ends.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl PushInto<&[u8]> for ByteList {
    fn push_into(&mut self, item: &[u8]) {
        self.push_ref(Piece(item));
    }
}

impl BatchContainer for ByteList {
    type Owned = Vec<u8>;
    type ReadItem<'a> = Piece<'a>;

    fn into_owned(item: Piece<'_>) -> Vec<u8> {
        item.0.to_vec()
    }

    fn push_ref(&mut self, item: Piece<'_>) {
        self.bytes.extend_from_slice(item.0);
        self.ends.push(self.bytes.len());
    }

    fn push_own(&mut self, item: &Vec<u8>) {
        self.push_ref(Piece(item));
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }

    fn with_capacity(size: usize) -> Self {
        ByteList { ends: Vec::with_capacity(size), bytes: Vec::new() }
    }

    fn merge_capacity(one: &Self, other: &Self) -> Self {
        ByteList {
            ends: Vec::with_capacity(one.ends.len() + other.ends.len()),
            bytes: Vec::with_capacity(one.bytes.len() + other.bytes.len()),
        }
    }

    fn reborrow<'b, 'a: 'b>(item: Piece<'a>) -> Piece<'b> {
        item
    }

    fn index(&self, index: usize) -> Piece<'_> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Piece(&self.bytes[start..self.ends[index]])
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_bytes(one in prop::collection::vec(0u8..3, 0..12), two in prop::collection::vec(0u8..3, 0..12)) {
            prop_assert_eq!(Key::new(&one).cmp(&Key::new(&two)), one.cmp(&two));
        }
    }
}
