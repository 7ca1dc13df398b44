//! Values written as text: in a CSV file, in a text of a binary record, as the default of a column.

use freshet_model::{ColumnType, Reason};

use super::columns::{Slot, Span};
use super::{decimal, time};

/// Reads a value of a column; a text is appended to `texts`.
pub(super) fn read(text: &str, column_type: ColumnType, texts: &mut String) -> Slot {
    let number = text.trim();
    let misfit = |found| Slot::Misfit(Reason::WrongType, found);
    match column_type {
        ColumnType::Text(limit) => put(text, limit, texts),
        ColumnType::BigInt => number.parse().map_or(misfit("a text that is no whole number of 64 bits"), Slot::BigInt),
        ColumnType::Double => match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Slot::Double(value),
            _ => misfit("a text that is no number"),
        },
        ColumnType::Boolean => match number {
            "true" | "TRUE" | "True" => Slot::Boolean(true),
            "false" | "FALSE" | "False" => Slot::Boolean(false),
            _ => misfit("a text that is neither true nor false"),
        },
        ColumnType::Timestamp => {
            let integer = || number.parse().ok().and_then(time::from_integer);
            time::parse(number).or_else(integer).map_or(misfit("a text that is no time"), Slot::Timestamp)
        }
        ColumnType::Decimal(precision, scale) => exact(number, precision, scale),
    }
}

/// Takes a text for a text column, or finds that it cannot hold it.
pub(super) fn put(text: &str, limit: Option<u32>, texts: &mut String) -> Slot {
    if limit.is_some_and(|limit| is_longer(text, limit)) {
        return Slot::Misfit(Reason::TooLong, "a longer text");
    }
    if text.contains('\0') {
        return Slot::Misfit(Reason::NulCharacter, "a text with a NUL character");
    }
    let start = texts.len();
    texts.push_str(text);
    Slot::Unescaped(Span { start, len: text.len() })
}

/// Reads a number in decimal notation without rounding it.
pub(super) fn exact(number: &str, precision: u8, scale: i8) -> Slot {
    let misfit = |found| Slot::Misfit(Reason::WrongType, found);
    match decimal::parse(number, precision, scale) {
        Ok(value) => Slot::Decimal(value),
        Err(decimal::Misfit::NotANumber) => misfit("a text that is no number"),
        Err(decimal::Misfit::TooFine) => misfit("a number with more digits after the point"),
        Err(decimal::Misfit::TooLarge) => misfit("a number with more digits before the point"),
    }
}

/// Tells whether a text has more characters than `limit`; a text has at least as many bytes as characters.
pub(super) fn is_longer(text: &str, limit: u32) -> bool {
    let limit = limit as usize;
    text.len() > limit && text.chars().count() > limit
}
