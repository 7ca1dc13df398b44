//! What a job computes, after SQL and before timely: each view as filters, expressions and at most one aggregation.
//!
//! The planner (`sql`) writes it, the lowering (`build`) and `explain` read it. Expressions are compiled DataFusion
//! expressions over the columns of the view's input; where one of them needs `processing_time()`, it reads a further column, the
//! last of the input, that holds it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use freshet_model::{Column, PartitionId, TableSchema};

pub use crate::state::{JoinKind, JoinRule};

use crate::state::{Choice, Steps};

/// A compiled expression, and how it was written.
#[derive(Clone)]
pub struct Expression {
    /// The expression, over the columns of the input.
    pub compiled: Arc<dyn PhysicalExpr>,
    /// Its canonical text: equal texts over one input are equal expressions.
    pub text: String,
    /// The type of its values.
    pub data_type: DataType,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All that a job computes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sources, as declared, and after them the streams that are made from them, each after what it is made from.
    pub sources: Vec<SourcePlan>,
    /// The tables by which streams are enriched.
    pub tables: Vec<TablePlan>,
    /// The views in an order in which each reads only sources and views before it.
    pub views: Vec<View>,
}

impl Plan {
    /// Tells whether rows of this input are only ever appended.
    #[must_use]
    pub fn is_append_only(&self, input: Input) -> bool {
        match input {
            Input::Source(_) => true,
            Input::View(view) => self.views[view].table.appends,
        }
    }

    /// Returns an input as a table: a source's records are appended as they are.
    #[must_use]
    pub fn table(&self, input: Input) -> TableSchema {
        match input {
            Input::View(view) => self.views[view].table.clone(),
            Input::Source(source) => {
                let SourcePlan { name, columns, time_column, .. } = self.sources[source].clone();
                TableSchema { name, columns, key: Vec::new(), appends: true, time_column }
            }
        }
    }
}

/// A source as the planner sees it: records in partitions, with offsets.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The source's name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Index of the event-time column.
    pub time_column: Option<usize>,
    /// What it is made from, if it is not read from outside.
    pub derived: Option<Derived>,
}

/// A table as the planner sees it: rows that a key tells apart, of which one version is in force in each epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    /// The table's name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Indices of the columns of its key.
    pub key: Vec<usize>,
}

impl TablePlan {
    /// Returns the Arrow schema of its rows.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        let (name, columns) = (self.name.clone(), self.columns.clone());
        TableSchema { name, columns, key: Vec::new(), appends: false, time_column: None }.arrow()
    }
}

/// A stream that is made from others. Its records keep their epochs and offsets, and its watermark is the least of those of the sources that they
/// come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derived {
    /// The first record of each key.
    Dedupe {
        /// A source, or a view that works row by row on one.
        input: Input,
        /// The columns of the key.
        keys: Vec<usize>,
        /// For how long a key is remembered, in microseconds.
        within: i64,
    },
    /// Each record beside the row of a table that has its key: the input's columns, then the table's.
    Enrich {
        /// A source, or a view that works row by row on one.
        input: Input,
        /// Index of the table.
        table: usize,
        /// For each column of the table's key the column of the input that equals it.
        keys: Vec<usize>,
        /// Whether records are left out for which the table has no row; else the table's columns are NULL.
        only_matched: bool,
    },
    /// The records of all of these, whose columns are the same. Partition `n` of input `i` becomes partition `n * inputs + i`.
    Union(Vec<Input>),
}

impl Derived {
    /// Returns what the stream is made from.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        match self {
            Derived::Dedupe { input, .. } | Derived::Enrich { input, .. } => std::slice::from_ref(input),
            Derived::Union(inputs) => inputs,
        }
    }
}

/// Where a view's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// Append-only batches of the source with this index.
    Source(usize),
    /// Changes of the view with this index.
    View(usize),
}

/// When a view's rows reach its sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emit {
    /// After each epoch, open windows included.
    Changes,
    /// Once, when the watermark has closed the row's window.
    Final,
}

/// What becomes of an event that comes when its window has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LatePolicy {
    /// It is kept beside the view, which it does not change.
    #[default]
    Keep,
    /// It is counted, and no more.
    Drop,
    /// It amends the row of its window, which is kept for this long after it has closed, in microseconds of event time; what comes after that
    /// is late, and kept.
    Amend(i64),
}

impl LatePolicy {
    /// Returns how long windows are kept after they have closed.
    #[must_use]
    pub fn horizon(self) -> i64 {
        if let LatePolicy::Amend(horizon) = self { horizon } else { 0 }
    }
}

/// One view.
#[derive(Debug, Clone)]
pub struct View {
    /// Name, columns and key, as sinks see them.
    pub table: TableSchema,
    /// When rows reach the sinks.
    pub emit: Emit,
    /// What becomes of late events.
    pub late: LatePolicy,
    /// The query, as written.
    pub sql: String,
    /// Name of the view that this one is a part of, if the planner has made it up: no sink holds it, and what it counts is counted for that view.
    pub part_of: Option<String>,
    /// What it reads: one input, or the two sides of a join.
    pub inputs: Vec<Input>,
    /// What it does with it.
    pub body: Body,
    /// Columns that bound the row's event time, each for itself: none if a row can change at any time.
    pub time_bounds: Vec<TimeBound>,
    /// Whether the job says that its key tells rows apart, and nothing proves it.
    pub trusts_key: bool,
    /// What a person should know before running it, such as state that can only grow.
    pub warnings: Vec<String>,
}

/// A column that says when its row is settled: the row never changes again once the watermark has reached the column's value and `slack`
/// more. All lengths in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBound {
    /// Index of a column of timestamps.
    pub column: usize,
    /// How long after the column's value the row may still change.
    pub slack: i64,
    /// How long after the column's value the row's last instant lies: one microsecond before it for the end of a window, which is outside
    /// of it.
    pub last: i64,
}

impl View {
    /// Returns the name under which people know the view: that of the view that it is a part of, or its own.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        self.part_of.as_deref().unwrap_or(&self.table.name)
    }
}

impl Plan {
    /// Returns the declared sources from which, through whatever streams and views, an input comes.
    #[must_use]
    pub fn sources_of(&self, input: Input) -> BTreeSet<usize> {
        let inputs = match input {
            Input::Source(source) => match &self.sources[source].derived {
                None => return BTreeSet::from([source]),
                Some(derived) => derived.inputs(),
            },
            Input::View(view) => &self.views[view].inputs,
        };
        inputs.iter().flat_map(|&input| self.sources_of(input)).collect()
    }

    /// Returns all that the records of a source have passed, itself included: streams and the row-wise views between them, back to declared sources,
    /// each as often as it lies on a way.
    #[must_use]
    pub fn passed_by(&self, source: usize) -> Vec<Input> {
        let mut passed = vec![Input::Source(source)];
        let mut at = 0;
        while let Some(&input) = passed.get(at) {
            match input {
                Input::Source(source) => passed.extend(self.sources[source].derived.iter().flat_map(Derived::inputs)),
                Input::View(view) => passed.extend(&self.views[view].inputs),
            }
            at += 1;
        }
        passed
    }

    /// Returns the partitions of a source, given those of the declared ones.
    pub fn partitions(&self, input: Input, of: &impl Fn(usize) -> Vec<PartitionId>) -> Vec<PartitionId> {
        match input {
            Input::View(view) => self.views[view].inputs.iter().flat_map(|&input| self.partitions(input, of)).collect(),
            Input::Source(source) => match &self.sources[source].derived {
                None => of(source),
                Some(Derived::Dedupe { input, .. } | Derived::Enrich { input, .. }) => self.partitions(*input, of),
                Some(Derived::Union(inputs)) => {
                    let part = |(index, &input)| {
                        let renumber = move |partition| union_partition(partition, index, inputs.len());
                        self.partitions(input, of).into_iter().map(renumber).collect::<Vec<_>>()
                    };
                    inputs.iter().enumerate().flat_map(part).collect()
                }
            },
        }
    }

    /// Returns the name of a source or view.
    #[must_use]
    pub fn name_of(&self, input: Input) -> &str {
        match input {
            Input::Source(source) => &self.sources[source].name,
            Input::View(view) => &self.views[view].table.name,
        }
    }
}

/// Returns the number that a partition of one of several streams has in their union.
#[must_use]
pub fn union_partition(partition: PartitionId, index: usize, inputs: usize) -> PartitionId {
    let number = |number: usize| PartitionId::try_from(number).expect("invariant: a query is too short for so many parts");
    partition * number(inputs) + number(index)
}

/// What a view does with its input.
#[derive(Debug, Clone)]
pub enum Body {
    /// Row by row.
    Map(Map),
    /// One row for each group.
    Aggregate(Box<Aggregation>),
    /// Rows of two inputs side by side.
    Join(Box<Join>),
    /// The first rows of each partition, with their ranks.
    Rank(Ranking),
    /// The rows of all inputs.
    Union,
}

/// Which rows of a view are shown, and in which order they are ranked.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// The columns within whose values rows are ranked.
    pub partition: Vec<Expression>,
    /// Which of them (as an index into `partition`) bounds the event time.
    pub time_bound: Option<TimeBound>,
    /// What the rows are ordered by.
    pub order: Vec<Order>,
    /// The first so many are shown. Their rank, from 1, is the last column of the view.
    pub limit: usize,
}

/// A column that rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Index of a column of the input.
    pub column: usize,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Whether NULL comes first.
    pub nulls_first: bool,
}

/// A filter and a projection.
#[derive(Debug, Clone)]
pub struct Map {
    /// Rows for which this is not true are left out.
    pub filter: Option<Expression>,
    /// The output columns, one for each column of `schema`, already of its types.
    pub project: Vec<Expression>,
    /// The output columns' names and types.
    pub schema: SchemaRef,
    /// Whether an expression reads `processing_time()`: the column behind the last one of the input.
    pub needs_processing_time: bool,
}

/// Groups, and what is kept of each.
#[derive(Debug, Clone)]
pub struct Aggregation {
    /// The window function in FROM; `None` groups over all time.
    pub window: Option<Window>,
    /// How rows of a view are put into the windows; `None` for a source, whose event time says it.
    pub row_time: Option<RowTime>,
    /// Input rows for which this is not true are left out.
    pub filter: Option<Expression>,
    /// The grouping expressions other than the window's bounds, over the input.
    pub keys: Vec<Expression>,
    /// The key (as an index into `keys`) that bounds the group's event time, when the input is a view.
    pub key_time_bound: Option<TimeBound>,
    /// What is kept of each group.
    pub aggregates: Vec<Aggregate>,
    /// Whether `filter`, a key or an aggregate reads `processing_time()`.
    pub needs_processing_time: bool,
    /// HAVING and the select list, over this row: for a window `window_start`, `window_end` (for a session also `last_event`), all
    /// timestamps; then the keys; then the aggregates. `having_schema` has their names and types.
    pub output: Map,
    /// The schema of the row that `output` reads.
    pub row_schema: SchemaRef,
}

/// Rows of two inputs side by side.
#[derive(Debug, Clone)]
pub struct Join {
    /// What is shown, how far apart in time, and for how long rows are kept.
    pub rule: JoinRule,
    /// The left side, and the right one.
    pub sides: [JoinSide; 2],
    /// What stands above the join, over the sides' columns one behind the other.
    pub output: Map,
    /// The schema of the row that `output` reads.
    pub row_schema: SchemaRef,
}

/// One side of a join. Expressions are over its input.
#[derive(Debug, Clone)]
pub struct JoinSide {
    /// Rows for which this is not true take no part.
    pub filter: Option<Expression>,
    /// What must equal the other side's keys, none of them NULL.
    pub keys: Vec<Expression>,
    /// The time that the rule's band goes by; `None` if it has none.
    pub time: Option<Expression>,
    /// The columns that are kept.
    pub columns: Vec<Expression>,
    /// Whether an expression reads `processing_time()`.
    pub needs_processing_time: bool,
}

/// How event time is cut into windows. All lengths in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// Windows of `size` that begin each `slide`, aligned to the Unix epoch; tumbling when the two are equal.
    Hop {
        /// Distance between the starts of neighbouring windows.
        slide: i64,
        /// Length of a window, at least `slide`.
        size: i64,
    },
    /// A key's events whose neighbours are at most `gap` apart.
    Session {
        /// The greatest distance of neighbours.
        gap: i64,
        /// Sessions do not cross a multiple of this, counted from the Unix epoch.
        max_duration: Option<i64>,
    },
}

/// The instant by which rows of a view, which come and go, are put into windows. All lengths in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowTime {
    /// Index of a column of timestamps. A row in which it is NULL is in no window.
    pub column: usize,
    /// What is added to it.
    pub shift: i64,
    /// How long after its end the rows of a window may still change.
    pub slack: i64,
}

/// One aggregate function.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// The function.
    pub function: Function,
    /// Its argument, cast to a type that the function takes; `None` for `count(*)`. A funnel's has a bit for each step whose condition holds, and is NULL if
    /// none does.
    pub argument: Option<Expression>,
    /// What its values are ordered by, where that is not themselves.
    pub order: Option<Expression>,
    /// `FILTER (WHERE …)`.
    pub filter: Option<Expression>,
    /// The type of the result, as in the row schema.
    pub data_type: DataType,
    /// Name of the column in the row schema.
    pub name: String,
}

/// The aggregate functions.
#[derive(Debug, Clone, PartialEq)]
pub enum Function {
    /// `count(*)`, `count(x)`: Int64.
    Count,
    /// `count(distinct x)`, exact: Int64.
    CountDistinct,
    /// `approx_count_distinct(x)`: Int64.
    ApproxDistinct,
    /// `sum(x)`: Int64 and Decimal128 exact with an error on overflow, Float64 rounded once.
    Sum,
    /// `sum(distinct x)`: as [`Sum`](Self::Sum).
    SumDistinct,
    /// `avg(x)`: Float64, or Decimal128.
    Avg,
    /// `avg(distinct x)`: as [`Avg`](Self::Avg).
    AvgDistinct,
    /// `min(x)`, of any ordered type; also `bool_and(x)`.
    Min,
    /// `max(x)`, of any ordered type; also `bool_or(x)`.
    Max,
    /// `var_samp(x)`, `var_pop(x)`: Float64.
    Variance(Spread),
    /// `stddev_samp(x)`, `stddev_pop(x)`: Float64.
    Stddev(Spread),
    /// `approx_percentile_cont(x, q)`: Float64.
    Quantile(f64),
    /// `first_value(x ORDER BY t)`: of the least pair of order and value.
    First,
    /// `last_value(x ORDER BY t)`: of the greatest pair of order and value.
    Last,
    /// `array_agg(x)`: Utf8, a JSON array.
    Array(Choice),
    /// `string_agg(x, delimiter)`: Utf8.
    Text(Choice, String),
    /// `funnel(within, condition, …)`: Int64.
    Funnel(Steps),
}

/// Of what a variance is meant to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// The values are a sample of more: divided by one less than their number.
    Sample,
    /// The values are all that there are.
    Population,
}

impl Function {
    /// Tells whether a NULL is a value like others to the function.
    #[must_use]
    pub fn keeps_nulls(&self) -> bool {
        matches!(self, Function::First | Function::Last | Function::Array(_))
    }
}
