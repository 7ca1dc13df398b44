//! From a relation to a view: compiled columns, their types, the key, and what a person should know.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_expr::{Expr, cast};
use freshet_model::{Column, TableSchema};

use super::ViewDefinition;
use super::catalog::KnownView;
use super::compile::{Compiler, column_type};
use super::error::{Planned, Refusal};
use super::group::Origin;
use super::hidden::Lowering;
use super::join::Sorted;
use super::key;
use super::relation::{Base, Reads, Relation, WindowCall, column, reads_processing_time};
use crate::plan::{
    Aggregation, Body, Derived, Emit, Expression, Function, Input, Join, LatePolicy, Map, TimeBound, View, Window,
};

/// A column of a view.
struct Output {
    column: Column,
    /// The column over the relation's input, in the view's type.
    expr: Expr,
    compiled: Expression,
    /// Index of the column of the base, or of the groups' row, that this plainly is.
    plain: Option<usize>,
}

/// What a view is to be called, and whether the planner has made it up.
pub(super) struct Part<'a> {
    pub(super) definition: &'a ViewDefinition,
    /// The view that it is a part of.
    pub(super) of: Option<&'a str>,
}

/// Builds the view that a definition's lowered query stands for; `names` are its columns' names.
pub(super) fn build(
    part: &Part<'_>,
    mut relation: Relation,
    names: &[String],
    lowering: &mut Lowering<'_>,
) -> Planned<KnownView> {
    let definition = part.definition;
    relation.check_ranked()?;
    relation.spread()?;
    let join = relation.sort_out(lowering)?;
    let compiler = Compiler::new(relation.fields())?;
    let outputs = outputs(&relation, names, &compiler)?;
    let plain: Vec<Option<usize>> = outputs.iter().map(|output| output.plain).collect();
    let columns: Vec<Column> = outputs.iter().map(|output| output.column.clone()).collect();
    let time_bounds = time_bounds(&relation, &plain, definition.late);
    check_emit(definition.emit, &relation, &time_bounds)?;
    check_late(definition.late, &relation)?;
    let (mut parts, other_parts) = parts(&relation, &plain, lowering);
    let mut warnings = Vec::new();
    let is_whole = relation.groups.as_ref().is_some_and(|groups| groups.whole.is_some());
    // Other views read a hidden one by its rows, whether they can be told apart or not.
    let key = match part.of {
        Some(_) => key::derive(&parts).unwrap_or_default(),
        None if join.is_some() || is_whole => join_keys(definition, &columns, &mut parts, &mut warnings)?,
        None => keys(definition, &relation, &columns, [&parts, &other_parts], &mut warnings)?,
    };
    if is_whole && part.of.is_none() && key.is_empty() {
        let problem = "nothing says that the rows of this join differ, and with emit = \"final\" those that are alike are one";
        return Err(Refusal::new(problem, "name the columns in which they differ with key = […]"));
    }
    if part.of.is_none()
        && join.is_none()
        && relation.groups.is_none()
        && parts.is_empty()
        && !is_deduped_by(&key, &relation, &plain, lowering)
    {
        warnings.push(format!(
            "nothing says that its rows differ by ({}): a table keeps the last one of each; to keep the first, read dedupe(…) by them",
            definition.key.join(", ")
        ));
    };
    warnings.extend(join.as_ref().and_then(|join| join.growth(part.of.unwrap_or(&definition.name))));
    warnings.extend(growth(part, &relation));
    warnings.extend(funnels(part, &relation));
    let time_column = relation.base.time.filter(|_| relation.groups.is_none());
    let time_column = time_column.and_then(|time| plain.iter().position(|&column| column == Some(time)));
    let appends = relation.groups.is_none() && matches!(relation.base.input, Reads::Source(_));
    let table = TableSchema { name: definition.name.clone(), columns, key, appends, time_column };
    let map = map(&relation, &outputs, table.arrow(), &compiler)?;
    let inline = inlined(&relation, &outputs);
    let sql = definition.sql.clone();
    let trusts_key = (relation.groups.is_none() || is_whole) && !definition.key.is_empty();
    let (inputs, body) = body(relation, join.as_ref(), map)?;
    let part_of = part.of.map(str::to_owned);
    let (emit, late) = (definition.emit, definition.late);
    let view = View { table, emit, late, sql, part_of, inputs, body, time_bounds, trusts_key, warnings };
    Ok(KnownView { view, parts, other_parts, inline })
}

fn outputs(relation: &Relation, names: &[String], compiler: &Compiler) -> Planned<Vec<Output>> {
    let mut outputs: Vec<Output> = Vec::with_capacity(names.len());
    for (name, expr) in names.iter().zip(&relation.columns) {
        if outputs.iter().any(|other| other.column.name == *name) {
            return Err(Refusal::new(format!("two columns are named '{name}'"), "give one of them another name with AS"));
        }
        outputs.push(output(relation, name, expr.clone(), compiler)?);
    }
    Ok(outputs)
}

fn output(relation: &Relation, name: &str, expr: Expr, compiler: &Compiler) -> Planned<Output> {
    let expr = compiler.simplify(expr)?;
    let declared = relation.declared(&expr);
    let (expr, column_type) = match declared {
        Some((index, column_type)) => (column(relation.fields()[index].name()), column_type),
        None => {
            let given = compiler.data_type(&expr)?;
            let column_type = column_type(&given, &format!("the column '{name}'"))?;
            let same = given == column_type.arrow();
            (if same { expr } else { cast(expr, column_type.arrow()) }, column_type)
        }
    };
    let compiled = compiler.compile(expr.clone(), &column_type.arrow())?;
    Ok(Output { column: Column { name: name.to_owned(), column_type }, expr, compiled, plain: declared.map(|(index, _)| index) })
}

/// Returns the output columns after which, in event time, a row cannot change, not even by a late event.
fn time_bounds(relation: &Relation, plain: &[Option<usize>], late: LatePolicy) -> Vec<TimeBound> {
    let of = |bounds: &[TimeBound], column: usize| bounds.iter().find(|bound| bound.column == column).copied();
    let bound = |row: usize| match &relation.groups {
        Some(groups) => match groups.row[row].origin {
            Origin::Key(key) => of(&groups.key_time_bounds, key),
            origin => relation.base.window.as_ref().and_then(|call| window_bound(call, origin)),
        },
        None => of(&relation.base.time_bounds, row),
    };
    let own = |(column, row): (usize, &Option<usize>)| {
        let mut windows = relation.base.window_bounds.iter();
        let window = || windows.find(|(window, _)| *window == relation.columns[column]).map(|(_, bound)| *bound);
        let bound = row.and_then(bound).or_else(window)?;
        Some(TimeBound { column, slack: bound.slack.saturating_add(late.horizon()), ..bound })
    };
    plain.iter().enumerate().filter_map(own).collect()
}

/// Returns how a window's column bounds its row.
fn window_bound(call: &WindowCall, origin: Origin) -> Option<TimeBound> {
    // How long after the column's value the window ends, and how long after that its row may still change.
    let (end, slack) = match (call.window, origin) {
        (Window::Hop { .. }, Origin::WindowEnd) => (0, 0),
        (Window::Hop { size, .. }, Origin::WindowStart) => (size, 0),
        // A session may still grow, or be swallowed, when the watermark has passed its end: see `Rule::closing`.
        (Window::Session { gap, .. }, Origin::WindowEnd) => (0, gap),
        (Window::Session { gap, .. }, Origin::LastEvent) => (gap, gap),
        _ => return None,
    };
    let slack = call.row_time.map_or(slack, |time| slack.saturating_add(time.slack));
    Some(TimeBound { column: 0, slack: slack.saturating_add(end), last: end - 1 })
}

fn check_emit(emit: Emit, relation: &Relation, time_bounds: &[TimeBound]) -> Planned<()> {
    if emit == Emit::Changes {
        return Ok(());
    }
    let closes = relation.groups.is_some() && (relation.base.window.is_some() || !time_bounds.is_empty());
    let what = if relation.groups.is_some() { "groups without a window" } else { "a view that works row by row" };
    match closes {
        true => Ok(()),
        false => Err(Refusal::new(
            format!("emit = \"final\" needs windows that close, but this is {what}"),
            "write emit = \"changes\", or group by tumble, hop or session",
        )),
    }
}

/// Refuses a policy for late events where none can be late.
fn check_late(late: LatePolicy, relation: &Relation) -> Planned<()> {
    let is_windowed = relation.base.window.is_some() && matches!(relation.base.input, Reads::Source(_));
    if late == LatePolicy::Keep || is_windowed {
        return Ok(());
    }
    let remedy = "leave it out here, and give it to the view with tumble, hop or session over a source";
    Err(Refusal::new("late = … is for windows over a source, and no event is late for this view", remedy))
}

/// Returns what tells the rows apart, and what else does.
fn parts(relation: &Relation, plain: &[Option<usize>], lowering: &Lowering<'_>) -> (Vec<key::Part>, Vec<key::Part>) {
    if let Some(groups) = &relation.groups {
        let whole = groups.whole.as_ref().map(|parts| key::parts_of_view(parts, plain));
        return (whole.unwrap_or_else(|| key::parts_of_groups(groups, plain)), Vec::new());
    }
    let other = match relation.base.input {
        Reads::View(view) => key::parts_of_view(&lowering.catalog.views[view].other_parts, plain),
        _ => Vec::new(),
    };
    (key::parts_of_view(&relation.base.parts, plain), other)
}

/// Checks the key that the job gives, or derives one, from either of what tells the rows apart.
fn keys(
    definition: &ViewDefinition,
    relation: &Relation,
    columns: &[Column],
    [parts, other_parts]: [&[key::Part]; 2],
    warnings: &mut Vec<String>,
) -> Planned<Vec<usize>> {
    let name = &definition.name;
    let given = &definition.key;
    match (&relation.groups, parts.is_empty()) {
        (None, true) if given.is_empty() => Ok(Vec::new()),
        (None, true) => key::check(given, columns, parts),
        _ if !given.is_empty() => match (key::check(given, columns, parts), other_parts.is_empty()) {
            (Err(_), false) if key::check(given, columns, other_parts).is_ok() => key::check(given, columns, other_parts),
            (checked, _) => checked,
        },
        (grouped, _) => match (key::derive(parts), grouped) {
            (Ok(key), _) => Ok(key),
            (Err(missing), Some(_)) => {
                Err(Refusal::new(format!("no column of the view holds {}, which is part of its key", missing.name), "select it"))
            }
            (Err(_), None) if !other_parts.is_empty() && key::derive(other_parts).is_ok() => {
                Ok(key::derive(other_parts).unwrap_or_default())
            }
            (Err(missing), None) => {
                let lacks = &missing.name;
                warnings.push(format!(
                    "view '{name}' has no key, since it leaves out {lacks}: no table can hold it, only other views read it"
                ));
                Ok(Vec::new())
            }
        },
    }
}

/// Tells whether a row-wise view has no key, or one that holds the key by which its input is without repeats.
fn is_deduped_by(key: &[usize], relation: &Relation, plain: &[Option<usize>], lowering: &Lowering<'_>) -> bool {
    let Reads::Source(mut source) = relation.base.input else { return key.is_empty() };
    let derived = |source: usize| lowering.catalog.sources[source].derived.as_ref();
    // A table adds columns behind those of a record, and no record.
    while let Some(Derived::Enrich { input: Input::Source(input), .. }) = derived(source) {
        source = *input;
    }
    let holds = |column: &usize| key.iter().any(|&of_key| plain[of_key] == Some(*column));
    key.is_empty() || matches!(derived(source), Some(Derived::Dedupe { keys, .. }) if keys.iter().all(holds))
}

/// Checks the key that the job gives to a join or derives one; trusts one that cannot be checked.
fn join_keys(
    definition: &ViewDefinition,
    columns: &[Column],
    parts: &mut Vec<key::Part>,
    warnings: &mut Vec<String>,
) -> Planned<Vec<usize>> {
    let (name, given) = (&definition.name, &definition.key);
    let derived = if parts.is_empty() { None } else { key::derive(parts).ok() };
    if given.is_empty() {
        if derived.is_none() {
            warnings.push(format!(
                "view '{name}' has no key, since nothing says that its rows differ: no table can hold it, only other views read it; \
                 if they do differ in some columns, name these with key = […]"
            ));
        }
        return Ok(derived.unwrap_or_default());
    }
    if !parts.is_empty()
        && let Ok(key) = key::check(given, columns, parts)
    {
        return Ok(key);
    }
    let key = key::check(given, columns, &[])?;
    warnings.push(format!(
        "nothing says that its rows differ by ({}): of several with one key a table keeps the last",
        given.join(", ")
    ));
    *parts = key.iter().map(|&column| key::Part { name: columns[column].name.clone(), columns: vec![column] }).collect();
    Ok(key)
}

/// Warns of state that nothing ever closes.
fn growth(part: &Part<'_>, relation: &Relation) -> Option<String> {
    let groups = relation.groups.as_ref()?;
    let closes = relation.base.window.is_some() || !groups.key_time_bounds.is_empty();
    let advice = match relation.base.input {
        Reads::Source(_) => "use tumble, hop or session if old groups may be forgotten",
        _ => "add the view's window_end to GROUP BY if old groups may be forgotten",
    };
    let whose = match part.of {
        Some(view) => format!("a GROUP BY inside of view '{view}' keeps each of its"),
        None => format!("view '{}' keeps each of its", part.definition.name),
    };
    (!closes).then(|| format!("{whose} groups for ever, since none has a time at which it is over: {advice}"))
}

/// Warns of groups that keep more with each event, for ever.
fn funnels(part: &Part<'_>, relation: &Relation) -> Option<String> {
    let groups = relation.groups.as_ref()?;
    let closes = relation.base.window.is_some() || !groups.key_time_bounds.is_empty();
    let has_funnel = groups.aggregates.iter().any(|aggregate| matches!(aggregate.function, Function::Funnel(_)));
    let view = part.of.unwrap_or(&part.definition.name);
    (has_funnel && !closes).then(|| {
        format!(
            "view '{view}' keeps the times of a funnel's steps for ever, unless all have been gone: use tumble, hop or session"
        )
    })
}

fn map(relation: &Relation, outputs: &[Output], schema: SchemaRef, compiler: &Compiler) -> Planned<Map> {
    let condition = Relation::condition(&relation.filter);
    let needs_processing_time = condition.iter().chain(outputs.iter().map(|output| &output.expr)).any(reads_processing_time);
    Ok(Map {
        filter: compiler.condition(condition)?,
        project: outputs.iter().map(|output| output.compiled.clone()).collect(),
        schema,
        needs_processing_time,
    })
}

/// The view as those see it that read it, if it is row by row over a source.
fn inlined(relation: &Relation, outputs: &[Output]) -> Option<Relation> {
    let Relation { base, groups: None, filter, .. } = relation else { return None };
    let Base { input: Reads::Source(_), .. } = base else { return None };
    let columns = outputs.iter().map(|output| output.expr.clone()).collect();
    Some(Relation { base: base.clone(), groups: None, filter: filter.clone(), columns, ranking: None })
}

/// Returns what a view reads, and what it does with it.
fn body(relation: Relation, join: Option<&Sorted>, output: Map) -> Planned<(Vec<Input>, Body)> {
    if let Some(join) = join {
        let row_schema = Arc::new(Schema::new(relation.base.fields()));
        let sides = [join.side(0, &relation.base.columns)?, join.side(1, &relation.base.columns)?];
        let inputs = join.sides.iter().map(|side| input(&side.base.input)).collect();
        return Ok((inputs, Body::Join(Box::new(Join { rule: join.rule, sides, output, row_schema }))));
    }
    let inputs = vec![input(&relation.base.input)];
    let Some(groups) = relation.groups else { return Ok((inputs, Body::Map(output))) };
    let row_schema = Arc::new(Schema::new(groups.fields() as Vec<Field>));
    let aggregation = Aggregation {
        window: relation.base.window.as_ref().map(|call| call.window),
        row_time: relation.base.window.and_then(|call| call.row_time),
        filter: groups.filter,
        keys: groups.keys,
        key_time_bound: groups.key_time_bounds.first().copied(),
        aggregates: groups.aggregates,
        needs_processing_time: groups.needs_processing_time,
        output,
        row_schema,
    };
    Ok((inputs, Body::Aggregate(Box::new(aggregation))))
}

fn input(reads: &Reads) -> Input {
    match reads {
        Reads::Source(source) => Input::Source(*source),
        Reads::View(view) => Input::View(*view),
        Reads::Join(_) => unreachable!("what reads a join reads it as a hidden view"),
    }
}
