//! Where a row of a join stands among all others: the key in streams and arrangements.
//!
//! ```text
//! hash (8) │ length of the key (4) │ key │ side (1) │ time (8) │ lone (1) │ packed columns
//! ```
//!
//! Numbers are big endian, and the time's sign is turned round, so that bytes are in the order of keys, sides, times and rows. The key's length keeps
//! keys apart of which one begins like the other.

use crate::keys::PackedKeys;
use crate::state::JoinRow;

const HASH_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
/// Side, time and whether the row is alone.
const FIXED_BYTES: usize = 10;
/// Turns the order of negative and positive numbers round.
const SIGN: u64 = 1 << 63;

/// A row with its key and side.
pub(super) struct Place<'a> {
    /// Everything before the side.
    pub(super) key: &'a [u8],
    pub(super) side: usize,
    pub(super) row: JoinRow<'a>,
}

/// Appends the place of a row, which has a key.
pub(super) fn write(keys: &PackedKeys<'_>, (index, hash): (usize, u64), side: usize, row: &JoinRow<'_>, out: &mut Vec<u8>) {
    let length = out.len() + HASH_BYTES;
    out.extend_from_slice(&hash.to_be_bytes());
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    keys.append_bytes(index, out);
    let written = u32::try_from(out.len() - length - LENGTH_BYTES).expect("invariant: a key is part of a record");
    out[length..length + LENGTH_BYTES].copy_from_slice(&written.to_be_bytes());
    write_time(side, row.time, out);
    out.push(u8::from(row.lone));
    out.extend_from_slice(row.row);
}

/// Writes where the rows of a key and side begin that have a time, or a later one.
pub(super) fn write_start(key: &[u8], side: usize, time: i64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(key);
    write_time(side, time, out);
}

fn write_time(side: usize, time: i64, out: &mut Vec<u8>) {
    out.push(u8::from(side == 1));
    out.extend_from_slice(&(time.cast_unsigned() ^ SIGN).to_be_bytes());
}

/// Reads the place of so many rows.
///
/// # Panics
/// If the bytes are none: they come from this process or a checkpoint, which is checksummed.
pub(super) fn read(bytes: &[u8], weight: i64) -> Place<'_> {
    let of = |range: std::ops::Range<usize>| bytes.get(range).expect("invariant: a place was written whole");
    let length = of(HASH_BYTES..HASH_BYTES + LENGTH_BYTES).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (key, rest) = bytes.split_at(HASH_BYTES + LENGTH_BYTES + length);
    let (fixed, row) = rest.split_at(FIXED_BYTES);
    let time = fixed[1..9].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let row = JoinRow { time: (time ^ SIGN).cast_signed(), lone: fixed[9] != 0, row, weight };
    Place { key, side: usize::from(fixed[0]), row }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::KeyCodec;

    type Plain = (String, usize, i64, bool, Vec<u8>);

    fn plain() -> impl Strategy<Value = Plain> {
        ("[ab\u{1}]{0,3}", 0usize..2, prop_oneof![-3i64..3, any::<i64>()], any::<bool>(), prop::collection::vec(0u8..3, 0..3))
    }

    /// With one hash for all keys, as if all of them collided.
    fn written(plain: &Plain) -> Vec<u8> {
        let (key, side, time, lone, row) = plain;
        let keys: [ArrayRef; 1] = [Arc::new(StringArray::from(vec![key.as_str()]))];
        let codec = KeyCodec::new(&[DataType::Utf8]);
        let mut out = Vec::new();
        write(&codec.pack(&keys), (0, 7), *side, &JoinRow { time: *time, lone: *lone, row, weight: 1 }, &mut out);
        out
    }

    proptest! {
        #[test]
        fn places_are_read_as_they_were_and_lie_in_order(one in plain(), other in plain()) {
            let (bytes, others) = (written(&one), written(&other));
            let place = read(&bytes, 2);
            let row = JoinRow { time: one.2, lone: one.3, row: &one.4, weight: 2 };
            prop_assert_eq!((place.side, place.row), (one.1, row));
            prop_assert_eq!(place.key == read(&others, 1).key, one.0 == other.0);
            let order = (one.1, one.2, one.3, &one.4).cmp(&(other.1, other.2, other.3, &other.4));
            if one.0 == other.0 {
                prop_assert_eq!(bytes.cmp(&others), order);
            } else {
                prop_assert!(!others.starts_with(place.key));
            }
            let mut start = Vec::new();
            write_start(place.key, one.1, other.2, &mut start);
            prop_assert_eq!(start <= bytes, other.2 <= one.2);
        }
    }
}
