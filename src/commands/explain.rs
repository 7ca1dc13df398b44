//! `freshet explain`: what a job computes, as text or as a graph.

use std::io::{self, Write};

use freshet_dataflows::explain as plans;
use freshet_dataflows::sql::Functions;

use super::find;
use crate::cli::ExplainOptions;
use crate::exit::Failure;
use crate::planning;

pub(super) fn explain(options: &ExplainOptions, functions: &Functions) -> Result<(), Failure> {
    let job = find::job(&options.job, functions)?;
    let plan = planning::plan(&job)?;
    let text = if options.graphviz { plans::graphviz(&plan) } else { plans::text(&plan) };
    Ok(writeln!(io::stdout(), "{}", text.trim_end())?)
}
