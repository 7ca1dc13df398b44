//! The keys of folds and views: columns packed into bytes, compared and hashed as such.
//!
//! A key in a stream or an arrangement is its hash (8 bytes, big endian), then the packed columns. The hash comes first so that keys
//! are compared by it, and so that a range of hashes is a range of keys: workers own ranges by the hash modulo their number, and a
//! checkpoint can be cut at any of them. It is xxHash3 with seed 0, fixed for ever: it outlives processes.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, SchemaRef};
use hashbrown::HashTable;
use twox_hash::XxHash3_64;

pub use crate::row_format::PackedRows;
use crate::row_format::RowFormat;

/// Bytes of the hash before a key's columns.
const HASH_BYTES: usize = 8;

/// Marks of the last byte of a packed key.
const NULL: u8 = 0;
const PRESENT: u8 = 1;

/// Returns the hash of a key, by which it is routed.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    key.first_chunk::<HASH_BYTES>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Returns the worker that keeps the keys of a hash: each has a range of hashes, so that what one worker saved can be read by any number.
#[must_use]
pub fn worker_of(hash: u64, peers: usize) -> u64 {
    // The upper half of the product, which is below `peers`.
    ((u128::from(hash) * peers as u128) >> 64) as u64
}

/// Returns the hashes of the keys that a worker keeps, both ends included.
#[must_use]
pub fn hashes_of(worker: usize, peers: usize) -> RangeInclusive<u64> {
    let first = |worker: usize| ((worker as u128) << 64).div_ceil(peers as u128);
    #[allow(clippy::cast_possible_truncation)] // below 2^64, since worker < peers
    let range = first(worker) as u64..=(first(worker + 1) - 1) as u64;
    range
}

/// Packs the columns of a key and unpacks them again.
///
/// A single text is packed as its bytes; everything else as a row.
pub struct KeyCodec(Packing);

enum Packing {
    Text,
    Rows(RowFormat),
}

/// The packed keys of a batch, before they are looked up.
pub(crate) enum PackedKeys<'a> {
    Text(&'a StringArray),
    Rows(PackedRows),
    /// A key without columns.
    Unit,
}

impl PackedKeys<'_> {
    /// Returns the bytes of a row's key and the mark that goes behind them.
    fn get(&self, row: usize) -> (&[u8], u8) {
        match self {
            PackedKeys::Text(array) if array.is_null(row) => (&[], NULL),
            PackedKeys::Text(array) => (array.value(row).as_bytes(), PRESENT),
            PackedKeys::Rows(rows) => (rows.row(row), PRESENT),
            PackedKeys::Unit => (&[], PRESENT),
        }
    }

    /// Returns the hash of a row's key.
    pub(crate) fn hash(&self, row: usize) -> u64 {
        XxHash3_64::oneshot(self.get(row).0)
    }

    /// Appends a row's key without its hash.
    pub(crate) fn append_bytes(&self, row: usize, keys: &mut Vec<u8>) {
        let (data, mark) = self.get(row);
        keys.extend_from_slice(data);
        keys.push(mark);
    }

    /// Appends a row's key, whose hash is known, to others.
    pub(crate) fn append(&self, row: usize, hash: u64, keys: &mut Vec<u8>) {
        keys.extend_from_slice(&hash.to_be_bytes());
        self.append_bytes(row, keys);
    }
}

impl KeyCodec {
    /// Builds the codec of keys with these column types.
    ///
    /// # Panics
    /// If a type has no row format: the planner lets only Freshet's column types through.
    #[must_use]
    pub fn new(types: &[DataType]) -> KeyCodec {
        if types == [DataType::Utf8] {
            return KeyCodec(Packing::Text);
        }
        KeyCodec(Packing::Rows(RowFormat::new(types)))
    }

    /// Packs the keys of a batch.
    pub(crate) fn pack<'a>(&self, columns: &'a [ArrayRef]) -> PackedKeys<'a> {
        match &self.0 {
            Packing::Text => PackedKeys::Text(columns[0].as_string()),
            Packing::Rows(_) if columns.is_empty() => PackedKeys::Unit,
            Packing::Rows(format) => PackedKeys::Rows(format.pack(columns)),
        }
    }

    /// Unpacks keys into columns.
    #[must_use]
    pub fn unpack<'a>(&self, keys: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<ArrayRef> {
        match &self.0 {
            Packing::Text => {
                let mut texts = StringBuilder::with_capacity(keys.len(), keys.len() * 16);
                for key in keys {
                    let (mark, text) = key[HASH_BYTES..].split_last().expect("invariant: a key ends in a mark");
                    let text = std::str::from_utf8(text).expect("invariant: the key was packed from a text");
                    texts.append_option((*mark == PRESENT).then_some(text));
                }
                vec![Arc::new(texts.finish())]
            }
            Packing::Rows(format) => format.unpack(keys.map(|key| &key[HASH_BYTES..key.len() - 1])).1,
        }
    }
}

/// Gives each distinct key a number, in order of appearance.
#[derive(Default)]
pub(crate) struct Interner {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    /// The keys, hash and mark included, one behind the other.
    bytes: Vec<u8>,
}

struct Entry {
    hash: u64,
    start: usize,
    end: usize,
}

impl Interner {
    /// Returns the number of a row's key.
    pub(crate) fn intern(&mut self, keys: &PackedKeys<'_>, row: usize) -> u32 {
        let (data, mark) = keys.get(row);
        let hash = XxHash3_64::oneshot(data);
        if let Some(number) = self.table.find(hash, |number| self.is(*number, hash, data, mark)) {
            return *number;
        }
        let number = u32::try_from(self.entries.len()).expect("invariant: an epoch has fewer than 2^32 records");
        let start = self.bytes.len();
        keys.append(row, hash, &mut self.bytes);
        self.entries.push(Entry { hash, start, end: self.bytes.len() });
        self.table.insert_unique(hash, number, |number| self.entries[*number as usize].hash);
        number
    }

    /// Returns the number of a row's key, if it has one.
    pub(crate) fn find(&self, keys: &PackedKeys<'_>, row: usize) -> Option<u32> {
        let (data, mark) = keys.get(row);
        let hash = XxHash3_64::oneshot(data);
        self.table.find(hash, |number| self.is(*number, hash, data, mark)).copied()
    }

    fn is(&self, number: u32, hash: u64, data: &[u8], mark: u8) -> bool {
        let entry = &self.entries[number as usize];
        let key = &self.bytes[entry.start + HASH_BYTES..entry.end];
        entry.hash == hash && key.split_last() == Some((&mark, data))
    }

    /// Returns the number of distinct keys.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns key number `number`, hash and mark included.
    pub(crate) fn key(&self, number: usize) -> &[u8] {
        let entry = &self.entries[number];
        &self.bytes[entry.start..entry.end]
    }
}

/// Packs whole rows of a view, or only the columns of its key, into ordered bytes, and unpacks them for a sink.
pub struct RowCodec {
    format: RowFormat,
    schema: SchemaRef,
}

impl RowCodec {
    /// Builds the codec of rows of this schema.
    ///
    /// # Panics
    /// If a type has no row format: the planner lets only Freshet's column types through.
    #[must_use]
    pub fn new(schema: SchemaRef) -> RowCodec {
        RowCodec { format: RowFormat::new(schema.fields().iter().map(|field| field.data_type())), schema }
    }

    /// Packs rows given as columns, of which the key of a view without a key has none.
    ///
    /// # Panics
    /// If the columns are not of the schema's types.
    #[must_use]
    pub fn pack(&self, columns: &[ArrayRef]) -> PackedRows {
        self.format.pack(columns)
    }

    /// Unpacks rows into a batch of the schema.
    ///
    /// # Panics
    /// If the bytes were not packed by a codec of the same schema.
    #[must_use]
    pub fn unpack<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> RecordBatch {
        let (count, columns) = self.format.unpack(rows);
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .expect("invariant: the codec has the schema's types")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use proptest::prelude::*;

    fn keys_of(codec: &KeyCodec, columns: &[ArrayRef]) -> (Vec<u32>, Interner) {
        let mut interner = Interner::default();
        let packed = codec.pack(columns);
        ((0..columns[0].len()).map(|row| interner.intern(&packed, row)).collect(), interner)
    }

    proptest! {
        #[test]
        fn keys_are_told_apart_and_unpacked_as_they_were(texts in prop::collection::vec(prop::option::of("[ab\u{0}]{0,3}"), 1..30), two in any::<bool>()) {
            let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(texts.clone()))];
            if two {
                columns.push(Arc::new(Int64Array::from_iter(texts.iter().map(|t| t.as_ref().map(|t| t.len() as i64 % 2)))));
            }
            let codec = KeyCodec::new(&columns.iter().map(|c| c.data_type().clone()).collect::<Vec<_>>());
            let (numbers, interner) = keys_of(&codec, &columns);
            for (a, b) in (0..texts.len()).flat_map(|a| (0..texts.len()).map(move |b| (a, b))) {
                prop_assert_eq!(numbers[a] == numbers[b], texts[a] == texts[b]);
            }
            let back = codec.unpack(numbers.iter().map(|&number| interner.key(number as usize)).collect::<Vec<_>>().into_iter());
            prop_assert_eq!(&back[0], &columns[0]);
        }
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        let codec = KeyCodec::new(&[DataType::Utf8]);
        let columns: [ArrayRef; 1] = [Arc::new(StringArray::from(vec!["user_1"]))];
        let (_, interner) = keys_of(&codec, &columns);
        assert_eq!(key_hash(interner.key(0)), XxHash3_64::oneshot(b"user_1"));
    }

    #[test]
    fn each_worker_keeps_the_hashes_of_its_range() {
        for peers in [1, 2, 3, 4, 7, 64] {
            let mut next = Some(0);
            for worker in 0..peers {
                let range = hashes_of(worker, peers);
                assert_eq!(Some(*range.start()), next);
                next = range.end().checked_add(1);
                for hash in [*range.start(), *range.end()] {
                    assert_eq!(worker_of(hash, peers), worker as u64);
                }
            }
            assert_eq!(next, None, "the last range ends with the last hash");
        }
    }
}
