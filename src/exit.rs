//! How the program ends when something is wrong: one place makes the message for a person, and the code for a script.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the job failed while it ran |
//! | 2 | the command line or the job file is wrong |
//! | 3 | a system outside refused or is missing: broker, database, folder, port |
//! | 4 | the cluster cannot be formed |
//! | 5 | a newer start of the job has taken over |
//! | 6 | another instance of the job runs |
//! | 130 | stopped by a second Ctrl-C |

use std::fmt::Write;
use std::net::SocketAddr;

use crate::{job, redact, run};

/// The exit codes, as `--help` shows them.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    the job failed while it ran
  2    the command line or the job file is wrong
  3    a system outside refused or is missing: broker, database, folder, port
  4    the cluster cannot be formed
  5    a newer start of the job has taken over
  6    another instance of the job runs
  130  stopped by a second Ctrl-C";

/// Exit code of a second Ctrl-C: 128 and the number of SIGINT, as in a shell.
pub const INTERRUPTED: i32 = 130;

/// The kinds of failures, each with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The job failed while it ran.
    Runtime = 1,
    /// The command line or the job file is wrong.
    Usage = 2,
    /// A system outside refused or is missing.
    Outside = 3,
    /// The cluster cannot be formed.
    Cluster = 4,
    /// A newer start of the job has taken over.
    Fenced = 5,
    /// Another instance of the job runs.
    Held = 6,
}

/// Why a command ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong, in a way that its parser cannot see.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// The way out.
        way_out: String,
    },
    /// The job file or the cluster file is wrong.
    #[error(transparent)]
    Job(#[from] job::Error),
    /// A system outside refused or is missing.
    #[error(transparent)]
    Outside(#[from] freshet_connectors::Error),
    /// The address for HTTP cannot be had.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
    /// The job failed.
    #[error(transparent)]
    Run(#[from] run::Error),
}

impl Failure {
    /// Describes a wrong command line.
    pub fn usage(what: impl Into<String>, way_out: impl Into<String>) -> Failure {
        Failure::Usage { what: what.into(), way_out: way_out.into() }
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Failure::Usage { .. } | Failure::Job(_) => Class::Usage,
            Failure::Outside(freshet_connectors::Error::Fenced { .. }) => Class::Fenced,
            Failure::Outside(_) | Failure::Listen { .. } => Class::Outside,
            Failure::Output(_) => Class::Runtime,
            Failure::Run(error) => error.class(),
        }
    }

    /// Returns the exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.class() as u8
    }

    /// Returns the message: what went wrong with all its causes, then the way out if there is one.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            // Its own layout, with a snippet in which secrets are hidden.
            Failure::Job(error) => error.to_string(),
            Failure::Usage { what, way_out } => format!("{what}\n  {way_out}"),
            Failure::Listen { .. } => format!("{self}\n  stop what listens there, or give --listen another port"),
            Failure::Outside(_) | Failure::Output(_) | Failure::Run(_) => chain(self),
        }
    }
}

/// Joins an error and its causes; a cause that the one before it already quotes is not repeated.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut out = String::new();
    let mut way_out = None;
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let mut what = error.to_string();
        if let Some(freshet_connectors::Error::Setup { thing, problem, remedy }) = setup(error) {
            what = format!("{thing}: {problem}");
            way_out = Some(remedy.as_str());
        }
        if out.is_empty() {
            out.push_str(&what);
        } else if !out.contains(&what) {
            let _ = write!(out, ": {what}");
        }
        next = error.source();
    }
    if let Some(way_out) = way_out {
        let _ = write!(out, "\n  {way_out}");
    }
    out.split('\n').map(redact::line).collect::<Vec<_>>().join("\n")
}

/// Returns the connector's error that this error is or stands for.
fn setup<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a freshet_connectors::Error> {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Outside(error)) => Some(error),
        Some(Failure::Run(error)) => setup(error),
        _ => error.downcast_ref::<freshet_connectors::Error>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connectors_way_out_stands_on_a_line_of_its_own() {
        let error =
            freshet_connectors::Error::setup("sink 'warehouse'", "no database 'x' at postgres://a:hunter2@db", "create it");
        let failure = Failure::from(error);
        assert_eq!(failure.message(), "sink 'warehouse': no database 'x' at postgres://a:***@db\n  create it");
        assert_eq!(failure.code(), 3);
    }

    #[test]
    fn causes_are_told_once() {
        let failure = Failure::Output(std::io::Error::other("disk full"));
        assert_eq!(failure.message(), "cannot write the output: disk full");
        assert_eq!(failure.code(), 1);
    }

    #[test]
    fn the_help_lists_every_code() {
        for class in [Class::Runtime, Class::Usage, Class::Outside, Class::Cluster, Class::Fenced, Class::Held] {
            assert!(HELP.contains(&format!("\n  {}    ", class as u8)));
        }
        assert!(HELP.contains(&format!("\n  {INTERRUPTED}  ")));
    }
}
