//! Turns windows, sessions and groups into rows of a view: finishes accumulators, applies HAVING and the select list, packs.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use freshet_model::{DeadLetter, Reason, Timestamp};

use crate::changes::{Delta, Side};
use crate::keys::{KeyCodec, RowCodec};
use crate::lower::Rows;
use crate::plan::{Aggregate, Function, Map};
use crate::state::{Accumulator, Accumulators, Shape, Value};

/// One window, session or group, as it is or as it was.
pub struct Instance {
    /// The fold's key.
    pub key: Vec<u8>,
    /// Start and end of the window or session and the session's last event; unused for groups.
    pub bounds: [Timestamp; 3],
    /// The accumulators.
    pub accumulators: Accumulators,
    /// 1 for a row that there is now, -1 for one that is gone.
    pub diff: i64,
}

/// Makes the rows of one view.
pub struct RowMaker {
    view: usize,
    name: String,
    rows: Rows,
    shape: Shape,
    key_codec: RowCodec,
    row_codec: RowCodec,
}

impl RowMaker {
    /// Builds the maker of the rows of view number `view`.
    #[must_use]
    pub fn new(view: usize, name: String, rows: Rows, shape: Shape) -> RowMaker {
        let schema = rows.output.schema.clone();
        let key_schema = schema.project(&rows.key).expect("invariant: a key names columns of its view");
        let (key_codec, row_codec) = (RowCodec::new(Arc::new(key_schema)), RowCodec::new(schema));
        RowMaker { view, name, rows, shape, key_codec, row_codec }
    }

    /// Returns the view's settings.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Tells whether the view's key may hold the end of a session, which moves with each event.
    #[must_use]
    pub fn key_may_hold_the_end(&self) -> bool {
        // A plain reference to another column of the group's row cannot; anything else might.
        let fields = self.rows.row_schema.fields();
        let is_fixed = |text: &str| fields.iter().enumerate().any(|(i, field)| field.name() == text && i != 1 && i != 2);
        !self.rows.key.iter().all(|&column| is_fixed(&self.rows.output.project[column].text))
    }

    /// Makes the rows of these instances. A row that has no value (an overflow, a division by zero) is left out and becomes
    /// a dead letter.
    pub fn make(&self, codec: &KeyCodec, instances: &[Instance], deltas: &mut Vec<Delta>, sides: &mut Vec<Side>) {
        if instances.is_empty() {
            return;
        }
        let made = self.group_rows(codec, instances).and_then(|batch| project(&self.rows.output, &batch));
        match made {
            Ok((visible, columns)) => self.send(instances, visible.as_ref(), &columns, deltas),
            Err(error) if instances.len() == 1 => sides.push(Side::Dead(Box::new(self.dead_letter(&instances[0], &error)))),
            Err(_) => {
                let (left, right) = instances.split_at(instances.len() / 2);
                self.make(codec, left, deltas, sides);
                self.make(codec, right, deltas, sides);
            }
        }
    }

    fn send(&self, instances: &[Instance], visible: Option<&BooleanArray>, columns: &[ArrayRef], deltas: &mut Vec<Delta>) {
        let keys: Vec<ArrayRef> = self.rows.key.iter().map(|&column| Arc::clone(&columns[column])).collect();
        let (keys, packed) = (self.key_codec.pack(&keys), self.row_codec.pack(columns));
        for (index, instance) in instances.iter().enumerate() {
            let is_visible = visible.is_none_or(|visible| visible.value(index));
            if !is_visible && self.rows.retracts {
                continue;
            }
            // Where replaced rows are not sent, one that HAVING hides may have been visible before.
            let diff = if is_visible { instance.diff } else { -1 };
            let row = if diff > 0 || self.rows.retracts { packed.row(index).data().to_vec() } else { Vec::new() };
            deltas.push(Delta { view: self.view, key: keys.row(index).data().to_vec(), row, diff });
        }
    }

    /// Returns the batch that HAVING and the select list read.
    fn group_rows(&self, codec: &KeyCodec, instances: &[Instance]) -> Result<RecordBatch, ArrowError> {
        let bounds = match self.shape {
            Shape::Windows(_) => 2,
            Shape::Sessions(_) => 3,
            Shape::Group | Shape::Ranges(_) => 0,
        };
        let mut columns: Vec<ArrayRef> = (0..bounds).map(|bound| times(instances, bound)).collect();
        columns.extend(codec.unpack(instances.iter().map(|instance| &instance.key[..])));
        for (index, aggregate) in self.rows.aggregates.iter().enumerate() {
            columns.push(finish(aggregate, instances.iter().map(|instance| &instance.accumulators[index]))?);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(instances.len()));
        RecordBatch::try_new_with_options(self.rows.row_schema.clone(), columns, &options)
    }

    fn dead_letter(&self, instance: &Instance, error: &ArrowError) -> DeadLetter {
        DeadLetter {
            source: self.name.clone(),
            partition: -1,
            offset: -1,
            reason: Reason::ExpressionFailed,
            detail: error.to_string().lines().next().unwrap_or_default().to_owned(),
            payload: format!("window {} to {}", instance.bounds[0], instance.bounds[1]).into_bytes(),
        }
    }
}

/// Applies a filter and a projection: the rows that pass, if not all, and the columns of all rows.
///
/// # Errors
/// A row for which an expression has no value.
pub(crate) fn project(map: &Map, batch: &RecordBatch) -> Result<(Option<BooleanArray>, Vec<ArrayRef>), ArrowError> {
    let arrow = |error: datafusion_common::DataFusionError| ArrowError::ExternalError(Box::new(error));
    let visible = map.filter.as_ref().map(|filter| filter.condition(batch)).transpose().map_err(arrow)?.flatten();
    let columns = map.project.iter().map(|expression| expression.evaluate(batch)).collect::<Result<_, _>>().map_err(arrow)?;
    Ok((visible, columns))
}

fn times(instances: &[Instance], bound: usize) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::with_capacity(instances.len());
    instances.iter().for_each(|instance| builder.append_value(instance.bounds[bound].0));
    Arc::new(builder.finish())
}

/// Finishes one aggregate for all rows.
fn finish<'a>(aggregate: &Aggregate, accumulators: impl Iterator<Item = &'a Accumulator>) -> Result<ArrayRef, ArrowError> {
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
    let count = |count: usize| Value::Integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(match (aggregate.function, accumulator) {
        (_, Accumulator::Count(count)) => Some(Value::Integer(*count)),
        (Function::CountDistinct, Accumulator::Values(values)) => Some(count(values.len())),
        (Function::Max, Accumulator::Values(values)) => values.last_key_value().map(|(value, _)| value.clone()),
        (_, Accumulator::Values(values)) => values.first_key_value().map(|(value, _)| value.clone()),
        (_, Accumulator::Min(value) | Accumulator::Max(value)) => value.clone(),
        (_, Accumulator::Integer(sum)) if sum.1 == 0 => None,
        (_, Accumulator::Float(sum)) if sum.1 == 0 => None,
        (Function::Avg, Accumulator::Integer(sum)) => Some(average(aggregate, sum.0, sum.1)?),
        (_, Accumulator::Integer(sum)) => Some(total(aggregate, sum.0)?),
        #[allow(clippy::cast_precision_loss)] // a count of rows
        (Function::Avg, Accumulator::Float(sum)) => Some(Value::Float(sum.0.value() / sum.1 as f64)),
        (_, Accumulator::Float(sum)) => Some(Value::Float(sum.0.value())),
    })
}

fn overflow(aggregate: &Aggregate) -> ArrowError {
    ArrowError::ArithmeticOverflow(format!("{} does not fit {}", aggregate.name, aggregate.data_type))
}

/// Returns an exact sum in the result's type.
fn total(aggregate: &Aggregate, sum: i128) -> Result<Value, ArrowError> {
    match aggregate.data_type {
        DataType::Decimal128(precision, _) if sum.unsigned_abs() < 10u128.pow(u32::from(precision)) => {
            Ok(Value::Decimal(sum.into()))
        }
        DataType::Decimal128(_, _) => Err(overflow(aggregate)),
        _ => i64::try_from(sum).map(Value::Integer).map_err(|_| overflow(aggregate)),
    }
}

/// Returns an exact sum over a count in the result's type: a float, or a decimal rounded half away from zero.
fn average(aggregate: &Aggregate, sum: i128, count: i64) -> Result<Value, ArrowError> {
    let scale_of = |data_type: &DataType| if let DataType::Decimal128(_, scale) = data_type { i32::from(*scale) } else { 0 };
    let argument_scale = aggregate.argument.as_ref().map_or(0, |argument| scale_of(&argument.data_type));
    #[allow(clippy::cast_precision_loss)] // the one rounding of a float result
    if aggregate.data_type == DataType::Float64 {
        return Ok(Value::Float(sum as f64 / count as f64 / 10f64.powi(argument_scale)));
    }
    let shift = u32::try_from(scale_of(&aggregate.data_type) - argument_scale).map_err(|_| overflow(aggregate))?;
    let count = i128::from(count);
    let scaled = 10i128.checked_pow(shift).and_then(|power| sum.checked_mul(power)).ok_or_else(|| overflow(aggregate))?;
    let rounded = (scaled.abs() * 2 + count) / (count * 2) * scaled.signum();
    total(aggregate, rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(function: Function, data_type: DataType) -> Aggregate {
        Aggregate { function, argument: None, filter: None, data_type, name: "x".to_owned() }
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
        assert_eq!(value(1, 4), Value::Decimal((3).into()));
        assert_eq!(value(-1, 4), Value::Decimal((-3).into()));
        assert_eq!(value(1, 3), Value::Decimal((3).into()));
    }
}
