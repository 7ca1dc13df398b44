//! Reads the segments of one generation: checks every record and the links between them.

use freshet_model::Epoch;

use super::Entry;
use super::record::{Found, Kind, Link, Record, decode};
use crate::bytes::Input;
use crate::error::{Damaged, Error};
use crate::names::SegmentName;
use crate::store::Store;

/// A segment is begun anew long before it is so long; a longer one is not read.
const MAX_SEGMENT_BYTES: u64 = 4 << 30;

/// Where a generation's part of the log ends, as the next one says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) link: Link,
    pub(super) next: Epoch,
}

/// What one generation has in the log.
#[derive(Debug)]
pub(super) struct Stretch {
    /// What its first record continues.
    pub(super) previous: Link,
    /// Whether the first record is the generation's own Start, and not one of a further segment.
    pub(super) is_whole: bool,
    /// The first epoch.
    pub(super) first: Epoch,
    /// Where it ends.
    pub(super) end: Target,
    /// The entries from the epoch asked for on, and the Start.
    pub(super) entries: Vec<Entry>,
    /// The segments that were read.
    pub(super) segments: Vec<SegmentName>,
}

/// Reads consecutive segments of one generation up to the target, or to the end if there is none.
pub(super) fn read(
    store: &dyn Store,
    segments: &[(SegmentName, Vec<String>)],
    from: Epoch,
    target: Option<Target>,
) -> Result<Stretch, Error> {
    let mut stretch: Option<Stretch> = None;
    for (index, (name, paths)) in segments.iter().enumerate() {
        let file = format!("{}/{}", store.place(), name.path());
        let bytes = load(store, paths, &file)?;
        let mut scan = Scan { file: &file, name: *name, from, target, stretch: stretch.take() };
        let is_torn = scan.run(&bytes)?;
        let done = scan.stretch.ok_or_else(|| Damaged::log(&file, 0, "the record that begins the segment is missing"))?;
        if Some(done.end) == target {
            return Ok(done);
        }
        if is_torn && index + 1 < segments.len() {
            return Err(Damaged::log(&file, bytes.len(), "the segment ends inside a record, and another one follows it").into());
        }
        if let (Some(target), true) = (target, index + 1 == segments.len()) {
            let problem = format!("epoch {} is missing, after which a later generation goes on", target.next.saturating_sub(1));
            return Err(Damaged::log(&file, bytes.len(), problem).into());
        }
        stretch = Some(done);
    }
    stretch.ok_or_else(|| Error::Order("a generation without segments was read".to_owned()))
}

/// Takes the base generation from the payload of a Start.
fn split_start(payload: &[u8]) -> Option<(u64, Vec<u8>)> {
    let mut input = Input(payload);
    Some((input.u64()?, input.0.to_vec()))
}

/// Reads the base generation from the first record of a segment.
pub(super) fn read_base(store: &dyn Store, name: SegmentName, first_piece: &str) -> Result<u64, Error> {
    let file = format!("{}/{}", store.place(), name.path());
    let bytes = load(store, &[first_piece.to_owned()], &file)?;
    let damaged = |problem| Damaged::log(&file, 0, problem);
    match decode(&bytes).map_err(damaged)? {
        Found::Record(record, ..) if record.kind != Kind::Epoch => {
            Ok(split_start(record.payload).ok_or_else(|| damaged("the start of the generation is too short"))?.0)
        }
        _ => Err(damaged("the record that begins the segment is missing").into()),
    }
}

fn load(store: &dyn Store, paths: &[String], file: &str) -> Result<Vec<u8>, Error> {
    let pieces = store.read(paths, MAX_SEGMENT_BYTES)?;
    let mut bytes = Vec::new();
    for piece in pieces {
        let gone = || Damaged::log(file, bytes.len(), "was removed while it was read");
        let piece = piece.ok_or_else(gone)?;
        match bytes.is_empty() {
            true => bytes = piece,
            false => bytes.extend_from_slice(&piece),
        }
    }
    Ok(bytes)
}

/// The state of reading one segment.
struct Scan<'a> {
    file: &'a str,
    name: SegmentName,
    from: Epoch,
    target: Option<Target>,
    stretch: Option<Stretch>,
}

impl Scan<'_> {
    /// Reads the segment to its end or to the target, and tells whether its last record was cut off.
    fn run(&mut self, bytes: &[u8]) -> Result<bool, Damaged> {
        let mut offset = 0;
        loop {
            if offset > 0 && self.target.is_some() && self.stretch.as_ref().map(|stretch| stretch.end) == self.target {
                return Ok(false);
            }
            match decode(&bytes[offset..]).map_err(|problem| Damaged::log(self.file, offset, problem))? {
                Found::End => return Ok(false),
                Found::Torn => return Ok(true),
                Found::Record(record, link, length) => {
                    self.take(&record, link, offset == 0).map_err(|problem| Damaged::log(self.file, offset, problem))?;
                    offset += length;
                }
            }
        }
    }

    fn take(&mut self, record: &Record<'_>, link: Link, is_first: bool) -> Result<(), &'static str> {
        if record.generation != self.name.generation {
            return Err("the record is of another generation than its segment");
        }
        if is_first != (record.kind != Kind::Epoch) {
            return Err("a segment begins with the start of its generation, and only there");
        }
        if is_first && record.epoch != self.name.first {
            return Err("the segment begins with another epoch than its name says");
        }
        let end = Target { link, next: record.epoch };
        let Some(stretch) = &mut self.stretch else {
            let (_, payload) = split_start(record.payload).ok_or("the start of the generation is too short")?;
            let entry = Entry::Start { generation: record.generation, next: record.epoch, payload };
            self.stretch = Some(Stretch {
                previous: record.previous,
                is_whole: record.kind == Kind::Start,
                first: record.epoch,
                end,
                entries: vec![entry],
                segments: vec![self.name],
            });
            return Ok(());
        };
        if record.previous != stretch.end.link || record.epoch != stretch.end.next {
            return Err("the record does not continue the one before it");
        }
        match record.kind {
            Kind::Start => return Err("a generation begins twice"),
            Kind::Again => {
                stretch.segments.push(self.name);
                stretch.end = end;
            }
            Kind::Epoch => {
                stretch.end = Target { link, next: record.epoch.checked_add(1).ok_or("no epoch can follow")? };
                if record.epoch >= self.from {
                    stretch.entries.push(Entry::Epoch { epoch: record.epoch, payload: record.payload.to_vec() });
                }
            }
        }
        Ok(())
    }
}
