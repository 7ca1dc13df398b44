//! The arrangements that hold the state of folds: differential spines whose keys and values are bytes.
//!
//! A key's state is one value with a count of one; an epoch that changes it takes the old value back and puts the new one in. So an
//! arrangement is a differential collection like any other: it compacts, it can be read as of an epoch, and it can be shared.
//! Keys and values lie end to end in one buffer for each batch, where a vector of vectors would allocate for each.

use std::rc::Rc;

use differential_dataflow::trace::implementations::ord_neu::{OrdValBatch, OrdValBuilder};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, OffsetList};
use differential_dataflow::trace::rc_blanket_impls::RcBuilder;
use differential_dataflow::trace::{Builder, Description};
use freshet_model::Epoch;
use timely::container::PushInto;

type Layout = (ByteList, ByteList, Vec<Epoch>, Vec<i64>, OffsetList);

/// One update: key, value, epoch, and how often.
pub(crate) type Update = ((Vec<u8>, Vec<u8>), Epoch, i64);
/// A sorted run of updates.
pub(crate) type StateBatch = Rc<OrdValBatch<Layout>>;
/// Builds runs.
pub(crate) type StateBuilder = RcBuilder<OrdValBuilder<Layout, Vec<Update>>>;
/// The runs of an arrangement, merged as they come.
pub(crate) type StateSpine = Spine<StateBatch>;

/// Makes a run of updates that are sorted by key and value.
///
/// Their bytes are reserved at once: a buffer that doubles as it grows is copied again and again, which took a quarter of a join's time.
pub(crate) fn batch(mut updates: Vec<Update>, description: Description<Epoch>) -> StateBatch {
    let mut builder = OrdValBuilder::<Layout, Vec<Update>>::with_capacity(updates.len(), updates.len(), updates.len());
    let first_of_its_key = |at: &usize| *at == 0 || updates[*at].0.0 != updates[*at - 1].0.0;
    let keys: usize = (0..updates.len()).filter(first_of_its_key).map(|at| updates[at].0.0.len()).sum();
    let values: usize = updates.iter().map(|((_, value), _, _)| value.len()).sum();
    builder.result.keys.bytes.reserve_exact(keys);
    builder.result.vals.vals.bytes.reserve_exact(values);
    builder.push(&mut updates);
    Rc::new(builder.done(description))
}

/// A list of byte strings, end to end.
pub(crate) struct ByteList {
    /// Where each string ends.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl PushInto<Vec<u8>> for ByteList {
    fn push_into(&mut self, item: Vec<u8>) {
        self.push_ref(&item);
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
