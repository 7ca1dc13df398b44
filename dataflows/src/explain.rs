//! The dataflow of a plan, for people: as text, and as a graph for Graphviz.

use std::fmt::Write;

use crate::build::fold_name;
use crate::lower::{Component, Fold, Lowered, Role, lower};
use crate::plan::{Body, Derived, Emit, Input, JoinKind, Order, Plan, RowTime, View};
use crate::state::{Kind, Shape};

/// Describes the dataflow as text: each source, each fold with the state that it keeps of a key, each row-wise view, and what to know before running it.
/// What is computed for a view alone, by views that the planner has made up, stands under that view.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let lowered = lower(plan);
    let mut out = String::new();
    for source in &plan.sources {
        let time = source.time_column.map_or("none", |column| &source.columns[column].name);
        let kind = if source.derived.is_some() { "stream" } else { "source" };
        line(&mut out, 0, &format!("{kind} {} (event time: {time})", source.name));
        match &source.derived {
            Some(Derived::Dedupe { within, .. }) => {
                line(&mut out, 1, &format!("the time of each key, until {} after it", seconds(*within)));
            }
            Some(Derived::Enrich { input, table, keys, only_matched }) => {
                line(&mut out, 1, &enrichment(plan, *input, *table, keys, *only_matched));
            }
            Some(Derived::Union(inputs)) => {
                line(&mut out, 1, &format!("partition n of part i is partition {} n + i, no state", inputs.len()));
            }
            None => {}
        }
    }
    for table in &plan.tables {
        let key: Vec<&str> = table.key.iter().map(|&column| table.columns[column].name.as_str()).collect();
        line(&mut out, 0, &format!("table {} (key: {})", table.name, key.join(", ")));
        line(&mut out, 1, "all rows of the version in force, once in each process");
    }
    let nodes = nodes(&lowered);
    for node in nodes.iter().filter(|node| node.part_of(plan, &lowered).is_none()) {
        node.write(&mut out, 0, plan, &lowered);
        let is_part = |part: &&Node| {
            part.part_of(plan, &lowered).is_some_and(|of| node.views(&lowered).any(|view| plan.views[view].table.name == of))
        };
        nodes.iter().filter(is_part).for_each(|part| part.write(&mut out, 1, plan, &lowered));
    }
    for view in &plan.views {
        for warning in &view.warnings {
            line(&mut out, 0, &format!("warning: view {}: {warning}", view.shown_name()));
        }
    }
    out
}

/// Says what a stream's records meet in a table.
fn enrichment(plan: &Plan, input: Input, table: usize, keys: &[usize], only_matched: bool) -> String {
    let (columns, table) = (plan.table(input).columns, &plan.tables[table]);
    let pairs = table.key.iter().zip(keys);
    let pairs = pairs.map(|(&key, &column)| format!("{} = {}", table.columns[key].name, columns[column].name));
    let kind = if only_matched { "join" } else { "left join" };
    format!("{kind} with the version of {} in force, on {}, no state", table.name, pairs.collect::<Vec<_>>().join(" and "))
}

/// What keeps or computes rows: a fold, a join, a row-wise view or the rows of several views, by its index.
enum Node {
    Fold(usize),
    Join(usize),
    Map(usize),
    Union(usize),
}

fn nodes(lowered: &Lowered) -> Vec<Node> {
    let maps = lowered.maps.iter().map(|&view| Node::Map(view));
    let unions = lowered.unions.iter().map(|&view| Node::Union(view));
    let joins = lowered.joins.iter().map(|&view| Node::Join(view));
    (0..lowered.folds.len()).map(Node::Fold).chain(joins).chain(maps).chain(unions).collect()
}

impl Node {
    /// Iterates over the views that it makes rows of.
    fn views<'a>(&'a self, lowered: &'a Lowered) -> impl Iterator<Item = usize> + 'a {
        let (map, components) = match self {
            Node::Join(view) | Node::Map(view) | Node::Union(view) => (Some(*view), &[][..]),
            Node::Fold(fold) => (None, &lowered.folds[*fold].components[..]),
        };
        map.into_iter().chain(components.iter().map(|component| component.view))
    }

    /// Returns the view for which alone it is there.
    fn part_of<'a>(&self, plan: &'a Plan, lowered: &Lowered) -> Option<&'a str> {
        let mut of = self.views(lowered).map(|view| plan.views[view].part_of.as_deref());
        let first = of.next().flatten()?;
        of.all(|other| other == Some(first)).then_some(first)
    }

    fn write(&self, out: &mut String, depth: usize, plan: &Plan, lowered: &Lowered) {
        match self {
            Node::Fold(fold) => write_fold(out, depth, plan, lowered, &lowered.folds[*fold]),
            Node::Join(view) => write_join(out, depth, plan, *view),
            Node::Map(view) => write_map(out, depth, plan, *view),
            Node::Union(view) => write_union(out, depth, plan, *view),
        }
    }
}

fn write_map(out: &mut String, depth: usize, plan: &Plan, view: usize) {
    let view = &plan.views[view];
    let Body::Map(map) = &view.body else { return };
    line(out, depth, &format!("map {} → {}, no state", plan.name_of(view.inputs[0]), view.table.name));
    if let Some(filter) = &map.filter {
        line(out, depth + 1, &format!("where {filter:?}"));
    }
    line(out, depth + 1, &format!("select {:?}", map.project));
}

fn write_union(out: &mut String, depth: usize, plan: &Plan, view: usize) {
    let view = &plan.views[view];
    let inputs = view.inputs.iter().map(|&input| plan.name_of(input)).collect::<Vec<_>>().join(" and ");
    line(out, depth, &format!("union {inputs} → {}, no state", view.table.name));
}

fn write_fold(out: &mut String, depth: usize, plan: &Plan, lowered: &Lowered, fold: &Fold) {
    line(out, depth, &format!("fold {}, one state a key", fold_name(plan, fold)));
    for component in &fold.components {
        line(out, depth + 1, &format!("{}: {}", plan.views[component.view].table.name, state(component)));
        if let Some(feed) = &component.feed {
            if let Some(filter) = &feed.filter {
                line(out, depth + 2, &format!("where {filter:?}"));
            }
        } else if !matches!(component.shape, Shape::Ranking(_)) {
            line(out, depth + 2, "fed by distinct counts");
        }
        if let Some(time) = component.row_time() {
            line(out, depth + 2, &row_time(plan, fold, time));
        } else if component.horizon > 0 {
            line(
                out,
                depth + 2,
                &format!("kept for {} after it has closed, for late events to amend", seconds(component.horizon)),
            );
        }
        line(out, depth + 2, &result(plan, lowered, component));
    }
}

fn write_join(out: &mut String, depth: usize, plan: &Plan, view: usize) {
    let View { table, inputs, body: Body::Join(join), .. } = &plan.views[view] else { return };
    let kind = match join.rule.kind {
        JoinKind::Inner => "join",
        JoinKind::Left => "left join",
        JoinKind::Full => "full join",
        JoinKind::Semi => "semi join",
        JoinKind::Anti => "anti join",
    };
    let names = [plan.name_of(inputs[0]), plan.name_of(inputs[1])];
    line(out, depth, &format!("{kind} {} and {}, rows of both sides by key", names[0], names[1]));
    let keys = join.sides[0].keys.iter().zip(&join.sides[1].keys).map(|(left, right)| format!("{left:?} = {right:?}"));
    line(out, depth + 1, &format!("on {}", keys.collect::<Vec<_>>().join(" and ")));
    if let [Some(left), Some(right)] = [&join.sides[0].time, &join.sides[1].time] {
        line(
            out,
            depth + 1,
            &format!("with {right:?} between {left:?}{} and {left:?}{}", shift(join.rule.band.0), shift(join.rule.band.1)),
        );
    }
    for (number, side) in join.sides.iter().enumerate() {
        let name = if number == 0 { "left" } else { "right" };
        let kept = match (join.rule.kept_for(number), &side.time) {
            (Some(kept), Some(time)) => format!("kept until {} behind {time:?}", seconds(kept)),
            _ => "kept for ever".to_owned(),
        };
        line(out, depth + 1, &format!("{name}: {:?} of {}, {kept}", side.columns, names[number]));
        if let Some(filter) = &side.filter {
            line(out, depth + 2, &format!("where {filter:?}"));
        }
    }
    let filter = join.output.filter.as_ref().map_or(String::new(), |filter| format!(" where {filter:?}"));
    line(out, depth + 1, &format!("→ rows of {}{filter}: {:?}", table.name, join.output.project));
}

/// Writes what is added to a time.
fn shift(micros: i64) -> String {
    match micros {
        0 => String::new(),
        i64::MIN => " - any time".to_owned(),
        i64::MAX => " + any time".to_owned(),
        micros if micros < 0 => format!(" - {}", seconds(-micros)),
        micros => format!(" + {}", seconds(micros)),
    }
}

/// Says what is kept of a key, and until when.
fn state(component: &Component) -> String {
    // What says whether a row has been sent, or how many rows a window has, is nobody's aggregate.
    let more = matches!(&component.role, Role::Rows(rows) if rows.amends) || component.row_time().is_some();
    let own = component.kinds.len() - usize::from(more);
    let kinds = component.kinds[..own].iter().map(|kind| kind_name(*kind)).collect::<Vec<_>>().join(", ");
    let kept = if kinds.is_empty() { "its existence".to_owned() } else { kinds };
    match &component.shape {
        Shape::Windows(grid) if grid.slide == grid.size => format!("{kept} of each open {} window", seconds(grid.size)),
        Shape::Windows(grid) => format!("{kept} of each open {} window, every {}", seconds(grid.size), seconds(grid.slide)),
        Shape::Ranges(grid) => {
            format!("ranges of open {} windows, every {}, in which it was seen", seconds(grid.size), seconds(grid.slide))
        }
        Shape::Sessions(rule) => {
            format!("first and last event and {kept} of each session, until twice the gap of {}", seconds(rule.gap))
        }
        Shape::Group => format!("{kept}, for ever unless the key holds a window's end"),
        Shape::Ranking(limit) => {
            format!("all rows in their order, the first {limit} shown; for ever unless the key holds a window's end")
        }
    }
}

/// Says by what rows of a view are put into windows, and until when these are kept.
fn row_time(plan: &Plan, fold: &Fold, time: RowTime) -> String {
    let column = &plan.table(fold.input.input).columns[time.column].name;
    let closed = if time.slack == 0 { String::new() } else { format!(", which close {} after their end", seconds(time.slack)) };
    match time.shift {
        -1 => format!("rows in the windows in which they end, by {column}{closed}"),
        shift => format!("rows in the windows of {column}{}{closed}", self::shift(shift)),
    }
}

fn result(plan: &Plan, lowered: &Lowered, component: &Component) -> String {
    match &component.role {
        Role::Contribution { fold, .. } => format!("→ counts for fold {}", fold_name(plan, &lowered.folds[*fold])),
        Role::Ranks { ranking, .. } => {
            let name = |order: &Order| {
                let column = &plan.views[component.view].table.columns[order.column].name;
                if order.descending { format!("{column} DESC") } else { column.clone() }
            };
            let order = ranking.order.iter().map(name).collect::<Vec<_>>().join(", ");
            format!("→ rows of {} with their ranks by {order}", plan.views[component.view].table.name)
        }
        Role::Rows(rows) => {
            let when = if rows.emit == Emit::Final { "once, when closed" } else { "after each epoch" };
            let having = rows.output.filter.as_ref().map_or(String::new(), |filter| format!(" having {filter:?}"));
            format!("→ rows of {} {when}{having}: {:?}", plan.views[component.view].table.name, rows.output.project)
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Count => "a count",
        Kind::Integer => "an exact integer sum",
        Kind::Float => "an exact float sum",
        Kind::Min => "a minimum",
        Kind::Max => "a maximum",
        Kind::Values => "all values",
        Kind::Moments => "exact sums of values and squares",
        Kind::Distinct => "a sketch of at most 4 KiB",
        Kind::Quantiles => "a histogram",
        Kind::Few(_) => "the first values",
        Kind::Funnel(_) => "the steps' times",
    }
}

/// Writes a length of time for people.
pub(crate) fn seconds(micros: i64) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    if rest == 0 { format!("{whole} s") } else { format!("{micros} µs") }
}

fn line(out: &mut String, depth: usize, text: &str) {
    let _ = writeln!(out, "{:1$}{text}", "", depth * 2);
}

/// Describes the dataflow as a graph in Graphviz's language.
#[must_use]
pub fn graphviz(plan: &Plan) -> String {
    let lowered = lower(plan);
    let mut out = String::from("digraph job {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for source in &plan.sources {
        let name = format!("source {}", source.name);
        node(&mut out, &name, if source.derived.is_some() { "cylinder" } else { "cds" });
        source.derived.iter().flat_map(Derived::inputs).for_each(|&input| edge(&mut out, &place(plan, input), &name));
        if let Some(Derived::Enrich { table, .. }) = source.derived {
            edge(&mut out, &format!("table {}", plan.tables[table].name), &name);
        }
    }
    plan.tables.iter().for_each(|table| node(&mut out, &format!("table {}", table.name), "tab"));
    for fold in &lowered.folds {
        let name = format!("fold {}", fold_name(plan, fold));
        node(&mut out, &name, "cylinder");
        let is_fed = |component: &Component| component.feed.is_some() || matches!(component.role, Role::Ranks { .. });
        if fold.components.iter().any(is_fed) {
            edge(&mut out, &place(plan, fold.input.input), &name);
        }
        for component in &fold.components {
            let to = match component.role {
                Role::Contribution { fold, .. } => format!("fold {}", fold_name(plan, &lowered.folds[fold])),
                Role::Rows(_) | Role::Ranks { .. } => place(plan, Input::View(component.view)),
            };
            edge(&mut out, &name, &to);
        }
    }
    for &index in &lowered.joins {
        let (view, name) = (&plan.views[index], format!("join {}", plan.views[index].table.name));
        node(&mut out, &name, "cylinder");
        view.inputs.iter().for_each(|&input| edge(&mut out, &place(plan, input), &name));
        edge(&mut out, &name, &place(plan, Input::View(index)));
    }
    for (index, view) in plan.views.iter().enumerate() {
        node(&mut out, &place(plan, Input::View(index)), "note");
        if lowered.maps.contains(&index) || lowered.unions.contains(&index) {
            view.inputs.iter().for_each(|&input| edge(&mut out, &place(plan, input), &place(plan, Input::View(index))));
        }
    }
    out.push_str("}\n");
    out
}

fn place(plan: &Plan, input: Input) -> String {
    let kind = if matches!(input, Input::Source(_)) { "source" } else { "view" };
    format!("{kind} {}", plan.name_of(input))
}

fn node(out: &mut String, name: &str, shape: &str) {
    let _ = writeln!(out, "  {} [shape={shape}];", quoted(name));
}

fn edge(out: &mut String, from: &str, to: &str) {
    let _ = writeln!(out, "  {} -> {};", quoted(from), quoted(to));
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use freshet_model::Column;

    use super::*;
    use crate::plan::{LatePolicy, SourcePlan};
    use crate::sql::{ViewDefinition, plan};

    #[test]
    fn a_join_shows_its_keys_its_bounds_and_what_it_keeps_below_the_view_that_it_is_made_for() {
        let column = |name: &str, kind: &str| Column { name: name.to_owned(), column_type: kind.parse().expect("a type") };
        let columns = vec![column("time", "timestamp"), column("user_id", "text"), column("amount", "bigint")];
        let source =
            |name: &str| SourcePlan { name: name.to_owned(), columns: columns.clone(), time_column: Some(0), derived: None };
        let sql = "SELECT c.user_id, sum(p.amount) AS paid FROM clicks c JOIN payments p ON c.user_id = p.user_id AND p.amount > 0 \
             AND p.time BETWEEN c.time AND c.time + INTERVAL '1 hour' GROUP BY c.user_id";
        let late = LatePolicy::Keep;
        let view = ViewDefinition { name: "paid".to_owned(), sql: sql.to_owned(), key: Vec::new(), emit: Emit::Changes, late };
        let plan = plan(&[source("clicks"), source("payments")], &[view]).expect("the view can be planned");
        let expected = "\
source clicks (event time: time)
source payments (event time: time)
fold paid$1 by [user_id], one state a key
  paid: an exact integer sum, for ever unless the key holds a window's end
    → rows of paid after each epoch: [user_id, \"sum(amount)\"]
  join clicks and payments, rows of both sides by key
    on user_id = user_id
    with time between time and time + 3600 s
    left: [user_id] of clicks, kept until 3600 s behind time
    right: [amount] of payments, kept until 3600 s behind time
      where amount > 0
    → rows of paid$1: [\"c.user_id\", \"p.amount\"]
warning: view paid: view 'paid' keeps each of its groups for ever, since none has a time at which it is over: add the view's window_end to GROUP BY if old groups may be forgotten
";
        assert_eq!(text(&plan), expected);
        assert!(graphviz(&plan).contains("\"join paid$1\" -> \"view paid$1\";"));
    }
}
