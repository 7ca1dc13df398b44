//! Turns lines into a batch: the decoder takes those within the limit, the others become dead letters here.

use std::ops::Range;
use std::sync::Arc;

use freshet_model::{Batch, DeadLetter, Offset, PartitionId, Progress, Reason, Timestamp};

use super::lines::Line;
use crate::format::{Decoder, Decoders, FULL_BYTES, Header};
use crate::{Error, SourceOptions};

/// A decoder that also takes lines whose contents were dropped.
pub(super) struct Intake {
    source: String,
    limit: usize,
    decoders: Decoders,
    decoder: Decoder,
    oversized: Vec<DeadLetter>,
    oversized_bytes: usize,
}

impl Intake {
    /// Prepares for the columns and limits of a source.
    pub(super) fn new(options: &SourceOptions, decoders: &Decoders) -> Intake {
        Intake {
            source: options.name.clone(),
            limit: options.max_record_bytes,
            decoders: decoders.clone(),
            decoder: decoders.decoder(),
            oversized: Vec::new(),
            oversized_bytes: 0,
        }
    }

    /// Says when the epochs of what is taken from now on are cut, at the earliest.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.decoder.set_now(now);
    }

    /// Tells whether it should be finished before it takes more.
    pub(super) fn is_full(&self) -> bool {
        self.decoder.is_full() || self.oversized_bytes >= FULL_BYTES
    }

    /// Takes one line; returns its length. The first of a file may be the header of those that follow.
    pub(super) fn take(&mut self, offset: Offset, line: Line<'_>, header: &mut Option<Arc<Header>>) -> u64 {
        let length = line.length();
        if offset == 0 {
            *header = line.header(&self.decoders);
            if header.is_some() {
                return length;
            }
        }
        if let Some(header) = header {
            self.decoder.set_header(header);
        }
        let (head, bytes) = match line {
            Line::Record(record) => {
                self.decoder.decode(offset, Some(record));
                return length;
            }
            Line::Oversized { head, bytes } => (head, bytes),
        };
        self.oversized_bytes += usize::try_from(bytes).unwrap_or(usize::MAX);
        self.oversized.push(DeadLetter {
            source: self.source.clone(),
            partition: 0,
            offset,
            reason: Reason::Oversized,
            detail: format!("the record has {bytes} bytes, the source takes {}", self.limit),
            payload: head.to_vec(),
        });
        bytes
    }

    /// Returns what has been taken, and begins anew.
    pub(super) fn finish(&mut self, partition: PartitionId, range: Range<Offset>, progress: Progress) -> Result<Batch, Error> {
        self.decoder.check()?;
        let mut batch = self.decoder.finish(partition, range, progress);
        batch.bytes += std::mem::take(&mut self.oversized_bytes);
        for letter in self.oversized.drain(..) {
            batch.dead.push(DeadLetter { partition, ..letter });
        }
        batch.dead.sort_by_key(|letter| letter.offset);
        Ok(batch)
    }
}
