//! GROUP BY: the keys, the window and the aggregates of a view, and the row that they form.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::DFSchema;
use datafusion_expr::{Aggregate as AggregateNode, Expr, LogicalPlan, cast};
use freshet_model::ColumnType;

use super::aggregate;
use super::compile::{Compiler, column_type};
use super::error::{Planned, Refusal};
use super::hidden::{Lowering, unique};
use super::key::Part;
use super::relation::{Base, Reads, Relation, WindowCall, column, reads_processing_time};
use super::text;
use crate::plan::{Aggregate, Expression, TimeBound, Window};

/// What a column of the groups' row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    WindowStart,
    WindowEnd,
    LastEvent,
    /// The key with this index.
    Key(usize),
    /// The aggregate with this index.
    Aggregate(usize),
}

/// A column of the groups' row.
#[derive(Debug, Clone)]
pub(super) struct RowColumn {
    pub(super) name: String,
    pub(super) column_type: ColumnType,
    pub(super) origin: Origin,
    /// The column in the type that the query gave it, which may be narrower than the column's.
    pub(super) restored: Expr,
}

/// A GROUP BY with all that stands below it.
#[derive(Clone)]
pub(super) struct Groups {
    pub(super) filter: Option<Expression>,
    pub(super) keys: Vec<Expression>,
    /// The keys (as indices into `keys`) that bound the groups' event time, each for itself.
    pub(super) key_time_bounds: Vec<TimeBound>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) needs_processing_time: bool,
    pub(super) row: Vec<RowColumn>,
    /// What tells the groups apart, if they are rows as they were: then fewer columns may do than there are keys.
    pub(super) whole: Option<Vec<Part>>,
}

impl Groups {
    /// The columns that expressions above the GROUP BY see.
    pub(super) fn fields(&self) -> Vec<Field> {
        self.row.iter().map(|c| Field::new(&c.name, c.column_type.arrow(), true)).collect()
    }

    /// Returns the index of the row's column that an expression plainly is.
    pub(super) fn plain(&self, expr: &Expr) -> Option<usize> {
        self.row.iter().position(|c| c.restored == *expr || matches!(expr, Expr::Column(column) if column.name == c.name))
    }
}

/// Groups a relation as an aggregate node says.
pub(super) fn group(mut input: Relation, node: &AggregateNode, lowering: &mut Lowering<'_>) -> Planned<Relation> {
    input.check_ranked()?;
    if input.groups.is_some() || matches!(input.base.input, Reads::Join(_)) {
        let exprs: Vec<Expr> = node.group_expr.iter().chain(&node.aggr_expr).cloned().collect();
        input = lowering.hide(input, node.input.schema(), &exprs)?;
    }
    if node.group_expr.is_empty() && input.base.window.is_none() {
        let remedy = "group by something; for one row over everything: SELECT 'all' AS scope, … GROUP BY scope";
        return Err(Refusal::new("an aggregate without GROUP BY has no column that could be its key", remedy));
    }
    let (below, above) = split_filter(&input)?;
    let mut grouping = Grouping::new(&input)?;
    let schema = node.input.schema();
    let mut columns = Vec::new();
    for expr in &node.group_expr {
        columns.push(grouping.key(expr, schema)?);
    }
    grouping.check_window()?;
    for expr in &node.aggr_expr {
        columns.push(aggregate::add(&mut grouping, expr, schema)?);
    }
    let groups = grouping.finish(&below)?;
    Ok(Relation { base: input.base, groups: Some(groups), filter: above, columns, ranking: None })
}

/// Groups a relation by all of its columns: `SELECT DISTINCT`. `plan` is what was lowered to it.
pub(super) fn distinct(input: Relation, plan: &Arc<LogicalPlan>, lowering: &mut Lowering<'_>) -> Planned<Relation> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
    group(input, &AggregateNode::try_new(Arc::clone(plan), columns, Vec::new())?, lowering)
}

/// Divides the conditions below a GROUP BY into those on events and those on windows, which hold for a group as a whole.
fn split_filter(input: &Relation) -> Planned<(Vec<Expr>, Vec<Expr>)> {
    let (mut below, mut above) = (Vec::new(), Vec::new());
    for condition in &input.filter {
        match Mentions::of(condition, &input.base) {
            Mentions { windows: false, .. } => below.push(condition.clone()),
            Mentions { windows: true, others: false } => above.push(condition.clone()),
            Mentions { windows: true, others: true } => {
                let problem =
                    format!("the condition {} mixes the window's bounds with columns of events", text::canonical(condition)?);
                return Err(Refusal::new(problem, "divide it into conditions on the one or the other, joined by AND"));
            }
        }
    }
    Ok((below, above))
}

/// Which kinds of columns an expression reads.
pub(super) struct Mentions {
    pub(super) windows: bool,
    pub(super) others: bool,
}

impl Mentions {
    pub(super) fn of(expr: &Expr, base: &Base) -> Mentions {
        let windows = base.window_columns();
        let is_window = |name: &str| windows.contains(&name);
        let columns = expr.column_refs();
        Mentions { windows: columns.iter().any(|c| is_window(&c.name)), others: columns.iter().any(|c| !is_window(&c.name)) }
    }
}

/// Collects the parts of a GROUP BY.
pub(super) struct Grouping<'a> {
    pub(super) input: &'a Relation,
    pub(super) compiler: Compiler,
    pub(super) aggregates: Vec<Aggregate>,
    /// The aggregates' canonical texts: equal ones are kept once.
    pub(super) texts: Vec<String>,
    pub(super) needs_processing_time: bool,
    keys: Vec<Expression>,
    key_time_bounds: Vec<TimeBound>,
    windows: bool,
    row: Vec<RowColumn>,
}

impl<'a> Grouping<'a> {
    fn new(input: &'a Relation) -> Planned<Grouping<'a>> {
        let origins = [Origin::WindowStart, Origin::WindowEnd, Origin::LastEvent];
        let row = input.base.window_columns().iter().zip(origins).map(|(name, origin)| RowColumn {
            name: (*name).to_owned(),
            column_type: ColumnType::Timestamp,
            origin,
            restored: column(name),
        });
        Ok(Grouping {
            input,
            compiler: Compiler::new(input.base.fields())?,
            aggregates: Vec::new(),
            texts: Vec::new(),
            needs_processing_time: false,
            keys: Vec::new(),
            key_time_bounds: Vec::new(),
            windows: false,
            row: row.collect(),
        })
    }

    /// Adds a grouping expression, and returns it over the row.
    fn key(&mut self, expr: &Expr, schema: &DFSchema) -> Planned<Expr> {
        if let Expr::GroupingSet(_) = expr {
            let remedy = "write one view for each set of group columns";
            return Err(Refusal::new("GROUPING SETS, ROLLUP or CUBE is not supported in a view", remedy));
        }
        let expr = self.input.bind(expr, schema)?;
        match Mentions::of(&expr, &self.input.base) {
            Mentions { windows: true, others: true } => {
                let problem =
                    format!("the GROUP BY expression {} mixes the window's bounds with other columns", text::canonical(&expr)?);
                Err(Refusal::new(problem, "group by the window's bounds and by the other columns separately"))
            }
            Mentions { windows: true, .. } => {
                // Any function of a window's bounds is the same for the whole group; only a bound itself tells windows apart.
                self.windows |= expr == column("window_start") || expr == column("window_end");
                Ok(expr)
            }
            Mentions { .. } => self.event_key(expr),
        }
    }

    fn event_key(&mut self, expr: Expr) -> Planned<Expr> {
        let expr = self.compiler.simplify(expr)?;
        self.needs_processing_time |= reads_processing_time(&expr);
        let given = self.compiler.data_type(&expr)?;
        let name = text::canonical(&expr)?;
        let base = &self.input.base;
        let plain = base.plain(&expr);
        let column_type = match plain {
            Some(index) => base.columns[index].column_type,
            None => column_type(&given, &format!("the GROUP BY expression {name}"))?,
        };
        let key = self.compiler.compile(expr, &column_type.arrow())?;
        let index = match self.keys.iter().position(|known| known.text == key.text) {
            Some(index) => index,
            None => {
                self.keys.push(key);
                self.keys.len() - 1
            }
        };
        if let Some(bound) = base.time_bounds.iter().find(|bound| Some(bound.column) == plain) {
            self.key_time_bounds.push(TimeBound { column: index, ..*bound });
        }
        Ok(self.row_column(name, column_type, Origin::Key(index), &given))
    }

    /// Adds a column to the row unless it is there already, and returns it in the type that the query gave it.
    ///
    /// It is named as given, unless an input's column has taken that name.
    pub(super) fn row_column(&mut self, name: String, column_type: ColumnType, origin: Origin, given: &DataType) -> Expr {
        if let Some(known) = self.row.iter().find(|c| c.origin == origin) {
            return known.restored.clone();
        }
        let taken: Vec<String> = self.row.iter().map(|c| c.name.clone()).collect();
        let name = unique(&name, &taken);
        let restored = match *given == column_type.arrow() {
            true => column(&name),
            false => cast(column(&name), given.clone()),
        };
        self.row.push(RowColumn { name, column_type, origin, restored: restored.clone() });
        restored
    }

    /// Name of the row's newest column.
    pub(super) fn last_column(&self) -> &str {
        self.row.last().map_or("", |column| column.name.as_str())
    }

    /// Checks that groups are whole windows, and sessions those of the keys that they are kept for.
    fn check_window(&mut self) -> Planned<()> {
        let Some(WindowCall { function, window, keys, .. }) = &self.input.base.window else { return Ok(()) };
        if !self.windows {
            let remedy = "write GROUP BY window_start, window_end and what else there is";
            return Err(Refusal::new(format!("{function}() without its window in GROUP BY"), remedy));
        }
        if matches!(window, Window::Hop { .. }) {
            return Ok(());
        }
        let text_of = |key: &Expr| text::canonical(&self.compiler.simplify(key.clone())?);
        let session: BTreeSet<String> = keys.iter().map(text_of).collect::<Planned<_>>()?;
        let grouped: BTreeSet<String> = self.keys.iter().map(|key| key.text.clone()).collect();
        if session == grouped {
            return Ok(());
        }
        let list = |keys: &BTreeSet<String>| keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let problem = format!("sessions are kept for each ({}), but grouped by ({})", list(&session), list(&grouped));
        let all: BTreeSet<String> = session.union(&grouped).cloned().collect();
        let remedy = format!(
            "give the same keys to both: session(…, {}) with GROUP BY window_start, window_end, {0}",
            list(if grouped.is_empty() { &all } else { &grouped })
        );
        Err(Refusal::new(problem, remedy))
    }

    fn finish(mut self, below: &[Expr]) -> Planned<Groups> {
        let condition = Relation::condition(below);
        self.needs_processing_time |= condition.as_ref().is_some_and(reads_processing_time);
        Ok(Groups {
            filter: self.compiler.condition(condition)?,
            keys: self.keys,
            key_time_bounds: self.key_time_bounds,
            aggregates: self.aggregates,
            needs_processing_time: self.needs_processing_time,
            row: self.row,
            whole: None,
        })
    }
}
