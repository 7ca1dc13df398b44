//! Views that are computed anew beside their tables, and put in place all at once.
//!
//! A run that does so is a job of its own name, and its tables have names of their own. When it has ended, a start of the job itself takes the rows over, in the
//! transaction in which it fences older generations: a reader sees the rows of before, or those of the run.

use freshet_model::TableSchema;
use serde::{Deserialize, Serialize};

/// What the names of staged things end with; no view's name has it.
const SUFFIX: &str = "$reset";

/// Views whose rows a run of a generation has left beside their tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The generation under which the run wrote.
    pub generation: u64,
    /// The views.
    pub views: Vec<String>,
}

/// Returns the name of the job that computes views of a job anew.
#[must_use]
pub fn staged_job(job: &str) -> String {
    format!("{job}{SUFFIX}")
}

/// Returns the view as its staged table has it.
pub(crate) fn staged_view(view: &TableSchema) -> TableSchema {
    TableSchema { name: format!("{}{SUFFIX}", view.name), ..view.clone() }
}
