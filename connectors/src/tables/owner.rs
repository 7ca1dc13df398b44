//! Whose the rows are that a database holds, and up to which epoch.

use freshet_model::Epoch;

use super::rejects::{SHORT_PAYLOAD_BYTES, without_nul};
use super::staging::{Staged, staged_job};
use crate::{Error, Past, SinkOptions};

/// One start of a job, as the writer of a sink's rows.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) job: String,
    pub(crate) sink: String,
    pub(crate) generation: i64,
    /// What becomes of what earlier starts have left.
    pub(crate) past: Past,
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
        Ok(Owner { job, sink, generation, past: options.past.clone(), max_payload_bytes: SHORT_PAYLOAD_BYTES })
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

    /// Returns the run that has staged what this one is to take over, with its views.
    pub(crate) fn predecessor(&self) -> Option<(Owner, &[String])> {
        let Past::Adopting(Staged { generation, views }) = &self.past else { return None };
        let generation = i64::try_from(*generation).ok()?;
        Some((Owner { job: staged_job(&self.job), generation, ..self.clone() }, views))
    }

    /// Tells whether rows go into tables beside the views'.
    pub(crate) fn is_staging(&self) -> bool {
        self.past == Past::Staged
    }

    /// Tells whether what is held is to be removed: it is not when this start prepares a second time, for then it is its own.
    pub(crate) fn forgets(&self, held: Option<&Held>) -> bool {
        self.past.is_forgotten() && held.is_none_or(|held| held.generation < self.generation)
    }
}
