//! `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …)` with a bound on it: the first rows of each partition.
//!
//! ```text
//!   SELECT … FROM (SELECT …, ROW_NUMBER() OVER (PARTITION BY p ORDER BY o) AS rank FROM view) WHERE rank <= 10
//!                          └─ Pending: what is ranked, and how               └─ bound: a view of the first ten rows
//! ```

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::expr::{BinaryExpr, WindowFunction};
use datafusion_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{Expr, Operator, PartitionEvaluator, Signature, Volatility, Window as WindowNode, WindowUDFImpl};
use freshet_model::{Column, ColumnType};

use super::compile::Compiler;
use super::error::{Planned, Refusal};
use super::hidden::{Lowering, Made, unique};
use super::key::Part;
use super::relation::{Reads, Relation, column};
use crate::plan::{Body, Input, Order, Ranking, TimeBound};

/// Name of the only function that may stand before OVER.
pub(super) const ROW_NUMBER: &str = "row_number";

/// The way out for everything else that databases have before OVER.
pub(super) const USAGE: &str =
    "rank rows as SELECT … FROM (SELECT …, ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) AS rank FROM a_view) WHERE rank <= 10";

/// Rows that are ranked, while nobody has said yet how many of them are wanted.
#[derive(Clone)]
pub(super) struct Pending {
    /// Index of the view whose rows are ranked.
    input: usize,
    /// Its columns within whose values rows are ranked.
    partition: Vec<usize>,
    order: Vec<Order>,
    /// Name of the rank's column, the last one of the base.
    rank: String,
}

/// Ranks a relation's rows as a window node says.
pub(super) fn ranked(mut relation: Relation, node: &WindowNode, lowering: &mut Lowering<'_>) -> Planned<Relation> {
    relation.check_ranked()?;
    let call = call(node)?;
    if relation.groups.is_none() && matches!(relation.base.input, Reads::Source(_)) {
        let problem = format!("ROW_NUMBER() over '{}', a stream: its rows only grow in number", relation.base.name);
        return Err(Refusal::new(problem, "rank the rows of a view or subquery with GROUP BY"));
    }
    let schema = node.input.schema();
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut place = |expr: &Expr| -> Planned<usize> {
        let bound = relation.bind(expr, schema)?;
        Ok(relation.columns.iter().position(|known| *known == bound).unwrap_or_else(|| {
            relation.columns.push(bound);
            names.push("ranked by");
            relation.columns.len() - 1
        }))
    };
    let partition = call.params.partition_by.iter().map(&mut place).collect::<Planned<Vec<_>>>()?;
    let order = call
        .params
        .order_by
        .iter()
        .map(|sort| Ok(Order { column: place(&sort.expr)?, descending: !sort.asc, nulls_first: sort.nulls_first }));
    let order = order.collect::<Planned<Vec<_>>>()?;
    let all: BTreeSet<usize> = (0..relation.columns.len()).collect();
    let mut hidden = lowering.hide_columns(relation, &names, &all)?;
    let Reads::View(input) = hidden.base.input else { unreachable!("what aggregates is no stream") };
    let taken: Vec<String> = hidden.base.columns.iter().map(|c| c.name.clone()).collect();
    let rank = unique(ROW_NUMBER, &taken);
    hidden.base.columns.push(Column { name: rank.clone(), column_type: ColumnType::BigInt });
    hidden.columns.truncate(schema.fields().len());
    hidden.columns.push(column(&rank));
    hidden.ranking = Some(Pending { input, partition, order, rank });
    Ok(hidden)
}

/// Returns the one function call of a window node.
fn call(node: &WindowNode) -> Planned<WindowFunction> {
    let [expr] = node.window_expr.as_slice() else {
        return Err(Refusal::new(
            "several functions with OVER in one query",
            "rank by one of them, and by the next one in a query around it",
        ));
    };
    let Expr::WindowFunction(call) = expr.clone().unalias_nested().data else {
        return Err(Refusal::new(format!("'{expr}' is no function with OVER"), USAGE));
    };
    if call.fun.name() != ROW_NUMBER {
        return Err(Refusal::new(format!("{}() with OVER is not supported in a view", call.fun.name()), USAGE));
    }
    if call.params.order_by.is_empty() {
        return Err(Refusal::new("ROW_NUMBER() without ORDER BY numbers rows by chance", "add ORDER BY inside of OVER (…)"));
    }
    Ok(*call)
}

/// Looks for a bound of the rank among conditions; with one the first rows become a view, which the relation then reads.
pub(super) fn bound(relation: &mut Relation, conditions: &[Expr], lowering: &mut Lowering<'_>) -> Planned<()> {
    let Some(pending) = &relation.ranking else { return Ok(()) };
    let Some(limit) = conditions.iter().filter_map(|condition| most(condition, &pending.rank)).min() else { return Ok(()) };
    let limit = usize::try_from(limit)
        .ok()
        .filter(|&limit| limit > 0)
        .ok_or_else(|| Refusal::new(format!("no row has a {ROW_NUMBER} of {limit} or less"), "ranks begin with 1"))?;
    let made = pending.view(&relation.base.columns, limit, lowering)?;
    let view = lowering.push(made);
    let known = &lowering.catalog.views[view];
    relation.base.input = Reads::View(view);
    (relation.base.time_bounds, relation.base.parts) = (known.view.time_bounds.clone(), known.parts.clone());
    relation.ranking = None;
    Ok(())
}

/// The greatest rank that a condition lets through, if it bounds the rank at all.
fn most(condition: &Expr, rank: &str) -> Option<i64> {
    let is_rank = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == rank);
    let number = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(*number),
        _ => None,
    };
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_rank(left) => match op {
            Operator::LtEq | Operator::Eq => number(right),
            Operator::Lt => number(right)?.checked_sub(1),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_rank(right) => match op {
            Operator::GtEq | Operator::Eq => number(left),
            Operator::Gt => number(left)?.checked_sub(1),
            _ => None,
        },
        Expr::Between(between) if is_rank(&between.expr) && !between.negated => number(&between.high),
        _ => None,
    }
}

impl Pending {
    /// Returns the view of the first `limit` rows; `columns` are its own.
    fn view(&self, columns: &[Column], limit: usize, lowering: &Lowering<'_>) -> Planned<Made> {
        let known = &lowering.catalog.views[self.input];
        let input = &known.view;
        let compiler =
            Compiler::new(input.table.arrow().fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<Field>>())?;
        let key = |&index: &usize| {
            let Column { name, column_type } = &input.table.columns[index];
            compiler.compile(column(name), &column_type.arrow())
        };
        let partition = self.partition.iter().map(key).collect::<Planned<Vec<_>>>()?;
        let of = |index: usize| input.time_bounds.iter().find(move |bound| bound.column == index);
        // Others of the partition move a row as long as they may change themselves.
        let time_bounds: Vec<TimeBound> = self.partition.iter().filter_map(|&index| of(index).copied()).collect();
        let mut keys = self.partition.iter().enumerate();
        let time_bound = keys.find_map(|(key, &index)| of(index).map(|bound| TimeBound { column: key, ..*bound }));
        let place = |index: usize| Part { name: columns[index].name.clone(), columns: vec![index] };
        let mut warnings = Vec::new();
        if time_bound.is_none() {
            warnings.push(format!(
                "the ranking inside of view '{}' keeps all rows for ever, since nothing that they are divided by has a time at which it is over: \
                 add window_end to PARTITION BY if old rows may be forgotten",
                lowering.view
            ));
        }
        Ok(Made {
            columns: columns.to_vec(),
            inputs: vec![Input::View(self.input)],
            body: Body::Rank(Ranking { partition, time_bound, order: self.order.clone(), limit }),
            time_bounds,
            parts: known.parts.clone(),
            other_parts: self.partition.iter().copied().chain([columns.len() - 1]).map(place).collect(),
            warnings,
        })
    }
}

impl Relation {
    /// Refuses rows that are ranked without end.
    pub(super) fn check_ranked(&self) -> Planned<()> {
        match self.ranking {
            None => Ok(()),
            Some(_) => Err(Refusal::new(
                "nothing says how many of the ranked rows are wanted",
                format!("{USAGE}, the condition at once around it"),
            )),
        }
    }
}

/// `row_number()`: known to the planner only, which turns it into a view.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RowNumber {
    signature: Signature,
}

impl RowNumber {
    pub(super) fn new() -> RowNumber {
        RowNumber { signature: Signature::nullary(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for RowNumber {
    fn name(&self) -> &'static str {
        ROW_NUMBER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        exec_err!("row_number() is a view, not a function to call")
    }

    fn field(&self, field: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Field::new(field.name(), DataType::Int64, true).into())
    }
}
