//! Cuts a stream of chunks into lines without copying or allocating for each line.

use std::io::{BufRead, Read};
use std::sync::Arc;

use freshet_model::MAX_DEAD_PAYLOAD_BYTES;

use super::quotes::Quotes;
use crate::format::{Decoders, Header};

/// How much is read at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// One line, without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line within the limit, without a carriage return at its end.
    Record(&'a [u8]),
    /// A longer one, of which only the first bytes were kept.
    Oversized {
        /// The first [`MAX_DEAD_PAYLOAD_BYTES`] of the line.
        head: &'a [u8],
        /// Length of the whole line.
        bytes: u64,
    },
}

impl Line<'_> {
    /// Returns the length of the whole line.
    pub(super) fn length(&self) -> u64 {
        match self {
            Line::Record(record) => record.len() as u64,
            Line::Oversized { bytes, .. } => *bytes,
        }
    }

    /// Reads a file's first line as its header, if the format has one and the line is within the limit.
    pub(super) fn header(&self, decoders: &Decoders) -> Option<Arc<Header>> {
        match self {
            Line::Record(record) => decoders.header(record),
            Line::Oversized { .. } => None,
        }
    }
}

/// The bytes that were read and not yet handed out as lines: at most one line within the limit and one chunk.
#[derive(Debug)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Where the current line begins.
    begin: usize,
    /// There is no line feed between `begin` and here.
    searched: usize,
    /// Where the bytes that were read end.
    end: usize,
    /// The greatest length of a line.
    limit: usize,
    /// In CSV, whether what comes next stands in quotes.
    quotes: Option<Quotes>,
    /// What was dropped of the current line, because it is over the limit.
    dropped: u64,
    /// The first bytes of the current line, once it is over the limit.
    head: Vec<u8>,
}

impl Lines {
    /// Begins with nothing; a line of more than `limit` bytes will be reported as oversized.
    pub(super) fn new(limit: usize) -> Lines {
        Lines { buffer: Vec::new(), begin: 0, searched: 0, end: 0, limit, quotes: None, dropped: 0, head: Vec::new() }
    }

    /// As [`new`](Self::new), for lines of CSV, which may hold line feeds in quotes.
    pub(super) fn quoted(limit: usize, delimiter: u8) -> Lines {
        Lines { quotes: Some(Quotes::new(delimiter)), ..Lines::new(limit) }
    }

    /// Reads once, at most a chunk and at most `most` bytes; 0 is the end.
    pub(super) fn fill(&mut self, input: &mut impl Read, most: u64) -> std::io::Result<usize> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.searched -= self.begin;
        self.begin = 0;
        if self.buffer.len() < self.end + CHUNK_BYTES {
            self.buffer.resize(self.end + CHUNK_BYTES, 0);
        }
        let room = usize::try_from(most).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let read = input.read(&mut self.buffer[self.end..self.end + room])?;
        self.end += read;
        Ok(read)
    }

    /// Returns the number of bytes that wait to become lines.
    pub(super) fn waiting(&self) -> usize {
        self.end - self.begin
    }

    /// Takes the next line that is complete.
    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        let unread = &self.buffer[self.searched..self.end];
        let found = match &mut self.quotes {
            None => line_feed(unread),
            Some(quotes) => quotes.line_feed(unread),
        };
        if let Some(at) = found {
            let (from, to) = (self.begin, self.searched + at);
            self.begin = to + 1;
            self.searched = self.begin;
            return Some(self.line(from, to));
        }
        self.searched = self.end;
        // Over the limit even if the last byte should be a carriage return.
        if self.dropped > 0 || self.waiting() > self.limit + 1 {
            self.drop_part(self.begin, self.end);
            self.begin = self.end;
        }
        None
    }

    /// Takes what follows the last line feed, if it is anything, as the last line.
    pub(super) fn finish(&mut self) -> Option<Line<'_>> {
        if self.waiting() == 0 && self.dropped == 0 {
            return None;
        }
        let (from, to) = (self.begin, self.end);
        self.begin = self.end;
        self.searched = self.end;
        Some(self.line(from, to))
    }

    fn line(&mut self, from: usize, to: usize) -> Line<'_> {
        let trimmed = if self.buffer[from..to].ends_with(b"\r") { to - 1 } else { to };
        if self.dropped == 0 && trimmed - from <= self.limit {
            return Line::Record(&self.buffer[from..trimmed]);
        }
        self.drop_part(from, to);
        let bytes = std::mem::take(&mut self.dropped);
        Line::Oversized { head: &self.head, bytes }
    }

    /// Counts a part of an oversized line, and keeps it if it belongs to the line's first bytes.
    fn drop_part(&mut self, from: usize, to: usize) {
        if self.dropped == 0 {
            self.head.clear();
        }
        let keep = (MAX_DEAD_PAYLOAD_BYTES - self.head.len()).min(to - from);
        self.head.extend_from_slice(&self.buffer[from..from + keep]);
        self.dropped += (to - from) as u64;
    }
}

/// Finds the first line feed, at the speed of the C library's `memchr`, which the standard library offers only in this disguise.
fn line_feed(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let passed = rest.skip_until(b'\n').unwrap_or(0);
    (passed > 0 && bytes[passed - 1] == b'\n').then(|| passed - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A line as a value: the record, or the head and length of an oversized one.
    type Owned = Result<Vec<u8>, (Vec<u8>, u64)>;

    fn owned(line: Line<'_>) -> Owned {
        match line {
            Line::Record(bytes) => Ok(bytes.to_vec()),
            Line::Oversized { head, bytes } => Err((head.to_vec(), bytes)),
        }
    }

    /// Reads in chunks of the given lengths, in turn.
    struct Chunks<'a>(&'a [u8], std::iter::Cycle<std::slice::Iter<'a, usize>>);

    impl Read for Chunks<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let length = *self.1.next().unwrap();
            self.0.read(&mut out[..length])
        }
    }

    fn naive(bytes: &[u8], limit: usize) -> Vec<Owned> {
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        let line = |line: &[u8]| {
            let record = line.strip_suffix(b"\r").unwrap_or(line);
            let head = line[..line.len().min(MAX_DEAD_PAYLOAD_BYTES)].to_vec();
            if record.len() <= limit { Ok(record.to_vec()) } else { Err((head, line.len() as u64)) }
        };
        lines.into_iter().map(line).collect()
    }

    fn split(bytes: &[u8], chunks: &[usize], limit: usize) -> Vec<Owned> {
        let mut input = Chunks(bytes, chunks.iter().cycle());
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        loop {
            while let Some(line) = lines.next() {
                found.push(owned(line));
            }
            if lines.fill(&mut input, u64::MAX).unwrap() == 0 {
                found.extend(lines.finish().map(owned));
                return found;
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_naive_splitter(
            bytes in prop::collection::vec(prop::sample::select(b"\n\n\r\0ab\xff".to_vec()), 0..200),
            chunks in prop::collection::vec(1usize..20, 1..5),
            limit in 1usize..12,
        ) {
            prop_assert_eq!(split(&bytes, &chunks, limit), naive(&bytes, limit));
        }
    }

    #[test]
    fn a_huge_line_is_not_held_in_memory() {
        let mut bytes = vec![b'x'; 20_000_000];
        bytes.extend_from_slice(b"\n{}\n");
        let mut lines = Lines::new(1000);
        let mut input = &bytes[..];
        let mut found = Vec::new();
        while lines.fill(&mut input, u64::MAX).unwrap() > 0 {
            assert!(lines.buffer.len() <= CHUNK_BYTES + 1001);
            while let Some(line) = lines.next() {
                found.push(owned(line));
            }
        }
        assert_eq!(found, [Err((vec![b'x'; MAX_DEAD_PAYLOAD_BYTES], 20_000_000)), Ok(b"{}".to_vec())]);
    }
}
