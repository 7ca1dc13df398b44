//! Arrow columns that grow row by row, and the values that go into them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use freshet_model::{ColumnType, Reason};

/// One column's value of the record that is being read.
///
/// Texts are kept as places in the record, or in the buffer of those that had to be unescaped, so that the same slots serve
/// every record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slot {
    Null,
    Text(Span),
    Unescaped(Span),
    BigInt(i64),
    Double(f64),
    Boolean(bool),
    Timestamp(i64),
    Decimal(i128),
    /// The column cannot hold the value: why, and what was found.
    Misfit(Reason, &'static str),
}

/// A stretch of bytes in a buffer that is known from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Span {
    /// Returns the stretch as a range.
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// A typed Arrow builder.
pub(super) enum Builder {
    Text(StringBuilder),
    BigInt(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder),
}

impl Builder {
    /// Makes room for so many rows, and for so many bytes of text.
    pub(super) fn new(column_type: ColumnType, rows: usize, bytes: usize) -> Builder {
        match column_type {
            ColumnType::Text(_) => Builder::Text(StringBuilder::with_capacity(rows, bytes)),
            ColumnType::BigInt => Builder::BigInt(Int64Builder::with_capacity(rows)),
            ColumnType::Double => Builder::Double(Float64Builder::with_capacity(rows)),
            ColumnType::Boolean => Builder::Boolean(BooleanBuilder::with_capacity(rows)),
            ColumnType::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows)),
            ColumnType::Decimal(..) => {
                Builder::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(column_type.arrow()))
            }
        }
    }

    /// Appends a value; its texts lie in `record` and `unescaped`.
    ///
    /// # Panics
    /// The slot is of another type than the column: the reader of records fills each slot by its column's type.
    pub(super) fn append(&mut self, slot: Slot, record: &str, unescaped: &str) {
        match (self, slot) {
            (Builder::Text(builder), Slot::Text(span)) => builder.append_value(&record[span.range()]),
            (Builder::Text(builder), Slot::Unescaped(span)) => builder.append_value(&unescaped[span.range()]),
            (Builder::Text(builder), Slot::Null) => builder.append_null(),
            (Builder::Timestamp(builder), Slot::Timestamp(value)) => builder.append_value(value),
            (Builder::Timestamp(builder), Slot::Null) => builder.append_null(),
            (Builder::BigInt(builder), Slot::BigInt(value)) => builder.append_value(value),
            (Builder::BigInt(builder), Slot::Null) => builder.append_null(),
            (Builder::Double(builder), Slot::Double(value)) => builder.append_value(value),
            (Builder::Double(builder), Slot::Null) => builder.append_null(),
            (Builder::Boolean(builder), Slot::Boolean(value)) => builder.append_value(value),
            (Builder::Boolean(builder), Slot::Null) => builder.append_null(),
            (Builder::Decimal(builder), Slot::Decimal(value)) => builder.append_value(value),
            (Builder::Decimal(builder), Slot::Null) => builder.append_null(),
            (_, slot) => panic!("a slot is filled by its column's type, not with {slot:?}"),
        }
    }

    /// Returns the column and begins an empty one, with room for as much again.
    pub(super) fn finish(&mut self, column_type: ColumnType) -> ArrayRef {
        let full = std::mem::replace(self, Builder::new(column_type, 0, 0));
        let (rows, bytes, array): (_, _, ArrayRef) = match full {
            Builder::Text(mut b) => (b.offsets_slice().len() - 1, b.values_slice().len(), Arc::new(b.finish())),
            Builder::BigInt(mut b) => (b.values_slice().len(), 0, Arc::new(b.finish())),
            Builder::Double(mut b) => (b.values_slice().len(), 0, Arc::new(b.finish())),
            Builder::Timestamp(mut b) => (b.values_slice().len(), 0, Arc::new(b.finish())),
            Builder::Decimal(mut b) => (b.values_slice().len(), 0, Arc::new(b.finish())),
            Builder::Boolean(mut b) => {
                let array = b.finish();
                (array.len(), 0, Arc::new(array))
            }
        };
        *self = Builder::new(column_type, rows, bytes);
        array
    }
}
