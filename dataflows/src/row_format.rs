//! Rows as bytes: told apart, compared and hashed without a look at their columns.
//!
//! ```text
//! NULL   0
//! value  1, then   boolean    0 or 1
//!                  integer    8 bytes, the sign turned round
//!                  double     8 bytes in the order of `f64::total_cmp`
//!                  decimal    16 bytes, the sign turned round
//!                  text       its bytes, 0 255 for each 0, and a 0 behind them
//!                  others     the length (4 bytes), and Arrow's row format
//! ```
//!
//! Numbers are big endian. Columns follow each other, and equal rows, and no others, have equal bytes. Bytes are in the order of rows, NULL first, for the column types of Freshet, which come
//! before `others`. Arrow's own row format has these properties too. It cuts texts into blocks, which makes an identifier of 36 characters 70 bytes long; packing and unpacking here
//! takes a fraction of the time. The treatment of zeros is that of FoundationDB's tuples.

use std::sync::Arc;

use arrow::array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, NullBufferBuilder, PrimitiveArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};

const NULL: u8 = 0;
const PRESENT: u8 = 1;
/// Ends a text.
const END: u8 = 0;
/// Behind a zero that is part of a text; no column begins like that.
const ZERO: u8 = 255;

const WHOLE: &str = "invariant: a row was packed whole, of columns of these types";

/// Packs rows and unpacks them.
pub(crate) struct RowFormat(Vec<Column>);

enum Column {
    Boolean,
    Integer,
    Timestamp(DataType),
    Double,
    Decimal(DataType),
    Text,
    Other(RowConverter),
}

/// Packed rows, end to end.
pub struct PackedRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PackedRows {
    /// Returns a row's bytes; of a row without columns there are none.
    #[must_use]
    pub fn row(&self, index: usize) -> &[u8] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..end]
    }
}

impl RowFormat {
    /// Builds the format of rows with these column types.
    ///
    /// # Panics
    /// If a type has no row format: the planner lets only Freshet's column types through.
    pub(crate) fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> RowFormat {
        RowFormat(types.into_iter().map(Column::new).collect())
    }

    /// Packs rows, given as columns.
    ///
    /// # Panics
    /// If the columns are not of the format's types.
    pub(crate) fn pack(&self, columns: &[ArrayRef]) -> PackedRows {
        let others: Vec<_> = self.0.iter().zip(columns).map(|(column, array)| column.convert(array)).collect();
        let mut ends = vec![0; columns.first().map_or(0, |array| array.len())];
        for ((column, array), others) in self.0.iter().zip(columns).zip(&others) {
            column.add_lengths(array, others.as_ref(), &mut ends);
        }
        let total = ends.iter_mut().fold(0, |start, end| start + std::mem::replace(end, start));
        let mut bytes = vec![0; total];
        for ((column, array), others) in self.0.iter().zip(columns).zip(&others) {
            column.write(array, others.as_ref(), &mut Out { bytes: &mut bytes, at: &mut ends });
        }
        PackedRows { bytes, ends }
    }

    /// Unpacks rows into columns, and returns how many there were.
    ///
    /// # Panics
    /// If the bytes were not packed in this format.
    pub(crate) fn unpack<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> (usize, Vec<ArrayRef>) {
        let mut rest: Vec<&[u8]> = rows.collect();
        (rest.len(), self.0.iter().map(|column| column.read(&mut rest)).collect())
    }
}

/// Where values are written: at a place of its own for each row, which moves on.
struct Out<'a> {
    bytes: &'a mut [u8],
    at: &'a mut [usize],
}

impl Out<'_> {
    /// Writes values of one length; `value` is asked only for rows that are not NULL.
    fn fixed<const N: usize>(&mut self, array: &dyn Array, value: impl Fn(usize) -> [u8; N]) {
        let nulls = array.logical_nulls();
        for (row, at) in self.at.iter_mut().enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                self.bytes[*at] = NULL;
                *at += 1;
                continue;
            }
            let place = &mut self.bytes[*at..*at + 1 + N];
            place[0] = PRESENT;
            place[1..].copy_from_slice(&value(row));
            *at += 1 + N;
        }
    }

    fn texts(&mut self, array: &StringArray) {
        let has_zeros = has_zeros(array);
        for (row, at) in self.at.iter_mut().enumerate() {
            if array.is_null(row) {
                self.bytes[*at] = NULL;
                *at += 1;
                continue;
            }
            self.bytes[*at] = PRESENT;
            *at += 1;
            let text = array.value(row).as_bytes();
            if has_zeros {
                for &byte in text {
                    self.bytes[*at] = byte;
                    *at += 1;
                    if byte == 0 {
                        self.bytes[*at] = ZERO;
                        *at += 1;
                    }
                }
            } else {
                self.bytes[*at..*at + text.len()].copy_from_slice(text);
                *at += text.len();
            }
            self.bytes[*at] = END;
            *at += 1;
        }
    }
}

/// Tells whether texts, or what lies between them, hold a zero: hardly any do.
fn has_zeros(array: &StringArray) -> bool {
    memchr::memchr(0, array.value_data()).is_some()
}

impl Column {
    fn new(data_type: &DataType) -> Column {
        match data_type {
            DataType::Boolean => Column::Boolean,
            DataType::Int64 => Column::Integer,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Column::Timestamp(data_type.clone()),
            DataType::Float64 => Column::Double,
            DataType::Decimal128(..) => Column::Decimal(data_type.clone()),
            DataType::Utf8 => Column::Text,
            _ => {
                let fields = vec![SortField::new(data_type.clone())];
                Column::Other(RowConverter::new(fields).expect("invariant: all column types have a row format"))
            }
        }
    }

    /// Packs the values that have Arrow's format.
    fn convert(&self, array: &ArrayRef) -> Option<arrow::row::Rows> {
        let Column::Other(converter) = self else { return None };
        Some(converter.convert_columns(std::slice::from_ref(array)).expect("invariant: the columns are of the format's types"))
    }

    fn add_lengths(&self, array: &ArrayRef, others: Option<&arrow::row::Rows>, lengths: &mut [usize]) {
        let length_of_value = match self {
            Column::Boolean => 1,
            Column::Integer | Column::Timestamp(_) | Column::Double => 8,
            Column::Decimal(_) => 16,
            Column::Text => {
                let array: &StringArray = array.as_string();
                let has_zeros = has_zeros(array);
                for (row, length) in lengths.iter_mut().enumerate().filter(|(row, _)| array.is_valid(*row)) {
                    *length += array.value(row).len() + 1;
                    if has_zeros {
                        *length += array.value(row).bytes().filter(|&byte| byte == 0).count();
                    }
                }
                0
            }
            Column::Other(_) => {
                let rows = others.expect("invariant: these values were converted");
                lengths.iter_mut().enumerate().for_each(|(row, length)| *length += 1 + 4 + rows.row(row).data().len());
                return;
            }
        };
        let nulls = array.logical_nulls();
        for (row, length) in lengths.iter_mut().enumerate() {
            let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            *length += if is_null { 1 } else { 1 + length_of_value };
        }
    }

    fn write(&self, array: &ArrayRef, others: Option<&arrow::row::Rows>, out: &mut Out<'_>) {
        match self {
            Column::Boolean => {
                let array = array.as_boolean();
                out.fixed(array, |row| [u8::from(array.value(row))]);
            }
            Column::Integer => {
                let array = array.as_primitive::<Int64Type>();
                out.fixed(array, |row| signed(array.value(row)));
            }
            Column::Timestamp(_) => {
                let array = array.as_primitive::<TimestampMicrosecondType>();
                out.fixed(array, |row| signed(array.value(row)));
            }
            Column::Double => {
                let array = array.as_primitive::<Float64Type>();
                out.fixed(array, |row| signed(totally_ordered(array.value(row).to_bits().cast_signed())));
            }
            Column::Decimal(_) => {
                let array = array.as_primitive::<Decimal128Type>();
                out.fixed(array, |row| (array.value(row) ^ i128::MIN).to_be_bytes());
            }
            Column::Text => out.texts(array.as_string()),
            Column::Other(_) => {
                let rows = others.expect("invariant: these values were converted");
                for (row, at) in out.at.iter_mut().enumerate() {
                    let data = rows.row(row).data();
                    let length = u32::try_from(data.len()).expect("invariant: a value is far smaller than 4 GB");
                    let place = &mut out.bytes[*at..*at + 5 + data.len()];
                    place[0] = PRESENT;
                    place[1..5].copy_from_slice(&length.to_be_bytes());
                    place[5..].copy_from_slice(data);
                    *at += place.len();
                }
            }
        }
    }

    /// Reads a value of each row, and leaves what comes behind it.
    fn read(&self, rows: &mut [&[u8]]) -> ArrayRef {
        match self {
            Column::Boolean => {
                let values = rows.iter_mut().map(|row| fixed::<1>(row).map(|[byte]| byte != 0));
                Arc::new(BooleanArray::from_iter(values))
            }
            Column::Integer => Arc::new(primitive::<Int64Type, 8>(rows, integer)),
            Column::Timestamp(data_type) => {
                Arc::new(primitive::<TimestampMicrosecondType, 8>(rows, integer).with_data_type(data_type.clone()))
            }
            Column::Double => Arc::new(primitive::<Float64Type, 8>(rows, |bytes| {
                f64::from_bits(totally_ordered(integer(bytes)).cast_unsigned())
            })),
            Column::Decimal(data_type) => {
                let value = |bytes| i128::from_be_bytes(bytes) ^ i128::MIN;
                Arc::new(primitive::<Decimal128Type, 16>(rows, value).with_data_type(data_type.clone()))
            }
            Column::Text => Arc::new(texts(rows)),
            Column::Other(converter) => {
                let parser = converter.parser();
                let values = rows.iter_mut().map(|row| {
                    let length = fixed::<4>(row).expect(WHOLE);
                    let (value, rest) = row.split_at(u32::from_be_bytes(length) as usize);
                    *row = rest;
                    parser.parse(value)
                });
                converter.convert_rows(values).expect(WHOLE).swap_remove(0)
            }
        }
    }
}

fn signed(value: i64) -> [u8; 8] {
    (value ^ i64::MIN).to_be_bytes()
}

fn integer(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}

/// Turns the bits of a double into an integer of the same order, and back.
fn totally_ordered(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Takes a value of one length from the beginning of a row, or NULL.
fn fixed<const N: usize>(row: &mut &[u8]) -> Option<[u8; N]> {
    let (mark, rest) = row.split_first().expect(WHOLE);
    if *mark == NULL {
        *row = rest;
        return None;
    }
    let (value, rest) = rest.split_first_chunk().expect(WHOLE);
    *row = rest;
    Some(*value)
}

fn primitive<T: ArrowPrimitiveType, const N: usize>(
    rows: &mut [&[u8]],
    value: impl Fn([u8; N]) -> T::Native,
) -> PrimitiveArray<T> {
    let mut nulls = NullBufferBuilder::new(rows.len());
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let bytes = fixed(row);
        nulls.append(bytes.is_some());
        values.push(bytes.map_or_else(T::Native::default, &value));
    }
    PrimitiveArray::new(ScalarBuffer::from(values), nulls.finish())
}

/// Takes a text from the beginning of each row.
fn texts(rows: &mut [&[u8]]) -> StringArray {
    let mut nulls = NullBufferBuilder::new(rows.len());
    let mut bytes: Vec<u8> = Vec::with_capacity(rows.len() * 16);
    let mut offsets: Vec<i32> = Vec::with_capacity(rows.len() + 1);
    offsets.push(0);
    for row in rows {
        let (mark, mut rest) = row.split_first().expect(WHOLE);
        let is_present = *mark != NULL;
        nulls.append(is_present);
        let mut goes_on = is_present;
        while goes_on {
            let (part, after) = rest.split_at(memchr::memchr(END, rest).expect(WHOLE));
            bytes.extend_from_slice(part);
            // A zero inside of the text, or the one behind it?
            rest = &after[1..];
            goes_on = rest.first() == Some(&ZERO);
            if goes_on {
                bytes.push(0);
                rest = &rest[1..];
            }
        }
        *row = rest;
        offsets.push(i32::try_from(bytes.len()).expect("invariant: the texts of a batch are far smaller than 2 GB"));
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls.finish()).expect(WHOLE)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<bool>, Option<i64>, Option<f64>, Option<i128>, Option<String>, Option<i32>);

    fn row() -> impl Strategy<Value = Row> {
        let number = prop_oneof![-2i64..3, any::<i64>()];
        let double = prop_oneof![Just(0.0), Just(-0.0), any::<f64>(), Just(f64::NAN), Just(f64::NEG_INFINITY)];
        let decimal = prop_oneof![-2i128..3, any::<i64>().prop_map(i128::from)];
        (
            any::<Option<bool>>(),
            prop::option::of(number),
            prop::option::of(double),
            prop::option::of(decimal),
            prop::option::of("[a\u{0}\u{ff}]{0,3}"),
            any::<Option<i32>>(),
        )
    }

    fn columns(rows: &[Row]) -> Vec<ArrayRef> {
        let decimals = Decimal128Array::from_iter(rows.iter().map(|row| row.3)).with_data_type(DataType::Decimal128(20, 2));
        vec![
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.0))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2))),
            Arc::new(decimals),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.4.clone()))),
            Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.4.clone()))),
            Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.5))),
        ]
    }

    proptest! {
        #[test]
        fn rows_are_unpacked_as_they_were_and_lie_in_the_order_of_arrow(rows in prop::collection::vec(row(), 1..20), first in 0usize..8) {
            // Each column has its turn to be the one that decides.
            let mut columns = columns(&rows);
            columns.rotate_left(first);
            let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
            let format = RowFormat::new(&types);
            let packed = format.pack(&columns);
            let (count, back) = format.unpack((0..rows.len()).map(|row| packed.row(row)));
            prop_assert_eq!((count, &back), (rows.len(), &columns));
            // Those types that keep their order.
            let ordered = columns.iter().position(|column| *column.data_type() == DataType::Int32).unwrap_or(columns.len());
            let format = RowFormat::new(&types[..ordered]);
            let packed = format.pack(&columns[..ordered]);
            let fields = types[..ordered].iter().cloned().map(SortField::new).collect();
            let arrow = RowConverter::new(fields).expect("they have a row format");
            if ordered > 0 {
                let arrow = arrow.convert_columns(&columns[..ordered]).expect("of these types");
                for (one, other) in (0..rows.len()).flat_map(|one| (0..rows.len()).map(move |other| (one, other))) {
                    prop_assert_eq!(packed.row(one).cmp(packed.row(other)), arrow.row(one).cmp(&arrow.row(other)));
                }
            }
        }
    }

    #[test]
    fn rows_without_columns_are_nothing() {
        let format = RowFormat::new(&[]);
        let packed = format.pack(&[]);
        assert_eq!((packed.row(0), packed.row(1)), (&b""[..], &b""[..]));
        assert_eq!(format.unpack([packed.row(0), packed.row(1)].into_iter()).0, 2);
    }
}
