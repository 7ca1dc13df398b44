//! The aggregate functions of a GROUP BY.

use datafusion_common::DFSchema;
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::{Expr, ExprSchemable};
use freshet_model::ColumnType;

use super::compile::column_type;
use super::error::{Planned, Refusal};
use super::group::{Grouping, Mentions, Origin};
use super::relation::reads_processing_time;
use crate::plan::{Aggregate, Expression, Function};

/// Adds an aggregate of an aggregate node to a grouping, and returns it over the row.
pub(super) fn add(grouping: &mut Grouping<'_>, expr: &Expr, schema: &DFSchema) -> Planned<Expr> {
    let expr = expr.clone().unalias_nested().data;
    let Expr::AggregateFunction(call) = &expr else {
        return Err(Refusal::new(format!("'{expr}' is no aggregate"), "use count, sum, avg, min or max"));
    };
    let function = function(call)?;
    let argument = argument(grouping, call, schema)?;
    let filter = filter(grouping, call, schema)?;
    let (argument, argument_type) = match argument {
        Some((argument, column_type)) => (Some(argument), Some(column_type)),
        None => (None, None),
    };
    let given = expr.get_type(schema)?;
    let name = name(function, argument.as_ref(), filter.as_ref());
    let column_type = match (function, argument_type) {
        // The least and the greatest are values of the argument: a length limit holds for them too.
        (Function::Min | Function::Max, Some(column_type)) => column_type,
        _ => column_type(&given, &name)?,
    };
    let known = grouping.texts.iter().position(|text| *text == name);
    let index = known.unwrap_or(grouping.texts.len());
    let column = grouping.row_column(name.clone(), column_type, Origin::Aggregate(index), &given);
    if known.is_none() {
        let row_name = grouping.last_column().to_owned();
        grouping.aggregates.push(Aggregate { function, argument, filter, data_type: column_type.arrow(), name: row_name });
        grouping.texts.push(name);
    }
    Ok(column)
}

fn function(call: &AggregateFunction) -> Planned<Function> {
    let distinct = call.params.distinct;
    if !call.params.order_by.is_empty() {
        return Err(Refusal::new(format!("ORDER BY inside {}()", call.func.name()), "leave it out"));
    }
    match (call.func.name(), distinct) {
        ("count", true) => Ok(Function::CountDistinct),
        ("count", false) => Ok(Function::Count),
        ("sum", false) => Ok(Function::Sum),
        ("avg", false) => Ok(Function::Avg),
        ("min", _) => Ok(Function::Min),
        ("max", _) => Ok(Function::Max),
        (name @ ("sum" | "avg"), true) => {
            let remedy = "write a view that groups by the value, and aggregate that view";
            Err(Refusal::new(format!("{name}(distinct …) is not supported"), remedy))
        }
        (name, _) => {
            Err(Refusal::new(format!("the aggregate {name}() is not one that Freshet keeps"), "use count, sum, avg, min or max"))
        }
    }
}

/// The argument with its column type; `None` where every row counts.
fn argument(
    grouping: &mut Grouping<'_>,
    call: &AggregateFunction,
    schema: &DFSchema,
) -> Planned<Option<(Expression, ColumnType)>> {
    let name = call.func.name();
    let [argument] = call.params.args.as_slice() else {
        return Err(Refusal::new(format!("{name}() takes one argument"), "write one aggregate for each"));
    };
    let counts = name == "count" && !call.params.distinct;
    let argument = grouping.compiler.simplify(event_expr(grouping, argument, schema, name)?)?;
    if counts && matches!(&argument, Expr::Literal(value, _) if !value.is_null()) {
        return Ok(None);
    }
    grouping.needs_processing_time |= reads_processing_time(&argument);
    let base = &grouping.input.base;
    let column_type = match base.plain(&argument) {
        Some(index) => base.columns[index].column_type,
        None => column_type(&grouping.compiler.data_type(&argument)?, &format!("the argument of {name}()"))?,
    };
    Ok(Some((grouping.compiler.compile(argument, &column_type.arrow())?, column_type)))
}

fn filter(grouping: &mut Grouping<'_>, call: &AggregateFunction, schema: &DFSchema) -> Planned<Option<Expression>> {
    let Some(filter) = &call.params.filter else { return Ok(None) };
    let filter = event_expr(grouping, filter, schema, "FILTER of ")?;
    grouping.needs_processing_time |= reads_processing_time(&filter);
    grouping.compiler.condition(Some(filter))
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

fn name(function: Function, argument: Option<&Expression>, filter: Option<&Expression>) -> String {
    let argument = argument.map_or("*", |argument| argument.text.as_str());
    let call = match function {
        Function::Count => format!("count({argument})"),
        Function::CountDistinct => format!("count(DISTINCT {argument})"),
        Function::Sum => format!("sum({argument})"),
        Function::Avg => format!("avg({argument})"),
        Function::Min => format!("min({argument})"),
        Function::Max => format!("max({argument})"),
    };
    match filter {
        Some(filter) => format!("{call} FILTER (WHERE {})", filter.text),
        None => call,
    }
}
