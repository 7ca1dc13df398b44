//! The aggregate functions of a GROUP BY.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::DFSchema;
use datafusion_expr::{Expr, ExprSchemable};
use freshet_model::ColumnType;

use super::call::{Call, Order};
use super::compile::column_type;
use super::error::{Planned, Refusal};
use super::functions::KEPT;
use super::group::{Grouping, Mentions, Origin};
use super::relation::{Reads, Relation, column, reads_processing_time};
use crate::plan::{Aggregate, Expression, Function, Spread};
use crate::state::Choice;

/// Adds an aggregate of an aggregate node to a grouping, and returns it over the row.
pub(super) fn add(grouping: &mut Grouping<'_>, expr: &Expr, schema: &DFSchema) -> Planned<Expr> {
    let expr = expr.clone().unalias_nested().data;
    let Expr::AggregateFunction(call) = &expr else {
        return Err(Refusal::new(format!("'{expr}' is no aggregate"), KEPT));
    };
    let given = expr.get_type(schema)?;
    let call = Call::of(call)?;
    check_retractions(grouping, &call)?;
    let argument = argument(grouping, &call, schema)?;
    let order = order(grouping, &call, schema)?;
    let filter = filter(grouping, &call, schema)?;
    let (argument, argument_type) = match argument {
        Some((argument, column_type)) => (Some(argument), Some(column_type)),
        None => (None, None),
    };
    let name = name(&call.function, argument.as_ref(), order.as_ref(), filter.as_ref());
    let column_type = match (&call.function, argument_type) {
        // These are values of the argument: a length limit holds for them too.
        (Function::Min | Function::Max | Function::First | Function::Last, Some(column_type)) => column_type,
        _ => column_type(&given, &name)?,
    };
    let known = grouping.texts.iter().position(|text| *text == name);
    let index = known.unwrap_or(grouping.texts.len());
    let column = grouping.row_column(name.clone(), column_type, Origin::Aggregate(index), &given);
    if known.is_none() {
        let (function, row_name) = (call.function, grouping.last_column().to_owned());
        let data_type = column_type.arrow();
        grouping.aggregates.push(Aggregate { function, argument, order, filter, data_type, name: row_name });
        grouping.texts.push(name);
    }
    Ok(column)
}

/// Refuses what cannot take a value back where values can be taken back.
fn check_retractions(grouping: &Grouping<'_>, call: &Call) -> Planned<()> {
    let base = &grouping.input.base;
    match (&call.function, &base.input) {
        (Function::ApproxDistinct, Reads::View(_)) => {
            let problem = format!("{}() counts for good, but rows of the view '{}' can be taken back", call.name, base.name);
            Err(Refusal::new(problem, "use count(distinct x), which is exact"))
        }
        _ => Ok(()),
    }
}

/// The argument with its column type; `None` where every row counts.
fn argument(grouping: &mut Grouping<'_>, call: &Call, schema: &DFSchema) -> Planned<Option<(Expression, ColumnType)>> {
    let Some(argument) = &call.value else { return Ok(None) };
    let argument = grouping.compiler.simplify(event_expr(grouping, argument, schema, &call.name)?)?;
    if call.function == Function::Count && matches!(&argument, Expr::Literal(value, _) if !value.is_null()) {
        return Ok(None);
    }
    compiled(grouping, argument, &format!("the argument of {}()", call.name)).map(Some)
}

/// What the aggregate's values are ordered by.
fn order(grouping: &mut Grouping<'_>, call: &Call, schema: &DFSchema) -> Planned<Option<Expression>> {
    let order = match &call.order {
        Order::Own => return Ok(None),
        Order::By(order) => event_expr(grouping, order, schema, &call.name)?,
        Order::Time => {
            let base = &grouping.input.base;
            let Some(time) = base.time else {
                let problem = format!("{}() needs an order, but '{}' has no event time", call.name, base.name);
                return Err(Refusal::new(problem, format!("say what it is: {}(… ORDER BY t)", call.name)));
            };
            column(&base.columns[time].name)
        }
    };
    let (order, _) = compiled(grouping, order, &format!("the order of {}()", call.name))?;
    let is_time = order.data_type == DataType::Timestamp(TimeUnit::Microsecond, None);
    match matches!(call.function, Function::Funnel(_)) && !is_time {
        true => Err(Refusal::new("funnel() in an order that is not a time", "order by a timestamp")),
        false => Ok(Some(order)),
    }
}

fn filter(grouping: &mut Grouping<'_>, call: &Call, schema: &DFSchema) -> Planned<Option<Expression>> {
    let place = format!("FILTER of {}", call.name);
    let conditions = call.conditions.iter().map(|condition| event_expr(grouping, condition, schema, &place));
    let conditions = conditions.collect::<Planned<Vec<_>>>()?;
    let condition = Relation::condition(&conditions);
    grouping.needs_processing_time |= condition.as_ref().is_some_and(reads_processing_time);
    grouping.compiler.condition(condition)
}

/// Compiles an expression in the type of a column.
fn compiled(grouping: &mut Grouping<'_>, expr: Expr, what: &str) -> Planned<(Expression, ColumnType)> {
    grouping.needs_processing_time |= reads_processing_time(&expr);
    let base = &grouping.input.base;
    let column_type = match base.plain(&expr) {
        Some(index) => base.columns[index].column_type,
        None => column_type(&grouping.compiler.data_type(&expr)?, what)?,
    };
    Ok((grouping.compiler.compile(expr, &column_type.arrow())?, column_type))
}

/// Binds an expression that is evaluated for each event.
fn event_expr(grouping: &Grouping<'_>, expr: &Expr, schema: &DFSchema, place: &str) -> Planned<Expr> {
    let expr = grouping.input.bind(expr, schema)?;
    match Mentions::of(&expr, &grouping.input.base).windows {
        true => {
            let problem = format!("an argument of {place}() reads the window's bounds, which are the same for the whole group");
            Err(Refusal::new(problem, "use window_start and window_end outside of the aggregate"))
        }
        false => Ok(expr),
    }
}

/// The canonical text of an aggregate: equal ones over one input are equal aggregates.
fn name(function: &Function, argument: Option<&Expression>, order: Option<&Expression>, filter: Option<&Expression>) -> String {
    let argument = argument.map_or("*", |argument| argument.text.as_str());
    let order = order.map_or(String::new(), |order| format!(" ORDER BY {}", order.text));
    let call = match function {
        Function::Count => format!("count({argument})"),
        Function::CountDistinct => format!("count(DISTINCT {argument})"),
        Function::ApproxDistinct => format!("approx_count_distinct({argument})"),
        Function::Sum => format!("sum({argument})"),
        Function::SumDistinct => format!("sum(DISTINCT {argument})"),
        Function::Avg => format!("avg({argument})"),
        Function::AvgDistinct => format!("avg(DISTINCT {argument})"),
        Function::Min => format!("min({argument})"),
        Function::Max => format!("max({argument})"),
        Function::Variance(Spread::Sample) => format!("var_samp({argument})"),
        Function::Variance(Spread::Population) => format!("var_pop({argument})"),
        Function::Stddev(Spread::Sample) => format!("stddev_samp({argument})"),
        Function::Stddev(Spread::Population) => format!("stddev_pop({argument})"),
        Function::Quantile(share) => format!("approx_percentile_cont({argument}, {share})"),
        Function::First => format!("first_value({argument}{order})"),
        Function::Last => format!("last_value({argument}{order})"),
        Function::Array(choice) => {
            format!("array_agg({}{argument}, {}{})", distinct(*choice), choice.most, in_order(*choice, argument, &order))
        }
        Function::Text(choice, delimiter) => {
            let order = in_order(*choice, argument, &order);
            format!("string_agg({}{argument}, {delimiter:?}, {}{order})", distinct(*choice), choice.most)
        }
        Function::Funnel(steps) => format!("funnel({} µs, {} steps, {argument}{order})", steps.within, steps.count),
    };
    match filter {
        Some(filter) => format!("{call} FILTER (WHERE {})", filter.text),
        None => call,
    }
}

fn distinct(choice: Choice) -> &'static str {
    if choice.distinct { "DISTINCT " } else { "" }
}

/// The order of a list, which without one is that of its values.
fn in_order(choice: Choice, argument: &str, order: &str) -> String {
    let order = if order.is_empty() { format!(" ORDER BY {argument}") } else { order.to_owned() };
    if choice.greatest { order + " DESC" } else { order }
}
