//! `tumble`, `hop` and `session` in FROM, and how these and `dedupe` are called.
//!
//! Each of the three becomes a node of the logical plan, a [`WindowTable`]: the columns of its first argument, and after them `window_start` and
//! `window_end` (for a session also `last_event`). What the first argument has of these names, as a view with windows has, is called
//! `inner_window_start` and so on.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::{DFSchema, DFSchemaRef, FunctionalDependence, FunctionalDependencies, Result, plan_err};
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::ast::{Expr as SqlExpr, FunctionArg, FunctionArgExpr, ObjectName, TableFactor};

use super::clauses::{normal, single};
use super::dedupe::DedupeTable;
use super::error::{Planned, Refusal};
use super::interval;
use crate::plan::Window;

/// The columns that windows add, in their order.
pub(super) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "last_event"];

/// How each function is called.
const USAGE: [(&str, &str); 4] = [
    ("dedupe", "dedupe(source, key, INTERVAL '1 hour'), with one or more key columns"),
    ("tumble", "tumble(source, INTERVAL '1 minute'), over a view perhaps with time => a column"),
    (
        "hop",
        "hop(source, INTERVAL '1 minute', INTERVAL '5 minutes'), the slide before the size, over a view perhaps with time => a column",
    ),
    (
        "session",
        "session(source, INTERVAL '5 minutes', key), with one or more keys and perhaps max_duration => INTERVAL '1 hour'",
    ),
];

/// Returns the number of columns that a window adds.
pub(super) fn width(window: &Window) -> usize {
    match window {
        Window::Hop { .. } => 2,
        Window::Session { .. } => 3,
    }
}

/// Returns the name under which a column of the input is known if a window's column has its own.
pub(super) fn inner(name: &str) -> String {
    format!("inner_{name}")
}

/// Returns the window function of this name, and how it is called.
///
/// # Errors
/// Refuses other table functions.
pub(super) fn known(name: &ObjectName) -> Planned<(&'static str, &'static str)> {
    let name = single(name).unwrap_or_else(|| name.to_string());
    let found = USAGE.into_iter().find(|(function, _)| *function == name);
    found.ok_or_else(|| Refusal::unknown("table function", &name, USAGE.map(|(function, _)| function)))
}

/// A source with its events put into windows, or a view with its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WindowTable {
    pub(super) function: &'static str,
    pub(super) input: LogicalPlan,
    pub(super) window: Window,
    /// What sessions are kept for each of.
    pub(super) keys: Vec<Expr>,
    /// The column by which rows are put into windows, if the query says it.
    pub(super) time: Option<Expr>,
    schema: DFSchemaRef,
}

/// What a window function is called with, beside its input.
struct Windowing {
    function: &'static str,
    window: Window,
    keys: Vec<Expr>,
    time: Option<Expr>,
}

impl WindowTable {
    fn new(input: LogicalPlan, windowing: Windowing) -> Result<WindowTable> {
        let Windowing { function, window, keys, time } = windowing;
        let windows = &WINDOW_COLUMNS[..width(&window)];
        let mut fields: Vec<_> = input.schema().iter().map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
        for at in 0..fields.len() {
            let name = fields[at].1.name();
            if !windows.contains(&name.as_str()) {
                continue;
            }
            let renamed = inner(name);
            if fields.iter().any(|(_, field)| *field.name() == renamed) {
                let problem =
                    format!("{function}() would call the column '{name}' of its input '{renamed}', which is there already");
                return Err(Refusal::new(problem, "select one of the two under another name").into());
            }
            fields[at].1 = Arc::new(fields[at].1.as_ref().clone().with_name(renamed));
        }
        let table = fields.first().and_then(|(table, _)| table.clone());
        let field = |name: &&str| Field::new(*name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
        fields.extend(windows.iter().map(|name| (table.clone(), Arc::new(field(name)))));
        let dependencies = dependencies(input.schema(), &window, &keys);
        let schema = DFSchema::new_with_metadata(fields, HashMap::new())?.with_functional_dependencies(dependencies)?;
        Ok(WindowTable { function, input, window, keys, time, schema: Arc::new(schema) })
    }
}

/// Each bound of a window determines the other, so that either is enough in GROUP BY; those of a session with its keys.
fn dependencies(input: &DFSchema, window: &Window, keys: &[Expr]) -> FunctionalDependencies {
    let (start, end) = (input.fields().len(), input.fields().len() + width(window));
    let keys = keys.iter().map(|key| key.try_as_col().and_then(|column| input.maybe_index_of_column(column)));
    let Some(keys) = keys.collect::<Option<Vec<usize>>>() else {
        return FunctionalDependencies::empty();
    };
    let determined_by = |bound: usize| {
        // The bound is named twice: DataFusion takes a dependency whose columns are all grouped by for a key of the groups, by which a GROUP BY
        // of theirs would then group by all of their columns. It never finds one column twice.
        let source = keys.iter().copied().chain([bound, bound]).collect();
        FunctionalDependence::new(source, (start..end).filter(|&column| column != bound).collect(), true)
    };
    FunctionalDependencies::new(vec![determined_by(start), determined_by(start + 1)])
}

// The trait asks for an order, which nothing here uses.
impl PartialOrd for WindowTable {
    fn partial_cmp(&self, other: &WindowTable) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for WindowTable {
    fn name(&self) -> &str {
        self.function
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().chain(&self.time).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {:?}", self.function, self.window)
    }

    fn with_exprs_and_inputs(&self, mut keys: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<WindowTable> {
        let time = self.time.as_ref().and_then(|_| keys.pop());
        let windowing = Windowing { function: self.function, window: self.window, keys, time };
        match (inputs.pop(), inputs.len()) {
            (Some(input), 0) => WindowTable::new(input, windowing),
            _ => plan_err!("{}() has one input", self.function),
        }
    }
}

/// Plans the table functions.
#[derive(Debug)]
pub(super) struct WindowFunctions;

impl RelationPlanner for WindowFunctions {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let (function, usage) = known(name)?;
        let call = Call { function, usage };
        let input = context.plan(call.input(&relation, args.args.first())?)?;
        let arguments = call.arguments(&args.args[1..], &input, context)?;
        let node: Arc<dyn UserDefinedLogicalNode> = if function == "dedupe" {
            let (keys, within) = call.dedupe(arguments)?;
            Arc::new(DedupeTable { input, keys, within })
        } else {
            Arc::new(WindowTable::new(input, call.window(arguments)?)?)
        };
        let plan = LogicalPlan::Extension(Extension { node });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

/// The arguments after the first.
struct Arguments {
    positional: Vec<Expr>,
    max_duration: Option<Expr>,
    time: Option<Expr>,
}

struct Call {
    function: &'static str,
    usage: &'static str,
}

impl Call {
    fn refuse(&self, problem: impl fmt::Display) -> Refusal {
        Refusal::new(format!("{}(): {problem}", self.function), format!("write {}", self.usage))
    }

    /// The first argument, as a table in FROM.
    fn input(&self, call: &TableFactor, argument: Option<&FunctionArg>) -> Planned<TableFactor> {
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Identifier(source)))) = argument else {
            return Err(self.refuse("the first argument is the name of a source, or of a view or WITH query over one"));
        };
        let mut table = call.clone();
        if let TableFactor::Table { name, alias, args, .. } = &mut table {
            *name = ObjectName::from(vec![source.clone()]);
            (*alias, *args) = (None, None);
        }
        Ok(table)
    }

    fn arguments(
        &self,
        given: &[FunctionArg],
        input: &LogicalPlan,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Arguments> {
        let mut arguments = Arguments { positional: Vec::new(), max_duration: None, time: None };
        for argument in given {
            let (name, value) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (None, value),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => (Some(normal(name)), value),
                FunctionArg::ExprNamed { name: SqlExpr::Identifier(name), arg: FunctionArgExpr::Expr(value), .. } => {
                    (Some(normal(name)), value)
                }
                other => return Err(self.refuse(format!("the argument '{other}' is not understood")).into()),
            };
            let value = context.sql_to_expr(value.clone(), input.schema())?;
            match name.as_deref() {
                None => arguments.positional.push(value),
                Some("max_duration") if self.function == "session" => arguments.max_duration = Some(value),
                Some("time") if matches!(self.function, "tumble" | "hop") => arguments.time = Some(value),
                Some(name) => return Err(self.refuse(format!("there is no argument named '{name}'")).into()),
            }
        }
        Ok(arguments)
    }

    /// The keys, and for how long they are remembered.
    fn dedupe(&self, Arguments { mut positional, .. }: Arguments) -> Planned<(Vec<Expr>, i64)> {
        match positional.pop_if(|last| interval::is_interval(last)) {
            Some(within) if !positional.is_empty() => Ok((positional, interval::micros(&within, "the time of dedupe()")?)),
            Some(_) => Err(self.refuse("it needs at least one key, such as the event's id")),
            None => Err(self.refuse("the last argument is the time for which a key is remembered")),
        }
    }

    fn window(&self, arguments: Arguments) -> Planned<Windowing> {
        let Arguments { mut positional, mut max_duration, time } = arguments;
        let (window, keys) = match (self.function, positional.as_slice()) {
            ("tumble", [size]) => {
                let size = interval::micros(size, "the size of tumble()")?;
                (Window::Hop { slide: size, size }, Vec::new())
            }
            ("hop", [slide, size]) => {
                let slide = interval::micros(slide, "the slide of hop()")?;
                let size = interval::micros(size, "the size of hop()")?;
                if slide > size {
                    return Err(self.refuse("the slide is longer than the size, so events would fall between windows"));
                }
                (Window::Hop { slide, size }, Vec::new())
            }
            ("session", [gap, ..]) => {
                let gap = interval::micros(gap, "the gap of session()")?;
                positional.remove(0);
                if max_duration.is_none() {
                    max_duration = positional.pop_if(|last| interval::is_interval(last));
                }
                let max_duration = max_duration.map(|d| interval::micros(&d, "the max_duration of session()")).transpose()?;
                if positional.is_empty() {
                    return Err(self.refuse("it needs at least one key, such as the user"));
                }
                (Window::Session { gap, max_duration }, positional)
            }
            _ => return Err(self.refuse("the number of arguments is wrong")),
        };
        Ok(Windowing { function: self.function, window, keys, time })
    }
}
