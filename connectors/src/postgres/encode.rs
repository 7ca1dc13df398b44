//! Arrow columns in PostgreSQL's binary format: as array parameters and as COPY data, which are the same inside.
//!
//! Written by hand because a `dyn ToSql` for each value costs several times what the value does. Both forms hold each value as a
//! 32-bit length (−1 for NULL) and its bytes, big-endian; [`Values::put`] writes that.

use std::error::Error as StdError;
use std::io;
use std::ops::Range;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::kind::ColumnKind;

/// PostgreSQL counts microseconds from 2000-01-01.
const MICROS_TO_2000: i64 = 946_684_800_000_000;
/// What COPY data begin with: a signature, no flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What COPY data end with.
const COPY_TRAILER: [u8; 2] = (-1i16).to_be_bytes();
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// The values of one column, in the type of the table's column.
#[derive(Debug)]
pub(super) enum Values<'a> {
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Int2(&'a Int64Array),
    Int4(&'a Int64Array),
    Int8(&'a Int64Array),
    Float8(&'a Float64Array),
    Bool(&'a BooleanArray),
    Time(&'a TimestampMicrosecondArray),
    Numeric(&'a Decimal128Array),
}

impl<'a> Values<'a> {
    /// Reads an array as values for a column of the kind. Integers fit: they have been compared with the column.
    pub(super) fn of(kind: ColumnKind, array: &'a ArrayRef) -> Values<'a> {
        match kind {
            ColumnKind::Text(_) => Values::Text(array.as_string()),
            ColumnKind::Bytes => Values::Bytes(array.as_binary()),
            ColumnKind::Int2 => Values::Int2(array.as_primitive::<Int64Type>()),
            ColumnKind::Int4 => Values::Int4(array.as_primitive::<Int64Type>()),
            ColumnKind::Int8 => Values::Int8(array.as_primitive::<Int64Type>()),
            ColumnKind::Float8 => Values::Float8(array.as_primitive::<Float64Type>()),
            ColumnKind::Bool => Values::Bool(array.as_boolean()),
            ColumnKind::Timestamp | ColumnKind::Timestamptz => Values::Time(array.as_primitive::<TimestampMicrosecondType>()),
            ColumnKind::Numeric(_) => Values::Numeric(array.as_primitive::<Decimal128Type>()),
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Values::Text(array) => array,
            Values::Bytes(array) => array,
            Values::Int2(array) | Values::Int4(array) | Values::Int8(array) => array,
            Values::Float8(array) => array,
            Values::Bool(array) => array,
            Values::Time(array) => array,
            Values::Numeric(array) => array,
        }
    }

    /// Appends one value.
    fn put(&self, row: usize, out: &mut BytesMut) {
        if self.array().is_null(row) {
            out.extend_from_slice(&NULL);
            return;
        }
        match self {
            Values::Text(array) => put_slice(array.value(row).as_bytes(), out),
            Values::Bytes(array) => put_slice(array.value(row), out),
            // The truncations cannot lose anything: the value lies inside the column's bounds.
            Values::Int2(array) => put_array((array.value(row) as i16).to_be_bytes(), out),
            Values::Int4(array) => put_array((array.value(row) as i32).to_be_bytes(), out),
            Values::Int8(array) => put_array(array.value(row).to_be_bytes(), out),
            Values::Float8(array) => put_array(array.value(row).to_be_bytes(), out),
            Values::Bool(array) => put_array([u8::from(array.value(row))], out),
            Values::Time(array) => put_array(time(array.value(row)).to_be_bytes(), out),
            Values::Numeric(array) => put_numeric(array.value(row), u32::from(array.scale().unsigned_abs()), out),
        }
    }
}

fn put_slice(bytes: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_array<const N: usize>(bytes: [u8; N], out: &mut BytesMut) {
    out.extend_from_slice(&(N as u32).to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Returns a time as PostgreSQL counts it; the two ends become its infinities, which are the same numbers.
fn time(micros: i64) -> i64 {
    match micros {
        i64::MIN | i64::MAX => micros,
        _ => micros.saturating_sub(MICROS_TO_2000),
    }
}

/// Appends a decimal: groups of four digits, aligned at the point, the most significant first.
fn put_numeric(value: i128, scale: u32, out: &mut BytesMut) {
    /// 38 digits before or after the point make ten groups, and one more when they straddle it.
    const MAX_GROUPS: usize = 11;
    let mut groups = [0u16; MAX_GROUPS];
    let mut count = 0;
    let mut rest = value.unsigned_abs();
    // The last group may have fewer than four digits before the scale ends.
    let odd = scale % 4;
    if odd != 0 {
        let unit = 10u128.pow(odd);
        groups[0] = ((rest % unit) * 10u128.pow(4 - odd)) as u16;
        rest /= unit;
        count = 1;
    }
    while rest > 0 {
        groups[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let weight = count as i16 - scale.div_ceil(4) as i16 - 1;
    let sign = if value < 0 { 0x4000u16 } else { 0 };
    out.extend_from_slice(&(8 + 2 * count as u32).to_be_bytes());
    for field in [count as u16, weight.cast_unsigned(), sign, scale as u16] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    for group in groups[..count].iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Some rows of a column, as one array parameter.
#[derive(Debug)]
pub(super) struct ArrayParam<'a> {
    pub(super) values: &'a Values<'a>,
    pub(super) rows: Range<usize>,
}

impl ToSql for ArrayParam<'_> {
    fn to_sql(&self, array: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Kind::Array(element) = array.kind() else { return Err("an array parameter is expected".into()) };
        let has_null = i32::from(self.values.array().null_count() > 0);
        let length = i32::try_from(self.rows.len())?;
        out.extend_from_slice(&1i32.to_be_bytes());
        out.extend_from_slice(&has_null.to_be_bytes());
        out.extend_from_slice(&element.oid().to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
        self.rows.clone().for_each(|row| self.values.put(row, out));
        Ok(IsNull::No)
    }

    fn accepts(parameter: &Type) -> bool {
        matches!(parameter.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

/// Reads the columns of a batch as values for a table's columns.
pub(super) fn values<'a>(kinds: impl IntoIterator<Item = ColumnKind>, rows: &'a RecordBatch) -> Vec<Values<'a>> {
    kinds.into_iter().zip(rows.columns()).map(|(kind, array)| Values::of(kind, array)).collect()
}

/// Writes rows as binary COPY data, in pieces.
pub(super) fn write_copy(columns: &[Values<'_>], rows: usize, to: &mut impl io::Write) -> io::Result<()> {
    /// Large enough that system calls do not count, small enough for the cache.
    const PIECE_BYTES: usize = 256 * 1024;
    let mut out = BytesMut::with_capacity(PIECE_BYTES + 4096);
    out.extend_from_slice(COPY_HEADER);
    let fields = (columns.len() as u16).to_be_bytes();
    for row in 0..rows {
        out.extend_from_slice(&fields);
        columns.iter().for_each(|column| column.put(row, &mut out));
        if out.len() >= PIECE_BYTES {
            to.write_all(&out)?;
            out.clear();
        }
    }
    out.extend_from_slice(&COPY_TRAILER);
    to.write_all(&out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Reads PostgreSQL's numeric back into text, the slow and obvious way.
    fn numeric_text(bytes: &[u8]) -> String {
        let field = |i: usize| i16::from_be_bytes([bytes[4 + 2 * i], bytes[5 + 2 * i]]);
        let (count, weight, sign, scale) = (field(0), field(1), field(2), field(3) as usize);
        let group = |position: i16| if (0..count).contains(&position) { field(4 + position as usize) } else { 0 };
        let whole: String = (0..=weight).map(|i| format!("{:04}", group(i))).collect();
        let fraction: String = (0..12).map(|i| format!("{:04}", group(weight + 1 + i))).collect();
        let minus = if sign == 0x4000 { "-" } else { "" };
        let whole = whole.trim_start_matches('0');
        format!("{minus}{}.{}", if whole.is_empty() { "0" } else { whole }, &fraction[..scale])
    }

    #[test]
    fn decimals_keep_all_their_digits() {
        for (value, scale, text) in [
            (0i128, 2, "0.00"),
            (1, 2, "0.01"),
            (-12_345, 2, "-123.45"),
            (1_000_000, 0, "1000000."),
            (5, 10, "0.0000000005"),
            (10_000, 4, "1.0000"),
            (12_345_678, 3, "12345.678"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 38, "0.99999999999999999999999999999999999999"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 37, "9.9999999999999999999999999999999999999"),
            (-99_999_999_999_999_999_999_999_999_999_999_999_999, 1, "-9999999999999999999999999999999999999.9"),
        ] {
            let mut out = BytesMut::new();
            put_numeric(value, scale, &mut out);
            assert_eq!(u32::from_be_bytes([out[0], out[1], out[2], out[3]]) as usize, out.len() - 4);
            assert_eq!(numeric_text(&out), text, "{value} with scale {scale}");
        }
    }

    #[test]
    fn the_ends_of_time_stay_and_2000_is_zero() {
        assert_eq!((time(i64::MIN), time(i64::MAX), time(MICROS_TO_2000)), (i64::MIN, i64::MAX, 0));
    }

    #[test]
    fn copy_data_have_a_header_rows_and_an_end() {
        let numbers = Int64Array::from(vec![Some(258), None]);
        let mut data = Vec::new();
        write_copy(&[Values::Int4(&numbers)], 2, &mut data).unwrap();
        assert_eq!(data[..19], *COPY_HEADER);
        assert_eq!(data[19..], [0, 1, 0, 0, 0, 4, 0, 0, 1, 2, 0, 1, 255, 255, 255, 255, 255, 255]);
    }
}
