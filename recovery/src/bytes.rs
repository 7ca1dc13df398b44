//! Little-endian numbers and counted strings, read from bytes that may be anything.

use twox_hash::XxHash3_64;

/// Hashes bytes; the checksum of everything that this crate writes.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// A cursor over bytes that may end too early; every read says so instead of panicking.
#[derive(Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// Takes `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*taken))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*taken))
    }

    /// Takes bytes that are preceded by their number.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.take(usize::try_from(count).ok()?)
    }

    /// Takes a string that is preceded by its length.
    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.counted()?.to_vec()).ok()
    }

    /// Takes a number of items of at least `size` bytes each, which the rest must be able to hold.
    pub(crate) fn count(&mut self, size: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count.checked_mul(size)? <= self.0.len()).then_some(count)
    }
}

/// Appends numbers as [`Input`] reads them.
pub(crate) trait Output {
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
    fn counted(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    /// Invariant: the writers bound what they take to less than 4 GB.
    fn counted(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_no_further() {
        let mut bytes = Vec::new();
        bytes.u32(7);
        bytes.counted(b"fold");
        bytes.u64(u64::MAX);
        let mut input = Input(&bytes);
        assert_eq!((input.u32(), input.text(), input.u64()), (Some(7), Some("fold".to_owned()), Some(u64::MAX)));
        assert_eq!((input.u32(), input.u64(), input.counted()), (None, None, None));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut bytes = Vec::new();
        bytes.u32(u32::MAX);
        bytes.u64(0);
        assert_eq!(Input(&bytes).counted(), None);
        assert_eq!(Input(&bytes).count(1), None);
        assert_eq!(Input(&[8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).count(1), Some(8));
    }
}
