//! What the call of an aggregate asks for: the function, its parameters, and the expressions that it reads.

use datafusion_common::ScalarValue;
use datafusion_expr::expr::{AggregateFunction, NullTreatment, Sort};
use datafusion_expr::{Expr, lit, when};

use super::error::{Planned, Refusal};
use super::interval;
use crate::plan::{Function, Spread};
use crate::state::{Choice, MAX_STEPS, Steps};

/// So many values has a list for which nothing else is said.
const LIST: u32 = 1000;

/// A list may not be longer: it is kept and written as a whole.
const LONGEST_LIST: i64 = 10_000;

/// A call taken apart. Expressions are those of the query, not yet bound to its input.
pub(super) struct Call {
    pub(super) function: Function,
    /// How the function was called.
    pub(super) name: String,
    /// What it reads of each row; `None` counts rows.
    pub(super) value: Option<Expr>,
    /// What values are ordered by.
    pub(super) order: Order,
    /// Rows for which one of these is not true do not count.
    pub(super) conditions: Vec<Expr>,
}

/// What an aggregate's values are ordered by.
pub(super) enum Order {
    /// Nothing, or themselves.
    Own,
    /// The event time.
    Time,
    /// `ORDER BY`.
    By(Expr),
}

/// Tells whether the call of a function may hold an `ORDER BY`.
pub(super) fn may_be_ordered(name: &str) -> bool {
    matches!(name, "first_value" | "last_value" | "array_agg" | "string_agg" | "funnel")
}

/// Tells whether the call of a function may say what becomes of NULL.
pub(super) fn may_ignore_nulls(name: &str) -> bool {
    matches!(name, "first_value" | "last_value" | "array_agg")
}

impl Call {
    /// Takes a call apart.
    ///
    /// # Errors
    /// Refuses what the function does not take.
    pub(super) fn of(call: &AggregateFunction) -> Planned<Call> {
        let name = call.func.name();
        let mut conditions: Vec<Expr> = call.params.filter.iter().map(|filter| (**filter).clone()).collect();
        let (order, is_descending) = order(call)?;
        let distinct = call.params.distinct;
        let (function, value) = match name {
            "count_if" => {
                conditions.extend(call.params.args.first().cloned());
                (Function::Count, None)
            }
            "array_agg" | "string_agg" => {
                let (value, function) = list(call, &order, is_descending)?;
                (function, Some(value))
            }
            "funnel" => {
                let (value, function) = funnel(call)?;
                (function, Some(value))
            }
            "approx_median" | "approx_percentile_cont" => {
                (Function::Quantile(quantile(&call.params.args)?), call.params.args.first().cloned())
            }
            _ => (plain(name, distinct, is_descending)?, Some(only_argument(call)?)),
        };
        if distinct && !takes_distinct(&function) {
            return Err(Refusal::new(format!("{name}(distinct …) is not supported"), "leave DISTINCT out"));
        }
        if call.params.null_treatment == Some(NullTreatment::IgnoreNulls) {
            conditions.extend(value.clone().map(Expr::is_not_null));
        }
        let order = match (function.clone(), order) {
            (Function::First | Function::Last | Function::Funnel(_), None) => Order::Time,
            // Ordered by its own values: that is what a list is anyway.
            (Function::Array(_) | Function::Text(..), Some(order)) if Some(&order) == value.as_ref() => Order::Own,
            (_, Some(order)) => Order::By(order),
            (_, None) => Order::Own,
        };
        Ok(Call { function, name: name.to_owned(), value, order, conditions })
    }
}

/// The functions that take one argument and nothing else.
fn plain(name: &str, distinct: bool, is_descending: bool) -> Planned<Function> {
    Ok(match (name, distinct) {
        ("count", true) => Function::CountDistinct,
        ("count", false) => Function::Count,
        ("approx_count_distinct", _) => Function::ApproxDistinct,
        ("sum", true) => Function::SumDistinct,
        ("sum", false) => Function::Sum,
        ("avg", true) => Function::AvgDistinct,
        ("avg", false) => Function::Avg,
        ("min" | "bool_and", _) => Function::Min,
        ("max" | "bool_or", _) => Function::Max,
        ("var", _) => Function::Variance(Spread::Sample),
        ("var_pop", _) => Function::Variance(Spread::Population),
        ("stddev", _) => Function::Stddev(Spread::Sample),
        ("stddev_pop", _) => Function::Stddev(Spread::Population),
        ("first_value", _) => {
            if is_descending {
                Function::Last
            } else {
                Function::First
            }
        }
        ("last_value", _) => {
            if is_descending {
                Function::First
            } else {
                Function::Last
            }
        }
        (name, _) => {
            return Err(Refusal::new(format!("the aggregate {name}() is not one that Freshet keeps"), super::functions::KEPT));
        }
    })
}

/// Whether a value that comes twice may count once.
fn takes_distinct(function: &Function) -> bool {
    use Function::{ApproxDistinct, Array, AvgDistinct, CountDistinct, Max, Min, SumDistinct, Text};
    matches!(function, CountDistinct | ApproxDistinct | SumDistinct | AvgDistinct | Min | Max | Array(_) | Text(..))
}

fn only_argument(call: &AggregateFunction) -> Planned<Expr> {
    match call.params.args.as_slice() {
        [argument] => Ok(argument.clone()),
        _ => Err(Refusal::new(format!("{}() takes one argument", call.func.name()), "write one aggregate for each")),
    }
}

/// The expression of ORDER BY, and whether it descends. NULL is the greatest value.
fn order(call: &AggregateFunction) -> Planned<(Option<Expr>, bool)> {
    let name = call.func.name();
    let refuse = |problem: &str, remedy: &str| Err(Refusal::new(format!("{problem} inside {name}()"), remedy));
    match call.params.order_by.as_slice() {
        [] => Ok((None, false)),
        // WITHIN GROUP (ORDER BY x): x is the first argument as well.
        [sort] if name == "approx_percentile_cont" => match sort.asc {
            true => Ok((None, false)),
            false => refuse("a descending order", "leave DESC out and ask for 1 - q"),
        },
        _ if !may_be_ordered(name) => refuse("ORDER BY", "leave it out"),
        [Sort { asc, nulls_first, .. }] if *asc == *nulls_first => refuse(
            "NULLS FIRST or LAST",
            "leave it out: NULL is the greatest value; FILTER (WHERE x IS NOT NULL) leaves NULLs out",
        ),
        [Sort { asc: false, .. }] if name == "funnel" => refuse("a descending order", "leave DESC out"),
        [Sort { expr, asc, .. }] => Ok((Some(expr.clone()), !asc)),
        _ => refuse("ORDER BY several expressions", "order by one"),
    }
}

/// `array_agg(x)`, `array_agg(x, most)`, `string_agg(x, delimiter)`, `string_agg(x, delimiter, most)`.
fn list(call: &AggregateFunction, order: &Option<Expr>, greatest: bool) -> Planned<(Expr, Function)> {
    let (name, distinct) = (call.func.name(), call.params.distinct);
    let mut arguments = call.params.args.iter();
    let Some(value) = arguments.next() else {
        return Err(Refusal::new(format!("{name}() takes an argument"), format!("write {name}(x)")));
    };
    if distinct && order.as_ref().is_some_and(|order| order != value) {
        let remedy = "order by the value itself, or leave DISTINCT out";
        return Err(Refusal::new(format!("{name}(distinct …) in another order than its values'"), remedy));
    }
    let delimiter = if name == "string_agg" { Some(delimiter(arguments.next())?) } else { None };
    let most = match arguments.next().map(literal) {
        None => LIST,
        Some(Some(ScalarValue::Int64(Some(most)))) if (1..=LONGEST_LIST).contains(&most) => u32::try_from(most).unwrap_or(LIST),
        Some(_) => {
            let problem = format!("the greatest length of {name}() is not a number from 1 to {LONGEST_LIST}");
            return Err(Refusal::new(problem, format!("leave it out for {LIST}, or write a number")));
        }
    };
    let choice = Choice { most, greatest, distinct };
    let function = match delimiter {
        Some(delimiter) => Function::Text(choice, delimiter),
        None => Function::Array(choice),
    };
    Ok((value.clone(), function))
}

fn delimiter(argument: Option<&Expr>) -> Planned<String> {
    match argument.and_then(literal) {
        Some(ScalarValue::Utf8(Some(delimiter))) => Ok(delimiter),
        _ => Err(Refusal::new("the delimiter of string_agg() is not a text", "write string_agg(x, ', ')")),
    }
}

/// `funnel(within, condition, …)`: an integer with a bit for each condition that holds, NULL for none.
fn funnel(call: &AggregateFunction) -> Planned<(Expr, Function)> {
    let usage = "write funnel(INTERVAL '1 hour', condition of step 1, condition of step 2, …)";
    let [within, conditions @ ..] = call.params.args.as_slice() else {
        return Err(Refusal::new("funnel() without its time and steps", usage));
    };
    let within = interval::micros(within, "the time of funnel()")?;
    let count = u32::try_from(conditions.len()).unwrap_or(u32::MAX);
    if count == 0 || count > MAX_STEPS {
        return Err(Refusal::new(
            format!("funnel() with {} steps", conditions.len()),
            format!("{usage}, with 1 to {MAX_STEPS} steps"),
        ));
    }
    let mut bits = lit(0_i64);
    for (step, condition) in conditions.iter().enumerate() {
        let bit = when(condition.clone(), lit(1_i64 << step)).otherwise(lit(0_i64))?;
        bits = if step == 0 { bit } else { datafusion_expr::bitwise_or(bits, bit) };
    }
    let value = datafusion_functions::core::nullif().call(vec![bits, lit(0_i64)]);
    Ok((value, Function::Funnel(Steps { within, count })))
}

/// The share of values below the wanted one; the median if there is none.
fn quantile(arguments: &[Expr]) -> Planned<f64> {
    let refuse = |what: String| Refusal::new(what, "write approx_percentile_cont(x, 0.95) with a number from 0 to 1");
    match arguments {
        [_] => Ok(0.5),
        [_, share] => match literal(share).map(|value| value.cast_to(&arrow::datatypes::DataType::Float64)) {
            Some(Ok(ScalarValue::Float64(Some(share)))) if (0.0..=1.0).contains(&share) => Ok(share),
            Some(Ok(share)) => Err(refuse(format!("the share of approx_percentile_cont() is {share}"))),
            _ => Err(refuse(format!("the share of approx_percentile_cont() is no number but '{share}'"))),
        },
        _ => Err(refuse("approx_percentile_cont() takes two arguments".to_owned())),
    }
}

/// The value of a literal, which the planner may have put into casts.
fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => literal(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        Expr::Alias(alias) => literal(&alias.expr),
        _ => None,
    }
}
