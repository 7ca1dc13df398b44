//! Evaluates compiled expressions over batches, and reads the arrays that come out.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion_common::Result;

use crate::plan::Expression;
use crate::state::Value;

impl Expression {
    /// Evaluates the expression for each row.
    ///
    /// # Errors
    /// A row for which it has no value: a division by zero, a cast that fails.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        self.compiled.evaluate(batch)?.into_array(batch.num_rows())
    }

    /// Evaluates a condition: `None` if it is true for all rows, else for each row whether it is true and not NULL.
    ///
    /// # Errors
    /// As for [`evaluate`](Self::evaluate).
    pub fn condition(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let array = self.evaluate(batch)?;
        let mask = array.as_boolean();
        let mask = if mask.null_count() > 0 { arrow::compute::prep_null_mask_filter(mask) } else { mask.clone() };
        Ok((mask.true_count() < mask.len()).then_some(mask))
    }
}

/// The values of one column, typed once for all rows.
pub(crate) enum Values<'a> {
    Boolean(&'a BooleanArray),
    Integer(&'a [i64], Option<&'a NullBuffer>),
    Decimal(&'a [i128], Option<&'a NullBuffer>),
    Float(&'a [f64], Option<&'a NullBuffer>),
    Text(&'a StringArray),
}

impl<'a> Values<'a> {
    /// Types an array.
    ///
    /// # Panics
    /// If the array is of none of the column types: the planner casts all arguments to one of them.
    pub(crate) fn of(array: &'a ArrayRef) -> Values<'a> {
        match array.data_type() {
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int64 => Values::Integer(array.as_primitive::<Int64Type>().values(), array.nulls()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Integer(array.as_primitive::<TimestampMicrosecondType>().values(), array.nulls())
            }
            DataType::Decimal128(_, _) => Values::Decimal(array.as_primitive::<Decimal128Type>().values(), array.nulls()),
            DataType::Float64 => Values::Float(array.as_primitive::<Float64Type>().values(), array.nulls()),
            DataType::Utf8 => Values::Text(array.as_string()),
            other => panic!("invariant: the planner casts arguments, so that none is of type {other}"),
        }
    }

    /// Returns the value of a row, unless it is NULL.
    pub(crate) fn get(&self, row: usize) -> Option<Value> {
        let valid = |nulls: &Option<&NullBuffer>| nulls.is_none_or(|nulls| nulls.is_valid(row));
        match self {
            Values::Boolean(array) => array.is_valid(row).then(|| Value::Boolean(array.value(row))),
            Values::Integer(values, nulls) => valid(nulls).then(|| Value::Integer(values[row])),
            Values::Decimal(values, nulls) => valid(nulls).then(|| Value::Decimal(values[row].into())),
            Values::Float(values, nulls) => valid(nulls).then(|| Value::Float(values[row])),
            Values::Text(array) => array.is_valid(row).then(|| Value::Text(array.value(row).into())),
        }
    }
}
