//! A query as one filter and expressions over its input: nested selects are put into one another until nothing but the input's own
//! columns is left.
//!
//! ```text
//!   SELECT … FROM (SELECT … FROM source WHERE …) WHERE …        columns and filter over the source's columns
//!     └─ GROUP BY …                                             Groups, with what stood below
//!          └─ SELECT … WHERE …                                  columns and filter over the groups' row
//! ```

use std::any::Any;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Distinct, Expr, LogicalPlan, lit};
use freshet_model::{Column as TableColumn, ColumnType};

use super::dedupe::DedupeTable;
use super::enrich;
use super::error::{Planned, Refusal};
use super::functions::PROCESSING_TIME;
use super::group::{self, Groups};
use super::hidden::Lowering;
use super::join::{self, Joined};
use super::key::Part;
use super::ranking::{self, Pending};
use super::tables::{Entry, Table};
use super::union;
use super::window::{WINDOW_COLUMNS, WindowTable, width};
use super::windowed;
use crate::plan::{Input, RowTime, TimeBound, Window};

/// Name of the column behind the last one of a source that holds the epoch's processing time.
pub(super) const PROCESSING_TIME_COLUMN: &str = "processing_time()";

/// What a query reads at its bottom.
#[derive(Clone)]
pub(super) enum Reads {
    /// The source with this index.
    Source(usize),
    /// The view with this index.
    View(usize),
    /// Two other relations.
    Join(Box<Joined>),
}

/// The same with its columns.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) input: Reads,
    /// The source's or view's name, for messages.
    pub(super) name: String,
    pub(super) columns: Vec<TableColumn>,
    /// Index of a source's event-time column.
    pub(super) time: Option<usize>,
    /// A view's columns that bound its rows' event time.
    pub(super) time_bounds: Vec<TimeBound>,
    /// Expressions over a view's columns that do so, too: the bounds of windows that its rows are in.
    pub(super) window_bounds: Vec<(Expr, TimeBound)>,
    /// What tells rows apart, by their columns; nothing if rows may be alike.
    pub(super) parts: Vec<Part>,
    pub(super) window: Option<WindowCall>,
}

/// The window function in FROM.
#[derive(Clone)]
pub(super) struct WindowCall {
    pub(super) function: &'static str,
    pub(super) window: Window,
    /// The keys of a session, over the base's columns.
    pub(super) keys: Vec<Expr>,
    /// How rows are put into the windows, if the base is a view.
    pub(super) row_time: Option<RowTime>,
}

impl Base {
    /// The columns that compiled expressions see: the input's, and for a source the processing time.
    pub(super) fn fields(&self) -> Vec<Field> {
        let columns = self.columns.iter().map(|c| Field::new(&c.name, c.column_type.arrow(), true));
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let processing_time = matches!(self.input, Reads::Source(_)).then(|| Field::new(PROCESSING_TIME_COLUMN, time, true));
        columns.chain(processing_time).collect()
    }

    /// The columns that the window function adds.
    pub(super) fn window_columns(&self) -> &'static [&'static str] {
        self.window.as_ref().map_or(&[], |call| &WINDOW_COLUMNS[..width(&call.window)])
    }

    /// Returns the index of the column that an expression plainly is.
    pub(super) fn plain(&self, expr: &Expr) -> Option<usize> {
        let Expr::Column(column) = expr else { return None };
        self.columns.iter().position(|c| c.name == column.name)
    }
}

/// A query, or a part of one.
#[derive(Clone)]
pub(super) struct Relation {
    pub(super) base: Base,
    /// The GROUP BY, if the relation stands above one.
    pub(super) groups: Option<Groups>,
    /// Conditions that all must hold, over the base's columns or the groups' row.
    pub(super) filter: Vec<Expr>,
    /// The relation's columns, over the same.
    pub(super) columns: Vec<Expr>,
    /// Set while the rows are ranked, and nothing says how many are wanted.
    pub(super) ranking: Option<Pending>,
}

/// A column of the base or of the groups' row.
pub(super) fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// Whether an expression reads the processing time.
pub(super) fn reads_processing_time(expr: &Expr) -> bool {
    expr.column_refs().iter().any(|column| column.name == PROCESSING_TIME_COLUMN)
}

impl Relation {
    /// A source or view as it is.
    pub(super) fn of(base: Base) -> Relation {
        let columns = base.columns.iter().map(|c| column(&c.name)).collect();
        Relation { base, groups: None, filter: Vec::new(), columns, ranking: None }
    }

    /// Lowers an analyzed plan.
    ///
    /// # Errors
    /// Refuses what cannot be kept as one filter, at most one aggregation, and one more filter, over what may be views of their own.
    pub(super) fn lower(plan: &LogicalPlan, lowering: &mut Lowering<'_>) -> Planned<Relation> {
        match plan {
            LogicalPlan::TableScan(scan) => match (scan.source.as_ref() as &dyn Any).downcast_ref::<Table>() {
                Some(Table { entry: Entry::Table(table), .. }) => Err(enrich::alone(&lowering.catalog.tables[*table])),
                Some(table) => Ok(lowering.catalog.relation(table.entry)),
                None => Err(Refusal::new(format!("'{}' is no table", scan.table_name), "read a source or a view")),
            },
            LogicalPlan::SubqueryAlias(alias) => Relation::lower(&alias.input, lowering),
            LogicalPlan::Filter(filter) => {
                let mut relation = Relation::lower(&filter.input, lowering)?;
                let predicate = relation.bind(&filter.predicate, filter.input.schema())?;
                let conditions = split_conjunction_owned(predicate);
                ranking::bound(&mut relation, &conditions, lowering)?;
                relation.filter.extend(conditions);
                Ok(relation)
            }
            LogicalPlan::Projection(projection) => {
                let mut relation = Relation::lower(&projection.input, lowering)?;
                let schema = projection.input.schema();
                relation.columns = projection.expr.iter().map(|e| relation.bind(e, schema)).collect::<Planned<_>>()?;
                Ok(relation)
            }
            LogicalPlan::Window(window) => ranking::ranked(Relation::lower(&window.input, lowering)?, window, lowering),
            LogicalPlan::Distinct(Distinct::All(input)) => group::distinct(Relation::lower(input, lowering)?, input, lowering),
            LogicalPlan::Union(union) if !union.inputs.iter().any(|input| lowering.is_stream(input)) => {
                let parts = union.inputs.iter().map(|input| Relation::lower(input, lowering)).collect::<Planned<_>>()?;
                union::unite(parts, &union.schema, lowering)
            }
            LogicalPlan::Join(node) => join::lower(node, lowering),
            LogicalPlan::Aggregate(aggregate) => group::group(Relation::lower(&aggregate.input, lowering)?, aggregate, lowering),
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                match (node.downcast_ref::<WindowTable>(), node.downcast_ref::<DedupeTable>()) {
                    (Some(table), _) => windowed::windowed(table, lowering),
                    (_, Some(table)) => lowering.dedupe(table),
                    _ => Err(unsupported(extension.node.name())),
                }
            }
            LogicalPlan::Union(union) => lowering.union(union),
            other => Err(unsupported(other.display().to_string().split(':').next().unwrap_or_default())),
        }
    }

    /// Returns the source that the relation is as it is, if it is one.
    pub(super) fn plainly(&self) -> Option<Input> {
        let all = self.base.columns.iter().map(|c| column(&c.name));
        let is_plain =
            self.groups.is_none() && self.base.window.is_none() && self.filter.is_empty() && all.eq(self.columns.iter().cloned());
        match self.base.input {
            Reads::Source(source) if is_plain => Some(Input::Source(source)),
            Reads::View(view) if is_plain => Some(Input::View(view)),
            _ => None,
        }
    }

    /// The columns that the relation's expressions see.
    pub(super) fn fields(&self) -> Vec<Field> {
        self.groups.as_ref().map_or_else(|| self.base.fields(), Groups::fields)
    }

    /// Returns the index of the column of the base or of the groups' row that an expression plainly is, and its type.
    pub(super) fn declared(&self, expr: &Expr) -> Option<(usize, ColumnType)> {
        match &self.groups {
            Some(groups) => groups.plain(expr).map(|index| (index, groups.row[index].column_type)),
            None => self.base.plain(expr).map(|index| (index, self.base.columns[index].column_type)),
        }
    }

    /// Writes an expression over the columns that `schema` names in terms of what this relation reads.
    pub(super) fn bind(&self, expr: &Expr, schema: &DFSchema) -> Planned<Expr> {
        let bound = expr.clone().transform_up(|part| match &part {
            Expr::Column(column) => Ok(Transformed::yes(self.columns[schema.index_of_column(column)?].clone())),
            Expr::ScalarFunction(call) if call.func.name() == PROCESSING_TIME => Ok(Transformed::yes(self.processing_time()?)),
            Expr::AggregateFunction(call) => Err(misplaced(call.func.name()).into()),
            Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => Err(Refusal::new(
                "IN (SELECT …) or EXISTS stands where it cannot become a join",
                "let it stand in WHERE, joined to other conditions by AND, and let its own WHERE equate columns of both queries",
            )
            .into()),
            Expr::Placeholder(placeholder) => {
                Err(Refusal::new(format!("the placeholder {} has no value", placeholder.id), "write the value itself").into())
            }
            _ => Ok(Transformed::no(part)),
        })?;
        Ok(bound.data.unalias_nested().data)
    }

    fn processing_time(&self) -> Planned<Expr> {
        let remedy = "read it in a row-wise view over a source, or aggregate it: max(processing_time())";
        match (&self.base.input, &self.groups) {
            (Reads::Source(_), None) => Ok(column(PROCESSING_TIME_COLUMN)),
            (Reads::View(_), _) => {
                Err(Refusal::new(format!("processing_time() is that of an event, but '{}' is a view", self.base.name), remedy))
            }
            (Reads::Join(_), None) => {
                let remedy = "read it on one side, in a subquery: FROM (SELECT *, processing_time() AS seen FROM …) AS a JOIN …";
                Err(Refusal::new("processing_time() is that of an event, and a pair of a join has two", remedy))
            }
            (_, Some(_)) => Err(Refusal::new("processing_time() is that of an event, and a group has many", remedy)),
        }
    }

    /// All conditions as one.
    pub(super) fn condition(filter: &[Expr]) -> Option<Expr> {
        filter.iter().cloned().reduce(Expr::and).filter(|condition| *condition != lit(true))
    }
}

fn misplaced(aggregate: &str) -> Refusal {
    Refusal::new(
        format!("{aggregate}() stands in WHERE, in GROUP BY or inside another aggregate"),
        "put a condition on groups into HAVING, and write the inner aggregate as a view of its own",
    )
}

fn unsupported(clause: &str) -> Refusal {
    Refusal::new(format!("{clause} is not supported in a view"), "use SELECT, FROM, WHERE, GROUP BY and HAVING")
}
