//! The bytes of one record of the log.
//!
//! ```text
//!  kind u32 │ length u32 │ generation u64 │ epoch u64 │ previous: generation u64, hash u64 │ hash of the header u64 │ payload │ hash of all u64
//! ```
//! The header has a hash of its own so that its length can be believed: a record that the file ends inside of is one whose writing
//! was cut off, and anything else that does not fit its hash has been damaged.

use freshet_model::Epoch;

use crate::bytes::{Input, Output, checksum};

/// Length of everything before the payload.
const HEADER_BYTES: usize = 48;
/// Length of everything but the payload.
pub(crate) const FRAME_BYTES: usize = HEADER_BYTES + 8;

/// Names a record: whose it is, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) generation: u64,
    pub(crate) hash: u64,
}

impl Link {
    /// What the first record of all continues.
    pub(crate) const NONE: Link = Link { generation: 0, hash: 0 };
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A generation begins; `epoch` is the first one that is its own.
    Start,
    /// A generation begins a further segment: its Start once more, so that each segment says whose it is.
    Again,
    /// An epoch.
    Epoch,
}

impl Kind {
    /// The numbers differ in many bits and none is made of zeros.
    fn number(self) -> u32 {
        match self {
            Kind::Start => 0x5374_6101,
            Kind::Again => 0x4167_6102,
            Kind::Epoch => 0x4570_6f03,
        }
    }

    fn parse(number: u32) -> Option<Kind> {
        [Kind::Start, Kind::Again, Kind::Epoch].into_iter().find(|kind| kind.number() == number)
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) generation: u64,
    pub(crate) epoch: Epoch,
    pub(crate) previous: Link,
    pub(crate) payload: &'a [u8],
}

impl Record<'_> {
    /// Appends the record's bytes and returns its link.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Link {
        let begin = out.len();
        out.u32(self.kind.number());
        out.u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        out.u64(self.generation);
        out.u64(self.epoch);
        out.u64(self.previous.generation);
        out.u64(self.previous.hash);
        out.u64(checksum(&out[begin..]));
        out.extend_from_slice(self.payload);
        let hash = checksum(&out[begin..]);
        out.u64(hash);
        Link { generation: self.generation, hash }
    }
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record, its link, and its length.
    Record(Record<'a>, Link, usize),
    /// Nothing: the segment ends here.
    End,
    /// A record whose writing was cut off.
    Torn,
}

/// Reads what stands at the beginning of `bytes`, the rest of a segment.
///
/// # Errors
/// Tells what is wrong with a record that was written whole.
pub(crate) fn decode(bytes: &[u8]) -> Result<Found<'_>, &'static str> {
    if bytes.is_empty() {
        return Ok(Found::End);
    }
    // Some file systems lengthen a file before they have its bytes: after a power loss its end may be zeros.
    if bytes.len() < HEADER_BYTES || bytes.iter().all(|byte| *byte == 0) {
        return Ok(Found::Torn);
    }
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    let (record, length) = parse_header(header).ok_or("the header of the record does not fit its checksum")?;
    let mut rest = Input(rest);
    let (Some(payload), Some(hash)) = (rest.take(length), rest.u64()) else { return Ok(Found::Torn) };
    let length = HEADER_BYTES + length;
    if checksum(&bytes[..length]) != hash {
        return Err("the record does not fit its checksum");
    }
    Ok(Found::Record(Record { payload, ..record }, Link { generation: record.generation, hash }, length + 8))
}

fn parse_header(header: &[u8]) -> Option<(Record<'static>, usize)> {
    let mut input = Input(header);
    let (kind, length) = (input.u32()?, input.u32()?);
    let (generation, epoch) = (input.u64()?, input.u64()?);
    let previous = Link { generation: input.u64()?, hash: input.u64()? };
    if input.u64()? != checksum(&header[..HEADER_BYTES - 8]) {
        return None;
    }
    let record = Record { kind: Kind::parse(kind)?, generation, epoch, previous, payload: &[] };
    Some((record, usize::try_from(length).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_back_and_any_other_byte_is_seen(
            payload in prop::collection::vec(any::<u8>(), 0..300), epoch: u64, at: prop::sample::Index, flip in 1u8..
        ) {
            let previous = Link { generation: 1, hash: 77 };
            let record = Record { kind: Kind::Epoch, generation: 2, epoch, previous, payload: &payload };
            let mut bytes = Vec::new();
            let link = record.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), FRAME_BYTES + payload.len());
            prop_assert_eq!(decode(&bytes), Ok(Found::Record(record, link, bytes.len())));
            let at = at.index(bytes.len());
            prop_assert_eq!(decode(&bytes[..at]), Ok(if at == 0 { Found::End } else { Found::Torn }));
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn garbage_is_no_record(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            prop_assert!(!matches!(decode(&bytes), Ok(Found::Record(..))));
        }
    }

    #[test]
    fn zeros_to_the_end_are_a_torn_write() {
        assert_eq!(decode(&[0; 200]), Ok(Found::Torn));
    }
}
