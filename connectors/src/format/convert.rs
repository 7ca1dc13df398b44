//! Values of binary formats as those of columns.

use freshet_model::{ColumnType, Reason};

use super::columns::{Slot, Span};
use super::{text, time};

/// Takes an integer as a column's value.
pub(super) fn number(value: i64, column_type: ColumnType) -> Slot {
    match column_type {
        ColumnType::Double => Slot::Double(value as f64),
        ColumnType::Timestamp => {
            time::from_integer(value).map_or(Slot::Misfit(Reason::WrongType, "a number too large for a time"), Slot::Timestamp)
        }
        ColumnType::Decimal(precision, scale) => fitted(value.into(), 0, precision, scale),
        _ => Slot::BigInt(value),
    }
}

/// Takes a text as a column's value: of times and decimals as JSON would hold it.
pub(super) fn written(value: &str, column_type: ColumnType, texts: &mut String) -> Slot {
    match column_type {
        ColumnType::Timestamp => {
            time::parse(value).map_or(Slot::Misfit(Reason::WrongType, "a text that is no time"), Slot::Timestamp)
        }
        column_type => text::read(value, column_type, texts),
    }
}

/// Takes bytes as a column's value, if they are a text.
pub(super) fn bytes(value: &[u8], column_type: ColumnType, texts: &mut String) -> Slot {
    match std::str::from_utf8(value) {
        Ok(text) => written(text, column_type, texts),
        Err(_) => Slot::Misfit(Reason::WrongType, "bytes that are no text"),
    }
}

/// Takes JSON text as the value of a column.
pub(super) fn json(text: &str, texts: &mut String) -> Slot {
    if text == "null" {
        return Slot::Null;
    }
    let start = texts.len();
    texts.push_str(text);
    Slot::Unescaped(Span { start, len: text.len() })
}

/// Brings `value / 10^scale` to the scale of a column without rounding.
pub(super) fn fitted(value: i128, scale: i32, precision: u8, wanted: i8) -> Slot {
    let misfit = |found| Slot::Misfit(Reason::WrongType, found);
    let shift = i32::from(wanted) - scale;
    let Some(power) = 10_i128.checked_pow(shift.unsigned_abs()) else {
        return if value == 0 { Slot::Decimal(0) } else { misfit("a number with more digits than its column") };
    };
    if shift < 0 && value % power != 0 {
        return misfit("a number with more digits after the point");
    }
    let value = if shift < 0 { Some(value / power) } else { value.checked_mul(power) };
    match value {
        Some(value) if value.unsigned_abs() < 10_u128.pow(precision.into()) => Slot::Decimal(value),
        _ => misfit("a number with more digits before the point"),
    }
}
