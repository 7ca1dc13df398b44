//! Appends to the log: one durable write for each group of epochs.

use freshet_model::Epoch;

use super::read::Chain;
use super::record::{FRAME_BYTES, Kind, Link, Record};
use crate::error::Error;
use crate::names::SegmentName;
use crate::point::point;
use crate::store::{Segment, Store};

/// A segment that has grown so long is followed by another one.
const SEGMENT_BYTES: usize = 16 << 20;
/// A record holds at most so many bytes.
const MAX_PAYLOAD_BYTES: usize = 1 << 30;

/// The end of the log of a generation that has begun.
#[derive(Debug)]
pub(crate) struct Writer {
    generation: u64,
    /// The base generation and what this one says of itself, repeated at the beginning of each segment.
    start: Vec<u8>,
    /// The last record.
    end: Link,
    next: Epoch,
    segment: Box<dyn Segment>,
    segment_bytes: usize,
    is_roll_due: bool,
    /// The generation since which the state counts.
    pub(crate) base: u64,
    /// The segments of the chain, oldest first; the last one is being written.
    pub(crate) segments: Vec<SegmentName>,
}

impl Writer {
    /// Begins the generation's part of the log after what was read.
    pub(crate) fn begin(store: &dyn Store, generation: u64, chain: &Chain, next: Epoch, start: &[u8]) -> Result<Writer, Error> {
        check_length(start)?;
        let previous = chain.end.unwrap_or(Link::NONE);
        let start = [&chain.base.to_le_bytes(), start].concat();
        let record = Record { kind: Kind::Start, generation, epoch: next, previous, payload: &start };
        let (segment, end, segment_bytes) = open(store, &record)?;
        let mut segments = chain.segments.clone();
        segments.push(SegmentName { generation, first: next });
        Ok(Writer { generation, base: chain.base, start, end, next, segment, segment_bytes, is_roll_due: false, segments })
    }

    /// Returns the epoch after the last one.
    pub(crate) fn next(&self) -> Epoch {
        self.next
    }

    /// Has the next group begin a segment, so that what lies before it can be collected.
    pub(crate) fn roll(&mut self) {
        self.is_roll_due = true;
    }

    /// Checks that the epochs are consecutive and go on where the log ends. Nothing is written.
    pub(crate) fn check(&self, epochs: &[(Epoch, Vec<u8>)]) -> Result<(), Error> {
        for (index, (epoch, payload)) in epochs.iter().enumerate() {
            let next = self.next.saturating_add(index as u64);
            if *epoch != next || next == Epoch::MAX {
                return Err(Error::Order(format!("epoch {epoch} was given to the log, which goes on with {next}")));
            }
            check_length(payload)?;
        }
        Ok(())
    }

    /// Appends epochs that have been checked. After an error the writer must not be used again.
    pub(crate) fn append(&mut self, store: &dyn Store, epochs: &[(Epoch, Vec<u8>)]) -> Result<(), Error> {
        point!("log::before_write");
        let is_used = self.segments.last().is_some_and(|segment| segment.first < self.next);
        if is_used && (self.is_roll_due || self.segment_bytes >= SEGMENT_BYTES) {
            self.begin_segment(store)?;
        }
        let mut bytes = Vec::with_capacity(epochs.iter().map(|(_, payload)| payload.len() + FRAME_BYTES).sum());
        let mut end = self.end;
        for (epoch, payload) in epochs {
            let record = Record { kind: Kind::Epoch, generation: self.generation, epoch: *epoch, previous: end, payload };
            end = record.encode(&mut bytes);
        }
        self.segment.append(&bytes)?;
        point!("log::after_sync");
        self.end = end;
        self.next += epochs.len() as u64;
        self.segment_bytes += bytes.len();
        Ok(())
    }

    fn begin_segment(&mut self, store: &dyn Store) -> Result<(), Error> {
        let Writer { generation, end: previous, next: epoch, .. } = *self;
        let record = Record { kind: Kind::Again, generation, epoch, previous, payload: &self.start };
        (self.segment, self.end, self.segment_bytes) = open(store, &record)?;
        self.segments.push(SegmentName { generation, first: epoch });
        self.is_roll_due = false;
        Ok(())
    }
}

/// Begins a segment with its first record.
fn open(store: &dyn Store, first: &Record<'_>) -> Result<(Box<dyn Segment>, Link, usize), Error> {
    let mut bytes = Vec::new();
    let link = first.encode(&mut bytes);
    let name = SegmentName { generation: first.generation, first: first.epoch };
    Ok((store.segment(&name.path(), &bytes)?, link, bytes.len()))
}

fn check_length(payload: &[u8]) -> Result<(), Error> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Error::Order(format!("a record of {} bytes was given to the log", payload.len())));
    }
    Ok(())
}
