//! What goes wrong with the outside world, sorted by what to do about it.

/// An error of a connector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A person has to change something before it can work.
    #[error("{thing}: {problem}; {remedy}")]
    Setup {
        /// The thing: a source, sink, table, topic, folder, with its name. Never a password.
        thing: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A newer start of the job has taken the thing over; this one must not write any more.
    #[error("{thing}: {problem}")]
    Fenced {
        /// The thing, with its name.
        thing: String,
        /// By what it is known.
        problem: String,
    },
    /// The thing has more partitions than when it was opened; whoever opens it again gets them too.
    #[error("{thing}: {problem}")]
    Grown {
        /// The thing, with its name.
        thing: String,
        /// What has come.
        problem: String,
    },
    /// The other side is away or refused for the moment; the same call may succeed later.
    #[error("{thing}: {problem}")]
    Unavailable {
        /// The thing, with its name. Never a password.
        thing: String,
        /// What happened.
        problem: String,
    },
}

impl Error {
    /// Describes what a person has to change.
    pub fn setup(thing: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Setup { thing: thing.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Describes what may pass by itself.
    pub fn unavailable(thing: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Unavailable { thing: thing.into(), problem: problem.into() }
    }

    /// Describes that a newer start of the job has the thing.
    pub fn fenced(thing: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Fenced { thing: thing.into(), problem: problem.into() }
    }

    /// Tells whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }
}
