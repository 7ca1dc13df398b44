//! `freshet check`: is this a job that can run? Reads the file and plans it; touches nothing outside.

use std::io::{self, Write};

use freshet_connectors::letters::Kind;
use freshet_dataflows::plan::{Input, Plan, View};
use freshet_dataflows::sql::Functions;

use super::find;
use crate::cli::JobOptions;
use crate::exit::Failure;
use crate::job::{Job, TablePlace, TableSpec, ViewSpec, write_duration};
use crate::planning::{self, Role};
use crate::redact;
use crate::text;

pub(super) fn check(options: &JobOptions, functions: &Functions) -> Result<(), Failure> {
    let job = find::job(options, functions)?;
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
    for table in &job.tables {
        let key: Vec<&str> = table.key.iter().map(|&column| table.columns[column].name.as_str()).collect();
        let key = format!("key {}", key.join(", "));
        let key = match table.place {
            TablePlace::Url(_) => format!("{key}, read each {}", write_duration(table.refresh)),
            TablePlace::Here(_) => key,
        };
        rows.push(vec!["table".to_owned(), table.name.clone(), table.place.to_string(), key]);
    }
    for view in plan.views.iter().filter(|view| view.part_of.is_none()) {
        let keys: Vec<&str> = view.table.key.iter().map(|&key| view.table.columns[key].name.as_str()).collect();
        let key = match (keys.is_empty(), view.table.appends) {
            (true, true) => "appends".to_owned(),
            (true, false) => "no key".to_owned(),
            _ => format!("key {}", keys.join(", ")),
        };
        let from = format!("from {}", inputs(plan, view).join(", "));
        rows.push(vec!["view".to_owned(), view.table.name.clone(), from, key]);
    }
    for (sink, role) in job.sinks.iter().zip(roles) {
        let kind = if matches!(role, Role::Table(_)) { "tables" } else { "rows of" };
        let holds = format!("{kind} {}", sink.reads.join(", "));
        rows.push(vec!["sink".to_owned(), sink.name.clone(), redact::url(&sink.url), holds]);
    }
    for place in job.dead_letters.iter().chain(&job.late_events) {
        let holds = if place.kind == Kind::Dead { "records that are not accepted" } else { "events that come too late" };
        rows.push(vec!["sink".to_owned(), place.name().to_owned(), redact::url(&place.url), holds.to_owned()]);
    }
    let mut lines = vec![format!("{}: job '{}' is sound", job.path.display(), job.name)];
    lines.extend(text::table(&rows, 4).into_iter().map(|line| format!("  {line}")));
    lines.extend(warnings(job, plan));
    lines.join("\n") + "\n"
}

/// Names the sources and views that a view reads, itself or by its parts.
fn inputs<'a>(plan: &'a Plan, view: &'a View) -> Vec<&'a str> {
    let mut names = Vec::new();
    for &input in &view.inputs {
        match input {
            Input::View(part) if plan.views[part].part_of.is_some() => names.extend(inputs(plan, &plan.views[part])),
            _ => names.push(plan.name_of(input)),
        }
    }
    names.dedup();
    names
}

fn warnings(job: &Job, plan: &Plan) -> Vec<String> {
    let is_read = |name: &String| {
        let names = |other: &ViewSpec| other.name != *name && planning::mentions(&other.sql, name);
        job.sinks.iter().any(|sink| sink.reads.contains(name)) || job.views.iter().any(names)
    };
    let unread = job.views.iter().filter(|view| !is_read(&view.name));
    let unread =
        unread.map(|view| format!("warning: view '{}' is computed for nothing: no sink and no view reads it", view.name));
    let planned = plan.views.iter().flat_map(|view| {
        let name = view.shown_name();
        view.warnings.iter().map(move |warning| format!("warning: view '{name}': {warning}"))
    });
    let is_joined = |table: &&TableSpec| job.views.iter().any(|view| planning::mentions(&view.sql, &table.name));
    let tables = job.tables.iter().filter(|table| !is_joined(table));
    let tables = tables.map(|table| format!("warning: table '{}' is read for nothing: no view is joined with it", table.name));
    planned.chain(unread).chain(tables).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const JOB: &str = r#"
[source.clicks]
url = "generator://local/user_activity"
columns = { event_time = "timestamp", user_id = "text" }
watermark = { column = "event_time", delay = "2m" }

[view.clean]
sql = "SELECT event_time, user_id FROM clicks WHERE user_id <> 'x'"

[view.different]
sql = "SELECT user_id FROM dedupe(Clean, user_id, INTERVAL '1 hour')"

[sink.s]
url = "sqlite://x"
views = [VIEWS]
"#;

    fn warnings_of(views: &str) -> Vec<String> {
        let job = Job::parse(Path::new("x.toml"), &JOB.replace("VIEWS", views), &|_| None).expect("a sound job");
        let plan = planning::plan(&job).expect("planned");
        warnings(&job, &plan)
    }

    #[test]
    fn a_view_that_another_one_reads_is_not_computed_for_nothing() {
        assert_eq!(warnings_of("\"different\""), [""; 0]);
        let unread = warnings_of("\"clean\"");
        assert!(unread.len() == 1 && unread[0].contains("view 'different' is computed for nothing"), "{unread:?}");
    }
}
