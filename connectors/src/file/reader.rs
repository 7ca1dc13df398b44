//! Reads records from the lines of several inputs in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_model::{Batch, Offset, PartitionId, Progress, Timestamp};

use super::input::{Fetched, Input};
use super::intake::Intake;
use super::lines::Lines;
use crate::format::{Decoders, Header};
use crate::{Error, Reader, SourceOptions};

/// How often an input is looked at for more.
const POLL: Duration = Duration::from_millis(5);
/// So many chunks are read of one partition before the others get their turn, however few lines they hold.
const CHUNKS_A_TURN: usize = 64;

/// One partition, and how far it has been read.
pub(super) struct Cursor {
    partition: PartitionId,
    input: Input,
    lines: Lines,
    /// The number of the next line.
    next: Offset,
    /// Length of the lines so far, for an estimate of how many wait.
    bytes: u64,
    /// The progress told last.
    told: Option<Progress>,
    /// It is not to be read further for now.
    held: bool,
    /// What the first line says of the others, in formats with a header.
    header: Option<Arc<Header>>,
}

impl Cursor {
    /// Begins at the first line of an input.
    pub(super) fn new(partition: PartitionId, input: Input, lines: Lines) -> Cursor {
        Cursor { partition, input, lines, next: 0, bytes: 0, told: None, held: false, header: None }
    }

    /// Passes over the lines before an offset, as far as they are there now, and returns the number of the next line. Of a file that is followed
    /// only complete lines count, as they do when they are read.
    pub(super) fn skip(&mut self, thing: &str, offset: Offset, decoders: &Decoders) -> Result<Offset, Error> {
        while self.next < offset {
            if let Some(line) = self.lines.next() {
                if self.next == 0 {
                    self.header = line.header(decoders);
                }
                self.bytes += line.length();
                self.next += 1;
                continue;
            }
            match self.input.fetch(thing, &mut self.lines)? {
                Fetched::Bytes => {}
                Fetched::Nothing => break,
                Fetched::End => {
                    self.next += Offset::from(self.lines.finish().is_some());
                    break;
                }
            }
        }
        Ok(self.next)
    }

    /// Gives at most so many lines to `intake` and returns how the partition stands then.
    fn read(&mut self, thing: &str, most: usize, intake: &mut Intake) -> Result<Progress, Error> {
        let end = self.next.saturating_add(Offset::try_from(most).unwrap_or(Offset::MAX));
        let mut chunks = 0;
        while self.next < end && chunks < CHUNKS_A_TURN && !intake.is_full() {
            if let Some(line) = self.lines.next() {
                self.bytes += intake.take(self.next, line, &mut self.header);
                self.next += 1;
                continue;
            }
            chunks += 1;
            match self.input.fetch(thing, &mut self.lines)? {
                Fetched::Bytes => {}
                Fetched::Nothing => return Ok(Progress::AtEnd),
                Fetched::End => {
                    if let Some(line) = self.lines.finish() {
                        self.bytes += intake.take(self.next, line, &mut self.header);
                        self.next += 1;
                    }
                    return Ok(Progress::Finished);
                }
            }
        }
        Ok(Progress::Behind(self.waiting()))
    }

    /// Estimates how many lines wait.
    fn waiting(&self) -> u64 {
        let mean = self.bytes / self.next.cast_unsigned().max(1) + 1;
        ((self.input.waiting() + self.lines.waiting() as u64) / mean).max(1)
    }
}

/// The cursors of one thread.
pub(super) struct FileReader {
    thing: String,
    intake: Intake,
    cursors: Vec<Cursor>,
    /// The cursor that goes first in the next read, so that a small `max_records` starves none.
    turn: usize,
}

impl FileReader {
    /// Reads the given cursors as the options say; `thing` names the source in errors.
    pub(super) fn new(thing: String, options: &SourceOptions, decoders: &Decoders, cursors: Vec<Cursor>) -> FileReader {
        FileReader { thing, intake: Intake::new(options, decoders), cursors, turn: 0 }
    }

    fn read_there(&mut self, max_records: usize, out: &mut Vec<Batch>) -> Result<(), Error> {
        let mut left = max_records;
        for step in 0..self.cursors.len() {
            // An equal share of what is left for each of the partitions to come.
            let most = left.div_ceil(self.cursors.len() - step);
            let index = (self.turn + step) % self.cursors.len();
            left -= self.read_partition(index, most, out)?;
        }
        self.turn = (self.turn + 1) % self.cursors.len().max(1);
        Ok(())
    }

    /// Reads at most so many lines of one partition, and returns how many.
    fn read_partition(&mut self, index: usize, most: usize, out: &mut Vec<Batch>) -> Result<usize, Error> {
        let cursor = &mut self.cursors[index];
        if cursor.told == Some(Progress::Finished) || cursor.held || most == 0 {
            return Ok(0);
        }
        let from = cursor.next;
        let progress = cursor.read(&self.thing, most, &mut self.intake)?;
        let news = cursor.told.as_ref().map(std::mem::discriminant) != Some(std::mem::discriminant(&progress));
        if cursor.next > from || news {
            cursor.told = Some(progress);
            out.push(self.intake.finish(cursor.partition, from..cursor.next, progress)?);
        }
        Ok(usize::try_from(cursor.next - from).unwrap_or(most))
    }
}

impl Reader for FileReader {
    fn set_now(&mut self, now: Timestamp) {
        self.intake.set_now(now);
    }

    fn hold(&mut self, partition: PartitionId, held: bool) -> Result<(), Error> {
        self.cursors.iter_mut().filter(|cursor| cursor.partition == partition).for_each(|cursor| cursor.held = held);
        Ok(())
    }

    fn read(&mut self, max_records: usize, wait: Duration, out: &mut Vec<Batch>) -> Result<(), Error> {
        let deadline = Instant::now() + wait;
        let before = out.len();
        loop {
            self.read_there(max_records, out)?;
            let now = Instant::now();
            if out.len() > before || now >= deadline {
                return Ok(());
            }
            std::thread::sleep(POLL.min(deadline - now));
        }
    }

    fn is_finished(&self) -> bool {
        self.cursors.iter().all(|cursor| cursor.told == Some(Progress::Finished))
    }
}
