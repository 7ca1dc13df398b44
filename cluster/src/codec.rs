//! Bytes to numbers and back; whatever comes in may be hostile.

use std::io::{self, Read};

/// Reads numbers off the front of some bytes; `None` when they do not suffice.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Returns all that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Returns `value` if nothing is left.
    pub(crate) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Puts a length before the bytes.
pub(crate) fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + bytes.len());
    let length = u32::try_from(bytes.len()).expect("invariant: what is sent was measured before");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

/// Reads a length and so many bytes, of which there may be `limit`.
///
/// Memory is taken as bytes arrive, not as the length promises.
pub(crate) fn read_with_length(reader: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
    }
    let mut bytes = Vec::new();
    reader.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = with_length(b"abc");
        assert_eq!(read_with_length(&mut &bytes[..], 3).expect("whole"), b"abc");
        assert!(read_with_length(&mut &bytes[..], 2).is_err());
        assert!(read_with_length(&mut &bytes[..6], 3).is_err());
        assert!(read_with_length(&mut &[255, 255, 255, 255, 0][..], 1 << 20).is_err());
    }
}
