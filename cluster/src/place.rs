//! Where in timely's messages a connection is being read.

/// The length of timely's header: six big-endian `u64`.
pub(crate) const HEADER_BYTES: usize = 48;
/// Where in it the length of the message stands.
const LENGTH_AT: usize = 32;

/// Follows the messages of one connection; the reader never sees a part of a header as the last thing.
pub(crate) struct Place {
    /// The beginning of a header, kept back until it is complete.
    header: [u8; HEADER_BYTES],
    kept: usize,
    /// How much of a complete header has been given; it is given whole or in pieces, but always to its end.
    given: usize,
    /// What is missing of the message under way.
    body: u64,
    /// Whether timely's mark of the end, an empty message, was met.
    at_end: bool,
    /// Whether what is missing is made up of zeros.
    filling: bool,
}

impl Default for Place {
    fn default() -> Place {
        Place { header: [0; HEADER_BYTES], kept: 0, given: 0, body: 0, at_end: false, filling: false }
    }
}

impl Place {
    /// Returns how many bytes of an incomplete header are kept back.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.header[..self.kept]
    }

    /// Returns what is missing of the message under way.
    pub(crate) fn missing(&self) -> u64 {
        self.body
    }

    /// Tells whether the mark of the end has been given.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at_end && self.kept == 0
    }

    /// Follows bytes that came, the kept ones before them; returns how many of them may be shown, and keeps the others.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> usize {
        self.kept = 0;
        let mut at = 0;
        while at < bytes.len() && !self.at_end {
            let rest = &bytes[at..];
            if self.body > 0 {
                let part = usize::try_from(self.body).unwrap_or(usize::MAX).min(rest.len());
                self.body -= part as u64;
                at += part;
            } else if let Some(header) = rest.first_chunk() {
                self.enter(header);
                at += HEADER_BYTES;
            } else {
                self.header[..rest.len()].copy_from_slice(rest);
                self.kept = rest.len();
                return at;
            }
        }
        bytes.len()
    }

    /// Takes more bytes of a header that is to be given from here, since the reader's buffer is too small for it.
    pub(crate) fn complete(&mut self, bytes: &[u8]) {
        let part = bytes.len().min(HEADER_BYTES - self.kept);
        self.header[self.kept..self.kept + part].copy_from_slice(&bytes[..part]);
        self.kept += part;
        if self.kept == HEADER_BYTES {
            let header = self.header;
            self.enter(&header);
        }
    }

    /// Makes up an end: the message under way is filled up, and the mark of the end follows.
    pub(crate) fn finish(&mut self) {
        self.filling = true;
    }

    /// Gives bytes that need no reading: those of a complete header that was kept back, or made-up ones.
    pub(crate) fn give(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.kept == HEADER_BYTES {
            let part = buffer.len().min(HEADER_BYTES - self.given);
            buffer[..part].copy_from_slice(&self.header[self.given..self.given + part]);
            self.given += part;
            if self.given == HEADER_BYTES {
                (self.kept, self.given) = (0, 0);
            }
            return Some(part);
        }
        if !self.filling || self.at_end {
            return None;
        }
        if self.body > 0 {
            let part = usize::try_from(self.body).unwrap_or(usize::MAX).min(buffer.len());
            buffer[..part].fill(0);
            self.body -= part as u64;
            return Some(part);
        }
        (self.header, self.kept, self.at_end) = ([0; HEADER_BYTES], HEADER_BYTES, true);
        self.give(buffer)
    }

    fn enter(&mut self, header: &[u8; HEADER_BYTES]) {
        let length = header[LENGTH_AT..].first_chunk().copied().map_or(0, u64::from_be_bytes);
        (self.body, self.at_end) = (length, length == 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![1; HEADER_BYTES + length];
        bytes[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&(length as u64).to_be_bytes());
        bytes
    }

    /// Reads like the stream does, `read` bytes at a time into a buffer of `room`, and makes up an end after `upto` bytes.
    fn read(source: &[u8], upto: usize, read: usize, room: usize) -> Vec<u8> {
        let (mut place, mut out, mut source) = (Place::default(), Vec::new(), &source[..upto]);
        let mut buffer = vec![9; room];
        while !place.is_at_end() {
            if let Some(given) = place.give(&mut buffer) {
                out.extend_from_slice(&buffer[..given]);
                continue;
            }
            if source.is_empty() {
                place.finish();
                continue;
            }
            let kept = place.kept().to_vec();
            let limit = if room <= kept.len() { HEADER_BYTES - kept.len() } else { room - kept.len() };
            let (part, rest) = source.split_at(limit.min(read).min(source.len()));
            source = rest;
            if room <= kept.len() {
                place.complete(part);
            } else {
                let shown = [&kept[..], part].concat();
                let whole = place.follow(&shown);
                out.extend_from_slice(&shown[..whole]);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn wherever_it_breaks_off_whole_messages_and_one_end_are_shown(
            lengths in prop::collection::vec(1_usize..200, 0..8),
            cut in 0.0..=1.0_f64,
            step in 1_usize..150,
            room in 1_usize..300,
        ) {
            let source: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).chain(message(0)).collect();
            let upto = (source.len() as f64 * cut) as usize;
            let shown = read(&source, upto, step, room);
            // What was shown of the source is right, and parses as whole messages with the mark of the end as the last one.
            let mut ends = vec![0];
            lengths.iter().for_each(|length| ends.push(ends[ends.len() - 1] + HEADER_BYTES + length));
            let begun = ends.iter().rposition(|end| upto >= end + HEADER_BYTES).map_or(0, |whole| whole + 1).min(lengths.len());
            prop_assert_eq!(shown.len(), ends[begun] + HEADER_BYTES);
            let same = upto.min(ends[begun]);
            prop_assert_eq!(&shown[..same], &source[..same]);
            let mark = &shown[ends[begun]..];
            prop_assert_eq!(&mark[LENGTH_AT..LENGTH_AT + 8], &[0; 8]);
        }
    }
}
