//! What goes wrong with durable state, sorted by what to do about it.

use freshet_model::Epoch;

/// An error of a job's durable state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another instance of the job lives.
    #[error(
        "{place}: generation {generation} of this job runs since {since} as process {pid} on {host}; \
         stop that one, or start with --takeover to fence it off"
    )]
    Held {
        /// The place of the state.
        place: String,
        /// The living generation.
        generation: u64,
        /// When it began, in UTC.
        since: String,
        /// Its process.
        pid: String,
        /// Its machine.
        host: String,
    },
    /// A later generation has begun: this one must stop, and has written nothing since.
    #[error("{place}: generation {theirs} of this job has taken over from generation {mine}; this process must end")]
    Fenced {
        /// The place of the state.
        place: String,
        /// The generation that is too old.
        mine: u64,
        /// The newest generation.
        theirs: u64,
    },
    /// Bytes are not those that were written, or are gone.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// A checkpoint cannot be published because a part of it is missing or there twice.
    #[error("checkpoint {epoch}, fold {fold}: {problem}; it is not published, and the next one can be")]
    Incomplete {
        /// The checkpoint's epoch.
        epoch: Epoch,
        /// The fold.
        fold: String,
        /// Where the gap or overlap is.
        problem: String,
    },
    /// A person has to change something before it can work.
    #[error("{thing}: {problem}; {remedy}")]
    Setup {
        /// The thing, with its name. Never a password.
        thing: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The place is away, full or refuses for the moment; a new [`State::open`](crate::State::open) may succeed later.
    #[error("{thing}: {problem}")]
    Unavailable {
        /// The thing, with its name. Never a password.
        thing: String,
        /// What happened.
        problem: String,
    },
    /// A call came in a state in which it has no meaning: a mistake of the caller.
    #[error("state of the job: {0}")]
    Order(String),
}

/// Bytes that are not those that were written, or are gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, byte {offset}: {problem}; {remedy}")]
pub struct Damaged {
    /// The file, as a path or URL.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

const LOG_REMEDY: &str = "restore the file from a copy, or give up the state: --reset, or a new name for the job";
const CHECKPOINT_REMEDY: &str =
    "an older checkpoint or the log from its beginning serves instead; delete the checkpoint's folder";

impl Damaged {
    pub(crate) fn log(file: impl Into<String>, offset: usize, problem: impl Into<String>) -> Damaged {
        Damaged { file: file.into(), offset: offset as u64, problem: problem.into(), remedy: LOG_REMEDY }
    }

    pub(crate) fn checkpoint(file: impl Into<String>, offset: u64, problem: impl Into<String>) -> Damaged {
        Damaged { file: file.into(), offset, problem: problem.into(), remedy: CHECKPOINT_REMEDY }
    }
}

impl Error {
    pub(crate) fn setup(thing: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Setup { thing: thing.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn unavailable(thing: impl Into<String>, problem: impl ToString) -> Error {
        Error::Unavailable { thing: thing.into(), problem: problem.to_string() }
    }

    /// Tells whether a new start may succeed without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }
}
