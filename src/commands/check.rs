//! `freshet check`: is this a job that can run? Reads the file and plans it; touches nothing outside.

use std::io::{self, Write};

use freshet_dataflows::plan::{Input, Plan};

use super::find;
use crate::cli::JobOptions;
use crate::exit::Failure;
use crate::job::{Job, write_duration};
use crate::planning::{self, Role};
use crate::redact;
use crate::text;

pub(super) fn check(options: &JobOptions) -> Result<(), Failure> {
    let job = find::job(options)?;
    let plan = planning::plan(&job)?;
    let roles = planning::roles(&job, &plan)?;
    Ok(io::stdout().write_all(report(&job, &plan, &roles).as_bytes())?)
}

/// Says what the job consists of, then what a person should know before running it.
fn report(job: &Job, plan: &Plan, roles: &[Role]) -> String {
    let mut rows = Vec::new();
    for source in &job.sources {
        let time = source.time_column.map_or_else(
            || "no event time".to_owned(),
            |column| format!("event time {}, waits {}", source.columns[column].name, write_duration(source.delay)),
        );
        rows.push(vec!["source".to_owned(), source.name.clone(), redact::url(&source.url), time]);
    }
    for view in &plan.views {
        let keys: Vec<&str> = view.table.key.iter().map(|&key| view.table.columns[key].name.as_str()).collect();
        let key = if keys.is_empty() { "appends".to_owned() } else { format!("key {}", keys.join(", ")) };
        let from = match view.input {
            Input::Source(source) => &plan.sources[source].name,
            Input::View(input) => &plan.views[input].table.name,
        };
        rows.push(vec!["view".to_owned(), view.table.name.clone(), format!("from {from}"), key]);
    }
    for (sink, role) in job.sinks.iter().zip(roles) {
        let kind = if matches!(role, Role::Table(_)) { "tables" } else { "rows of" };
        let holds = format!("{kind} {}", sink.reads.join(", "));
        rows.push(vec!["sink".to_owned(), sink.name.clone(), redact::url(&sink.url), holds]);
    }
    let mut lines = vec![format!("{}: job '{}' is sound", job.path.display(), job.name)];
    lines.extend(text::table(&rows, 4).into_iter().map(|line| format!("  {line}")));
    lines.extend(warnings(job, plan));
    lines.join("\n") + "\n"
}

fn warnings(job: &Job, plan: &Plan) -> Vec<String> {
    let is_read = |name: &String| {
        let by_view =
            |view: &freshet_dataflows::plan::View| matches!(view.input, Input::View(i) if plan.views[i].table.name == *name);
        job.sinks.iter().any(|sink| sink.reads.contains(name)) || plan.views.iter().any(by_view)
    };
    let unread = job.views.iter().filter(|view| !is_read(&view.name));
    let unread =
        unread.map(|view| format!("warning: view '{}' is computed for nothing: no sink and no view reads it", view.name));
    let planned = plan.views.iter().flat_map(|view| {
        let name = &view.table.name;
        view.warnings.iter().map(move |warning| format!("warning: view '{name}': {warning}"))
    });
    planned.chain(unread).collect()
}
