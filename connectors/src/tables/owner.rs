//! Whose the rows are that a database holds, and up to which epoch.

use freshet_model::Epoch;

use super::rejects::{SHORT_PAYLOAD_BYTES, without_nul};
use crate::{Error, SinkOptions};

/// One start of a job, as the writer of a sink's rows.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) job: String,
    pub(crate) sink: String,
    pub(crate) generation: i64,
    /// Whether what earlier starts have left counts for nothing.
    pub(crate) reset: bool,
    /// So much of a dead letter's record is kept.
    pub(crate) max_payload_bytes: usize,
}

/// A row of the progress table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) generation: i64,
    /// The newest epoch, if anything has been committed.
    pub(crate) epoch: Option<Epoch>,
}

impl Owner {
    /// Reads the options of a sink; `thing` is named in the error.
    pub(crate) fn of(thing: &str, options: &SinkOptions) -> Result<Owner, Error> {
        let Ok(generation) = i64::try_from(options.generation) else {
            return Err(Error::setup(thing, "the generation does not fit into 64 bits with a sign", "use a smaller number"));
        };
        let (job, sink) = (without_nul(&options.job), without_nul(&options.name));
        Ok(Owner { job, sink, generation, reset: options.reset, max_payload_bytes: SHORT_PAYLOAD_BYTES })
    }

    /// Refuses to go on if a newer start has the rows.
    pub(crate) fn check(&self, thing: &str, held: &Held) -> Result<(), Error> {
        if held.generation <= self.generation {
            return Ok(());
        }
        let Owner { job, generation, .. } = self;
        let by = held.generation;
        Err(Error::fenced(
            thing,
            format!("a newer start of job '{job}' has taken over (generation {by}, this one is {generation})"),
        ))
    }

    /// Tells whether what is held is to be removed: it is not when this start prepares a second time, for then it is its own.
    pub(crate) fn forgets(&self, held: Option<&Held>) -> bool {
        self.reset && held.is_none_or(|held| held.generation < self.generation)
    }
}
