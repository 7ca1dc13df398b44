//! Encodes the rows of Arrow batches as JSON: one object a row, on a line of its own.
//!
//! All rows of a batch go into one flat buffer, which is kept for the next batch. Times are RFC 3339 in UTC, decimals are numbers
//! with all their digits, NULL and floats that are not finite are null. Fields are in the columns' order.

use std::borrow::Cow;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use freshet_model::ColumnType;

use super::{decimal, time};

/// The rows of a batch as JSON.
#[derive(Debug, Default)]
pub struct Rows {
    /// Each row with a line end behind it.
    bytes: Vec<u8>,
    /// Where each row ends, its line end included.
    ends: Vec<usize>,
}

/// Encodes a batch once; who has many keeps a [`Rows`] and its memory instead.
///
/// # Panics
/// As for [`Rows::encode`].
#[must_use]
pub fn rows(batch: &RecordBatch) -> Rows {
    let mut rows = Rows::default();
    rows.encode(batch);
    rows
}

impl Rows {
    /// Replaces the rows by those of a batch.
    ///
    /// # Panics
    /// A column is of a type that [`ColumnType`] has no word for, or holds a number beyond 64 bits: neither is let into a view.
    pub fn encode(&mut self, batch: &RecordBatch) {
        self.clear();
        let arrays: Vec<_> = batch.columns().iter().map(canonical).collect();
        let names = batch.schema_ref().fields().iter().map(|field| field.name());
        let fields: Vec<_> = names.zip(&arrays).map(|(name, array)| Field::new(name, array)).collect();
        for row in 0..batch.num_rows() {
            self.bytes.push(b'{');
            for (index, field) in fields.iter().enumerate() {
                // Each name has a comma before it, which the first field leaves out.
                self.bytes.extend_from_slice(&field.name[usize::from(index == 0)..]);
                field.write(&mut self.bytes, row);
            }
            self.bytes.extend_from_slice(b"}\n");
            self.ends.push(self.bytes.len());
        }
    }

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a row that is encoded already.
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.bytes.push(b'\n');
        self.ends.push(self.bytes.len());
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Tells whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns one row, without a line end.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index] - 1]
    }

    /// Iterates over the rows, without line ends.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.row(index))
    }

    /// Returns all rows, each with a line end behind it: the contents of an NDJSON file.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.bytes
    }
}

/// Brings a column into the Arrow type in which its [`ColumnType`] is written.
pub(super) fn canonical(array: &ArrayRef) -> Cow<'_, ArrayRef> {
    let found = array.data_type();
    let target =
        ColumnType::from_arrow(found).unwrap_or_else(|| panic!("no view has a column of the Arrow type {found}")).arrow();
    if *found == target {
        return Cow::Borrowed(array);
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = cast_with_options(array, &target, &strict);
    Cow::Owned(cast.unwrap_or_else(|error| panic!("a column of the Arrow type {found} is no {target}: {error}")))
}

/// A column with its name ready to be written.
struct Field<'a> {
    /// `,"name":`
    name: Vec<u8>,
    array: &'a dyn Array,
    cells: Cells<'a>,
}

/// A column's values by type.
enum Cells<'a> {
    Text(&'a StringArray),
    BigInt(&'a Int64Array),
    Double(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Decimal(&'a Decimal128Array, i8),
}

impl<'a> Field<'a> {
    fn new(name: &str, array: &'a ArrayRef) -> Field<'a> {
        let mut prefix = vec![b','];
        write_text(&mut prefix, name);
        prefix.push(b':');
        let cells = match ColumnType::from_arrow(array.data_type()) {
            Some(ColumnType::BigInt) => Cells::BigInt(array.as_primitive::<Int64Type>()),
            Some(ColumnType::Double) => Cells::Double(array.as_primitive::<Float64Type>()),
            Some(ColumnType::Boolean) => Cells::Boolean(array.as_boolean()),
            Some(ColumnType::Timestamp) => Cells::Timestamp(array.as_primitive::<TimestampMicrosecondType>()),
            Some(ColumnType::Decimal(_, scale)) => Cells::Decimal(array.as_primitive::<Decimal128Type>(), scale),
            Some(ColumnType::Text(_)) | None => Cells::Text(array.as_string()),
        };
        Field { name: prefix, array, cells }
    }

    fn write(&self, out: &mut Vec<u8>, row: usize) {
        if self.array.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match self.cells {
            Cells::Text(array) => write_text(out, array.value(row)),
            Cells::BigInt(array) => write_number(out, array.value(row)),
            Cells::Double(array) => write_number(out, array.value(row)),
            Cells::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Cells::Timestamp(array) => write_time(out, array.value(row)),
            Cells::Decimal(array, scale) => decimal::write(out, array.value(row), scale),
        }
    }
}

/// Writes a number; serde_json makes null of a float that is not finite.
fn write_number(out: &mut Vec<u8>, number: impl serde::Serialize) {
    serde_json::to_writer(out, &number).expect("a number can be written into memory");
}

/// Writes a time as a JSON text.
pub(crate) fn write_time(out: &mut Vec<u8>, micros: i64) {
    out.push(b'"');
    time::write(out, micros);
    out.push(b'"');
}

/// Writes a JSON text: quotes, backslashes and control characters escaped, all else as it is.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&special) = rest.get(plain) else { break };
        escape(out, special);
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// Counts the bytes before the first that must be escaped, eight at a time where none must.
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut plain = 0;
    for word in bytes.as_chunks::<8>().0 {
        if may_hold_special(u64::from_le_bytes(*word)) {
            break;
        }
        plain += 8;
    }
    let special = |b: &u8| matches!(b, 0..0x20 | b'"' | b'\\');
    plain + bytes[plain..].iter().position(special).unwrap_or(bytes.len() - plain)
}

/// Tells whether one of eight bytes is below 0x20, a quote or a backslash; never misses one.
fn may_hold_special(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Subtracting sets a byte's high bit when the byte was smaller (or by a borrow from one that was); `& !word` keeps ASCII only.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) != 0
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests;
