//! What an aggregate has come to: from accumulators to a column of results.

use std::collections::BTreeMap;

use arrow::array::{
    ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::list;
use crate::plan::{Aggregate, Function, Spread};
use crate::state::{Accumulator, FloatSum, Moments, Value, step_bits};

/// Finishes one aggregate for all rows.
pub(crate) fn finish<'a>(
    aggregate: &Aggregate,
    accumulators: impl Iterator<Item = &'a Accumulator>,
) -> Result<ArrayRef, ArrowError> {
    let values = accumulators.map(|accumulator| result(aggregate, accumulator));
    Ok(match &aggregate.data_type {
        DataType::Boolean => {
            collect(values, BooleanBuilder::new(), |b, v| b.append_option(v.map(|v| matches!(v, Value::Boolean(true)))))?
        }
        DataType::Float64 => collect(values, Float64Builder::new(), |b, v| b.append_option(v.and_then(float)))?,
        DataType::Utf8 => collect(values, StringBuilder::new(), |b, v| b.append_option(v.and_then(text)))?,
        DataType::Decimal128(precision, scale) => {
            let builder = Decimal128Builder::new().with_precision_and_scale(*precision, *scale)?;
            collect(values, builder, |b, v| b.append_option(v.and_then(decimal)))?
        }
        DataType::Timestamp(_, _) => {
            collect(values, TimestampMicrosecondBuilder::new(), |b, v| b.append_option(v.and_then(integer)))?
        }
        _ => collect(values, Int64Builder::new(), |b, v| b.append_option(v.and_then(integer)))?,
    })
}

fn collect<B: arrow::array::ArrayBuilder>(
    values: impl Iterator<Item = Result<Option<Value>, ArrowError>>,
    mut builder: B,
    append: impl Fn(&mut B, Option<Value>),
) -> Result<ArrayRef, ArrowError> {
    for value in values {
        append(&mut builder, value?);
    }
    Ok(builder.finish())
}

fn integer(value: Value) -> Option<i64> {
    if let Value::Integer(value) = value { Some(value) } else { None }
}

fn float(value: Value) -> Option<f64> {
    if let Value::Float(value) = value { Some(value) } else { None }
}

fn text(value: Value) -> Option<Box<str>> {
    if let Value::Text(value) = value { Some(value) } else { None }
}

fn decimal(value: Value) -> Option<i128> {
    if let Value::Decimal(value) = value { Some(value.into()) } else { None }
}

/// Returns an aggregate's result for one group; `None` is NULL.
fn result(aggregate: &Aggregate, accumulator: &Accumulator) -> Result<Option<Value>, ArrowError> {
    Ok(match (&aggregate.function, accumulator) {
        (_, Accumulator::Count(count)) => Some(Value::Integer(*count)),
        (_, Accumulator::Distinct(distinct)) => Some(Value::Integer(distinct.count())),
        (_, Accumulator::Min(value) | Accumulator::Max(value)) => value.as_ref().and_then(shown),
        (Function::Avg, Accumulator::Integer(sum)) => average(aggregate, sum.0, sum.1)?,
        (_, Accumulator::Integer(sum)) => total(aggregate, sum.0, sum.1)?,
        (Function::Avg, Accumulator::Float(sum)) => float_average(&sum.0, sum.1),
        (_, Accumulator::Float(sum)) => (sum.1 != 0).then(|| Value::Float(sum.0.value())),
        (function, Accumulator::Moments(moments)) => spread(function, moments).map(Value::Float),
        (Function::Quantile(q), Accumulator::Quantiles(quantiles)) => quantiles.quantile(*q).map(Value::Float),
        (_, Accumulator::Few(few)) => list::result(aggregate, few.values()),
        (_, Accumulator::Funnel(funnel)) => Some(Value::Integer(funnel.furthest().into())),
        (_, Accumulator::Values(values)) => of_values(aggregate, values)?,
        (function, accumulator) => panic!("invariant: {function:?} is not kept in {accumulator:?}"),
    })
}

/// Returns the result where all values are kept.
fn of_values(aggregate: &Aggregate, values: &BTreeMap<Value, i64>) -> Result<Option<Value>, ArrowError> {
    Ok(match &aggregate.function {
        Function::CountDistinct => Some(Value::Integer(i64::try_from(values.len()).unwrap_or(i64::MAX))),
        Function::Max | Function::Last => values.last_key_value().and_then(|(value, _)| shown(value)),
        Function::Min | Function::First => values.first_key_value().and_then(|(value, _)| shown(value)),
        Function::SumDistinct | Function::AvgDistinct => of_distinct(aggregate, values)?,
        Function::Array(_) | Function::Text(..) => list::result(aggregate, values),
        Function::Funnel(steps) => {
            let event = |(value, _): (&Value, &i64)| match value {
                Value::Pair(pair) => match **pair {
                    (Value::Integer(time), Value::Integer(steps)) => Some((time, step_bits(steps))),
                    _ => None,
                },
                _ => None,
            };
            Some(Value::Integer(steps.furthest(values.iter().filter_map(event)).into()))
        }
        function => panic!("invariant: {function:?} does not keep all values"),
    })
}

/// A value without what it was ordered by; `None` for NULL.
fn shown(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Pair(pair) => shown(&pair.1),
        value => Some(value.clone()),
    }
}

/// Returns the sum or the average of values that count once each.
fn of_distinct(aggregate: &Aggregate, values: &BTreeMap<Value, i64>) -> Result<Option<Value>, ArrowError> {
    let (mut exact, mut floats) = (0i128, FloatSum::default());
    for value in values.keys() {
        match value {
            Value::Integer(value) => exact = exact.saturating_add(i128::from(*value)),
            Value::Decimal(value) => exact = exact.saturating_add((*value).into()),
            Value::Float(value) => floats.add(*value, 1),
            other => panic!("invariant: the plan gave {other:?} to a sum"),
        }
    }
    let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
    let are_floats = matches!(values.keys().next(), Some(Value::Float(_)));
    match (aggregate.function == Function::AvgDistinct, are_floats) {
        (true, true) => Ok(float_average(&floats, count)),
        (true, false) => average(aggregate, exact, count),
        (false, true) => Ok(Some(Value::Float(floats.value()))),
        (false, false) => total(aggregate, exact, count),
    }
}

fn spread(function: &Function, moments: &Moments) -> Option<f64> {
    match function {
        Function::Variance(spread) => moments.variance(*spread == Spread::Sample),
        Function::Stddev(spread) => moments.variance(*spread == Spread::Sample).map(f64::sqrt),
        function => panic!("invariant: {function:?} needs no squares"),
    }
}

#[allow(clippy::cast_precision_loss)] // a count of rows
fn float_average(sum: &FloatSum, count: i64) -> Option<Value> {
    (count != 0).then(|| Value::Float(sum.value() / count as f64))
}

fn overflow(aggregate: &Aggregate) -> ArrowError {
    ArrowError::ArithmeticOverflow(format!("{} does not fit {}", aggregate.name, aggregate.data_type))
}

/// Returns an exact sum in the result's type; NULL if there was nothing to add.
fn total(aggregate: &Aggregate, sum: i128, count: i64) -> Result<Option<Value>, ArrowError> {
    if count == 0 {
        return Ok(None);
    }
    match aggregate.data_type {
        DataType::Decimal128(precision, _) if sum.unsigned_abs() < 10u128.pow(u32::from(precision)) => {
            Ok(Some(Value::Decimal(sum.into())))
        }
        DataType::Decimal128(_, _) => Err(overflow(aggregate)),
        _ => i64::try_from(sum).map(|sum| Some(Value::Integer(sum))).map_err(|_| overflow(aggregate)),
    }
}

/// Returns an exact sum over a count in the result's type: a float, or a decimal rounded half away from zero.
fn average(aggregate: &Aggregate, sum: i128, count: i64) -> Result<Option<Value>, ArrowError> {
    if count == 0 {
        return Ok(None);
    }
    let scale_of = |data_type: &DataType| if let DataType::Decimal128(_, scale) = data_type { i32::from(*scale) } else { 0 };
    let argument_scale = aggregate.argument.as_ref().map_or(0, |argument| scale_of(&argument.data_type));
    #[allow(clippy::cast_precision_loss)] // the one rounding of a float result
    if aggregate.data_type == DataType::Float64 {
        return Ok(Some(Value::Float(sum as f64 / count as f64 / 10f64.powi(argument_scale))));
    }
    let shift = u32::try_from(scale_of(&aggregate.data_type) - argument_scale).map_err(|_| overflow(aggregate))?;
    let count = i128::from(count);
    let scaled = 10i128.checked_pow(shift).and_then(|power| sum.checked_mul(power)).ok_or_else(|| overflow(aggregate))?;
    let rounded = (scaled.abs() * 2 + count) / (count * 2) * scaled.signum();
    total(aggregate, rounded, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(function: Function, data_type: DataType) -> Aggregate {
        Aggregate { function, argument: None, order: None, filter: None, data_type, name: "x".to_owned() }
    }

    #[test]
    fn an_integer_sum_that_does_not_fit_is_an_error_and_not_a_wrap() {
        let sum = aggregate(Function::Sum, DataType::Int64);
        let accumulator = |total: i128| Accumulator::Integer(Box::new((total, 1)));
        assert_eq!(result(&sum, &accumulator(i128::from(i64::MAX))).expect("fits"), Some(Value::Integer(i64::MAX)));
        assert!(result(&sum, &accumulator(i128::from(i64::MAX) + 1)).is_err());
        let decimal = aggregate(Function::Sum, DataType::Decimal128(3, 2));
        assert_eq!(result(&decimal, &accumulator(999)).expect("fits"), Some(Value::Decimal(999.into())));
        assert!(result(&decimal, &accumulator(1000)).is_err());
    }

    #[test]
    fn sums_and_averages_of_nothing_are_null() {
        for function in [Function::Sum, Function::Avg, Function::Min, Function::Max] {
            let kind = if matches!(function, Function::Min) { crate::state::Kind::Min } else { crate::state::Kind::Integer };
            let value = result(&aggregate(function, DataType::Int64), &Accumulator::empty(kind)).expect("no overflow");
            assert_eq!(value, None);
        }
    }

    #[test]
    fn averages_of_decimals_are_rounded_half_away_from_zero() {
        let average_of = aggregate(Function::Avg, DataType::Decimal128(10, 1));
        let value = |sum, count| average(&average_of, sum, count).expect("fits");
        assert_eq!(value(1, 4), Some(Value::Decimal((3).into())));
        assert_eq!(value(-1, 4), Some(Value::Decimal((-3).into())));
        assert_eq!(value(1, 3), Some(Value::Decimal((3).into())));
    }
}
