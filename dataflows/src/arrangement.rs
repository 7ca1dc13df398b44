//! The arrangements that hold the state of folds: differential spines whose keys and values are bytes.
//!
//! A key's state is one value with a count of one; an epoch that changes it takes the old value back and puts the new one in. So an
//! arrangement is a differential collection like any other: it compacts, it can be read as of an epoch, and it can be shared.
//! Keys and values lie end to end in one buffer for each batch, where a vector of vectors would allocate for each.

use std::rc::Rc;

use differential_dataflow::trace::implementations::ord_neu::{OrdValBatch, OrdValBuilder};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, BuilderInput, OffsetList};
use differential_dataflow::trace::rc_blanket_impls::RcBuilder;
use differential_dataflow::trace::{Builder, Description};
use freshet_model::Epoch;
use timely::container::{DrainContainer, PushInto};

type Layout = (ByteList, ByteList, Vec<Epoch>, Vec<i64>, OffsetList);

/// A sorted run of updates.
pub(crate) type StateBatch = Rc<OrdValBatch<Layout>>;
/// Builds runs.
pub(crate) type StateBuilder = RcBuilder<OrdValBuilder<Layout, Updates>>;
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

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Makes a run of them.
    ///
    /// Its bytes are reserved at once: a buffer that doubles as it grows is copied again and again, which took a quarter of a join's time.
    pub(crate) fn build(mut self, description: Description<Epoch>) -> StateBatch {
        let count = self.items.len();
        let mut builder = OrdValBuilder::<Layout, Updates>::with_capacity(count, count, count);
        builder.result.keys.bytes.reserve_exact(self.items.iter().map(|(key, _, _)| key).sum());
        builder.result.vals.vals.bytes.reserve_exact(self.items.iter().map(|(_, value, _)| value).sum());
        builder.push(&mut self);
        Rc::new(builder.done(description))
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

impl BuilderInput<ByteList, ByteList> for Updates {
    type Key<'a> = &'a [u8];
    type Val<'a> = &'a [u8];
    type Time = Epoch;
    type Diff = i64;

    fn into_parts<'a>(item: Self::Item<'a>) -> (&'a [u8], &'a [u8], Epoch, i64) {
        item
    }

    fn key_eq(this: &&[u8], other: &[u8]) -> bool {
        *this == other
    }

    fn val_eq(this: &&[u8], other: &[u8]) -> bool {
        *this == other
    }

    fn key_val_upd_counts(chain: &[Updates]) -> (usize, usize, usize) {
        // Upper bounds, which only reserve room.
        let count = chain.iter().map(Updates::len).sum();
        (count, count, count)
    }
}

/// A list of byte strings, end to end.
pub(crate) struct ByteList {
    /// Where each string ends.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl PushInto<&[u8]> for ByteList {
    fn push_into(&mut self, item: &[u8]) {
        self.push_ref(item);
    }
}

impl BatchContainer for ByteList {
    type Owned = Vec<u8>;
    type ReadItem<'a> = &'a [u8];

    fn into_owned(item: &[u8]) -> Vec<u8> {
        item.to_vec()
    }

    fn push_ref(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    fn push_own(&mut self, item: &Vec<u8>) {
        self.push_ref(item);
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

    fn reborrow<'b, 'a: 'b>(item: &'a [u8]) -> &'b [u8] {
        item
    }

    fn index(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}
