//! From a job to its plan, and to the role of each sink.
//!
//! What a sink reads decides how it is written. A view that aggregates has rows with keys, which change: its sink holds *tables*. A
//! source, or a view that works row by row on one, only ever appends: a lake, a topic or a file takes its *rows*, and a sink of tables appends them to one.

use std::ops::Range;

use freshet_dataflows::plan::{Input, Plan, SourcePlan};
use freshet_dataflows::sql::{self, Inputs, PlanError, ViewDefinition};

use crate::job::{self, Job, SinkSpec, TableSpec};

/// How a sink is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// As tables, in the sink's order.
    Table(Vec<Input>),
    /// With rows that are appended: the one source or view that it holds.
    Rows(Input),
}

/// Plans the views of a job.
///
/// # Errors
/// A view that cannot be planned, with its place in the job file.
pub fn plan(job: &Job) -> Result<Plan, job::Error> {
    let sources = job.sources.iter().map(|source| SourcePlan {
        name: source.name.clone(),
        columns: source.columns.clone(),
        time_column: source.time_column,
        derived: None,
    });
    let views = job.views.iter().map(|view| ViewDefinition {
        name: view.name.clone(),
        sql: view.sql.clone(),
        key: view.key.clone(),
        emit: view.emit,
        late: view.late,
    });
    let inputs = Inputs { sources: sources.collect(), tables: job.tables.iter().map(TableSpec::plan).collect() };
    sql::plan_with(&inputs, &views.collect::<Vec<_>>(), &job.functions).map_err(|error| located(job, &error))
}

/// Decides the role of each sink, in the job's order.
///
/// # Errors
/// A sink that mixes the two kinds, or whose system cannot hold what it reads.
pub fn roles(job: &Job, plan: &Plan) -> Result<Vec<Role>, job::Error> {
    job.sinks.iter().map(|sink| role(job, plan, sink)).collect()
}

/// Finds a view or source by its name.
fn input(plan: &Plan, name: &str) -> Option<Input> {
    let view = plan.views.iter().position(|view| view.table.name == name).map(Input::View);
    view.or_else(|| plan.sources.iter().position(|source| source.name == name).map(Input::Source))
}

fn role(job: &Job, plan: &Plan, sink: &SinkSpec) -> Result<Role, job::Error> {
    let refuse = |what: String, way_out: &str| job.origin.error(&sink.place, format!("sink '{}' {what}", sink.name), way_out);
    let inputs: Vec<Input> = sink.reads.iter().filter_map(|name| input(plan, name)).collect();
    let names = |of: &dyn Fn(Input) -> bool| {
        let named = sink.reads.iter().zip(&inputs).filter(|(_, input)| of(**input));
        named.map(|(name, _)| format!("'{name}'")).collect::<Vec<_>>().join(", ")
    };
    let appends = |input: Input| plan.is_append_only(input);
    let scheme = sink.url.split("://").next().unwrap_or_default();
    let is_keyless = |input: Input| !appends(input) && plan.table(input).key.is_empty();
    if inputs.iter().any(|&input| is_keyless(input)) {
        let what = format!("cannot hold {}, whose rows change and have no key", names(&is_keyless));
        return Err(refuse(what, "select the columns that tell its rows apart, or name them with key = […] in the view"));
    }
    let is_database = matches!(scheme, "postgres" | "postgresql" | "sqlite");
    let rows = inputs.iter().filter(|&&input| appends(input)).count();
    match inputs.as_slice() {
        [input] if rows == 1 && !is_database => Ok(Role::Rows(*input)),
        _ if rows == 0 && scheme == "parquet" => {
            let what = format!("cannot hold {}, whose rows change: a lake only appends", names(&|_| true));
            Err(refuse(what, "use postgres://, sqlite://, kafka://, file:// or console://"))
        }
        _ if rows == 0 || is_database || matches!(scheme, "file" | "console") => Ok(Role::Table(inputs)),
        _ if rows == inputs.len() => {
            let what = format!("reads {}, of which {scheme} can append only one", names(&appends));
            Err(refuse(what, "make a sink for each, or use postgres:// or sqlite://"))
        }
        _ => {
            let changing = names(&|input| !appends(input));
            let what = format!("mixes {}, whose rows are appended, with {changing}, whose rows change", names(&appends));
            Err(refuse(what, "make a sink for each kind, or use postgres:// or sqlite://"))
        }
    }
}

/// Gives a planner's error its place: the word of the query that it quotes, or else the view's name.
fn located(job: &Job, error: &PlanError) -> job::Error {
    let what = format!("view '{}': {}", error.view, error.problem);
    match job.views.iter().find(|view| view.name == error.view) {
        Some(view) => {
            let word = error.problem.split('\'').nth(1).and_then(|word| find_word(&job.origin.text, &view.sql_place, word));
            job.origin.error(&word.unwrap_or_else(|| view.place.clone()), what, error.remedy.as_str())
        }
        None => job::Error::of_file(&job.path, what, error.remedy.as_str()),
    }
}

/// Tells whether a query names a source or view: one that works row by row is put into the views that read it, and leaves no other trace in the plan.
#[must_use]
pub fn mentions(query: &str, name: &str) -> bool {
    query.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word.eq_ignore_ascii_case(name))
}

/// Finds a whole word in a part of the text.
fn find_word(text: &str, part: &Range<usize>, word: &str) -> Option<Range<usize>> {
    let query = text.get(part.clone())?;
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: usize| !query[..at].ends_with(is_part) && !query[at + word.len()..].starts_with(is_part);
    let (at, _) = query.match_indices(word).find(|(at, _)| !word.is_empty() && whole(*at))?;
    Some(part.start + at..part.start + at + word.len())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const JOB: &str = "
[source.clicks]
url = \"generator://local/user_activity\"
columns = { event_time = \"timestamp\", user_id = \"text\" }
watermark = { column = \"event_time\", delay = \"2m\" }

[view.hits]
sql = \"\"\"
SELECT window_start, window_end, count(*) AS hits
FROM tumble(clicks, INTERVAL '1 minute') GROUP BY window_start, window_end
\"\"\"

[view.plain]
sql = \"SELECT event_time, user_id FROM clicks WHERE user_id <> 'x'\"

[view.numbers]
sql = \"SELECT hits FROM hits\"

[sink.s]
";

    fn roles_of(sink: &str) -> Result<Vec<Role>, String> {
        let job = Job::parse(Path::new("x.toml"), &format!("{JOB}{sink}"), &|_| None).expect("a sound job");
        let plan = plan(&job).map_err(|error| error.to_string())?;
        roles(&job, &plan).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_sink_reads_decides_its_role() {
        assert_eq!(roles_of("url = \"sqlite://x\"\nviews = [\"hits\"]"), Ok(vec![Role::Table(vec![Input::View(0)])]));
        let all = vec![Role::Table(vec![Input::View(1), Input::View(0), Input::Source(0)])];
        assert_eq!(roles_of("url = \"sqlite://x\"\nviews = [\"plain\", \"hits\", \"clicks\"]"), Ok(all));
        assert_eq!(roles_of("url = \"postgres://x\"\nviews = [\"plain\"]"), Ok(vec![Role::Table(vec![Input::View(1)])]));
        assert_eq!(roles_of("url = \"file://x\"\nviews = [\"plain\"]"), Ok(vec![Role::Rows(Input::View(1))]));
        assert_eq!(roles_of("url = \"parquet://x\"\nviews = [\"clicks\"]"), Ok(vec![Role::Rows(Input::Source(0))]));
        assert_eq!(roles_of("url = \"kafka://h:1/t\"\nviews = [\"plain\"]"), Ok(vec![Role::Rows(Input::View(1))]));
    }

    #[test]
    fn sinks_that_cannot_hold_what_they_read_are_refused() {
        for (sink, expected) in [
            (
                "url = \"sqlite://x\"\nviews = [\"numbers\"]",
                "sink 's' cannot hold 'numbers', whose rows change and have no key\n  select the columns that tell its rows apart, or name them with key = […] in the view",
            ),
            (
                "url = \"parquet://x\"\nviews = [\"hits\"]",
                "sink 's' cannot hold 'hits', whose rows change: a lake only appends\n  use postgres://, sqlite://, kafka://, file:// or console://",
            ),
            (
                "url = \"kafka://h:1/t\"\nviews = [\"hits\", \"plain\"]",
                "sink 's' mixes 'plain', whose rows are appended, with 'hits', whose rows change\n  make a sink for each kind, or use postgres:// or sqlite://",
            ),
            (
                "url = \"parquet://x\"\nviews = [\"clicks\", \"plain\"]",
                "sink 's' reads 'clicks', 'plain', of which parquet can append only one\n  make a sink for each, or use postgres:// or sqlite://",
            ),
        ] {
            let error = roles_of(sink).expect_err(sink);
            assert!(error.starts_with(&format!("x.toml:19:7: {expected}\n")), "{error}");
        }
    }

    #[test]
    fn an_error_of_the_planner_points_into_the_query() {
        let text = JOB.replace("user_id <> 'x'", "user_ids <> 'x'") + "url = \"sqlite://x\"\nviews = [\"hits\"]";
        let job = Job::parse(Path::new("x.toml"), &text, &|_| None).expect("a sound job");
        let error = plan(&job).expect_err("an unknown column").to_string();
        assert!(error.starts_with("x.toml:14:53: view 'plain': ") && error.contains("user_ids"), "{error}");
    }
}
