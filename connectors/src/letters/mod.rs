//! Dead letters and late events after they have been kept: read, shown, and put back.
//!
//! ```text
//! job ── Only ──▶ topic, table or file            written with the epochs, exactly once, as any sink is
//!                    │
//!                 Archive ──▶ list, show          one for each system, in its folder
//!                    │
//!                 replay ──▶ Target               payload and ledger in one step; then the archive is marked
//! ```
//! What is put back, and how that stays exactly once, stands in `replay.rs`.

mod only;
mod place;
mod replay;

use std::collections::BTreeMap;

use freshet_model::{Epoch, Timestamp};

use crate::Error;
use crate::tables::rejects::SHORT_PAYLOAD_BYTES;

pub(crate) use only::Only;
pub use place::Place;
pub use replay::{Outcome, Replay, Target, replay};

/// The two kinds of records that do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records that were not accepted.
    Dead,
    /// Events that came after their window had closed.
    Late,
}

/// What a target is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read its ledger: nothing is made or changed, and nobody shut out.
    Read,
    /// To put letters back.
    Write,
}

/// What a place for rejects is to know beside what every sink knows.
#[derive(Debug, Clone)]
pub struct RejectsOptions {
    /// What it takes.
    pub kind: Kind,
    /// So much of a dead letter's record is kept.
    pub max_payload_bytes: usize,
    /// The topic that each source reads, if it reads one.
    pub topics: BTreeMap<String, String>,
}

/// Where rejects were kept.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// The job's name.
    pub job: String,
    /// The sink's name in the job.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Whether it holds nothing but rejects of one kind; otherwise they lie beside views.
    pub alone: bool,
    /// The client library's settings.
    pub settings: BTreeMap<String, String>,
}

/// A dead letter or a late event, as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where the record came from.
    pub place: Place,
    /// The job.
    pub job: String,
    /// The epoch that rejected it.
    pub epoch: Option<Epoch>,
    /// When that epoch was cut; tables and files of earlier versions do not know it.
    pub time: Option<Timestamp>,
    /// Why, as a code; empty for a late event.
    pub reason: String,
    /// Why, for a person; empty for a late event.
    pub detail: String,
    /// What was kept of the record; of a late event its columns as JSON.
    pub payload: Vec<u8>,
    /// Size of the whole record, if it is known.
    pub bytes: Option<u64>,
    /// When it was put back, if the archive knows.
    pub replayed_at: Option<Timestamp>,
    /// What a late event was late for.
    pub late: Option<Late>,
}

/// What a late event was late for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The view.
    pub view: String,
    /// Start of the window; for a session the event's own time.
    pub window_start: Timestamp,
    /// End of the window; for a session the event's time plus the gap.
    pub window_end: Timestamp,
    /// The event's time.
    pub event_time: Timestamp,
    /// The watermark in force.
    pub watermark: Timestamp,
}

impl Letter {
    /// Tells whether all of the record is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self.bytes {
            Some(bytes) => self.payload.len() as u64 == bytes,
            None => self.payload.len() < SHORT_PAYLOAD_BYTES,
        }
    }
}

/// What was kept of one kind, in one place.
pub trait Archive {
    /// Reads all of it, the oldest first as far as the place knows an order.
    ///
    /// # Errors
    /// The place cannot be read.
    fn read(&mut self, each: &mut dyn FnMut(Letter)) -> Result<(), Error>;

    /// Notes that letters were put back, where the place can be written after the fact. A second time changes nothing.
    ///
    /// # Errors
    /// The place cannot be written.
    fn mark(&mut self, _places: &[Place], _at: Timestamp) -> Result<(), Error> {
        Ok(())
    }
}

/// Opens what was kept, to read it.
///
/// # Errors
/// The system cannot be reached, or has nothing of the kind.
pub fn open(shelf: &Shelf, kind: Kind) -> Result<Box<dyn Archive>, Error> {
    crate::open::open_archive(shelf, kind)
}

/// Opens where letters are put back: `kafka://hosts/topic` or `file://path.ndjson`.
///
/// # Errors
/// The system cannot be reached or refuses.
pub fn open_target(url: &str, job: &str, settings: &BTreeMap<String, String>, access: Access) -> Result<Box<dyn Target>, Error> {
    crate::open::open_target(url, job, settings.clone(), access)
}
