//! Values without parts, and the columns that take them.

use std::fmt::Write;
use std::sync::Arc;

use freshet_model::{ColumnType, Reason};

use super::super::binary::Broken;
use super::super::columns::Slot;
use super::super::convert::{bytes, fitted, number, written};
use super::super::{decimal, time};
use super::input::Input;

const DAY_MICROS: i64 = 86_400_000_000;

/// The type of a value without parts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes(Size),
    Enum(Arc<[String]>),
    /// An integer of so many digits behind the point.
    Decimal(Size, usize),
    Uuid(Size),
    /// Days since 1970.
    Date,
    /// Since midnight.
    TimeOfDay(Unit),
    /// Since 1970.
    Time(Unit),
}

/// How many bytes a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// The schema says it.
    Fixed(usize),
    /// It stands before the value.
    Told,
}

/// What an integer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// Returns a count as microseconds, if there are so many.
    fn micros(self, count: i64) -> Option<i64> {
        match self {
            Unit::Millis => count.checked_mul(1000),
            Unit::Micros => Some(count),
            Unit::Nanos => Some(count.div_euclid(1000)),
        }
    }
}

impl Scalar {
    /// Names the type, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Scalar::Boolean => "a boolean",
            Scalar::Int => "an int",
            Scalar::Long => "a long",
            Scalar::Float => "a float",
            Scalar::Double => "a double",
            Scalar::Text => "a string",
            Scalar::Bytes(_) => "bytes",
            Scalar::Enum(_) => "an enum",
            Scalar::Decimal(..) => "a decimal",
            Scalar::Uuid(_) => "a uuid",
            Scalar::Date => "a date",
            Scalar::TimeOfDay(_) => "a time of day",
            Scalar::Time(_) => "a timestamp",
        }
    }

    /// Tells whether a column takes values of this type; a single one may still not fit.
    pub(super) fn becomes(&self, column_type: ColumnType) -> bool {
        let counts = matches!(self, Scalar::Int | Scalar::Long);
        match column_type {
            ColumnType::Text(_) => {
                matches!(
                    self,
                    Scalar::Text
                        | Scalar::Bytes(Size::Told)
                        | Scalar::Enum(_)
                        | Scalar::Uuid(_)
                        | Scalar::Date
                        | Scalar::TimeOfDay(_)
                )
            }
            ColumnType::BigInt => counts || matches!(self, Scalar::Date | Scalar::TimeOfDay(_) | Scalar::Time(_)),
            ColumnType::Double => counts || matches!(self, Scalar::Float | Scalar::Double),
            ColumnType::Boolean => matches!(self, Scalar::Boolean),
            ColumnType::Timestamp => counts || matches!(self, Scalar::Time(_) | Scalar::Date | Scalar::Text),
            ColumnType::Decimal(..) => counts || matches!(self, Scalar::Decimal(..) | Scalar::Text),
        }
    }

    /// Passes over a value.
    pub(super) fn skip(&self, input: &mut Input<'_>) -> Result<(), Broken> {
        match self {
            Scalar::Boolean => drop(input.take(1)?),
            Scalar::Float => drop(input.take(4)?),
            Scalar::Double => drop(input.take(8)?),
            Scalar::Text => drop(input.bytes()?),
            Scalar::Bytes(size) | Scalar::Decimal(size, _) | Scalar::Uuid(size) => drop(size.read(input)?),
            Scalar::Int | Scalar::Long | Scalar::Enum(_) | Scalar::Date | Scalar::TimeOfDay(_) | Scalar::Time(_) => {
                input.long()?;
            }
        }
        Ok(())
    }

    /// Reads a value for a column that takes this type; a text is appended to `texts`.
    pub(super) fn read(&self, column_type: ColumnType, input: &mut Input<'_>, texts: &mut String) -> Result<Slot, Broken> {
        Ok(match self {
            Scalar::Boolean => Slot::Boolean(boolean(input)?),
            Scalar::Int => number(input.int()?, column_type),
            Scalar::Long => number(input.long()?, column_type),
            Scalar::Float => Slot::Double(f32::from_le_bytes(input.array()?).into()),
            Scalar::Double => Slot::Double(f64::from_le_bytes(input.array()?)),
            Scalar::Text => written(input.text()?, column_type, texts),
            Scalar::Bytes(size) => bytes(size.read(input)?, column_type, texts),
            Scalar::Enum(symbols) => written(&symbols[input.index(symbols.len())?], column_type, texts),
            Scalar::Decimal(size, scale) => rescaled(size.read(input)?, *scale, column_type),
            Scalar::Uuid(size) => written(&uuid(size.read(input)?)?, column_type, texts),
            Scalar::Date => {
                let days = input.int()?;
                match column_type {
                    ColumnType::BigInt => Slot::BigInt(days),
                    // An int of days is within the range of microseconds.
                    ColumnType::Timestamp => Slot::Timestamp(days * DAY_MICROS),
                    _ => written(&date(days), column_type, texts),
                }
            }
            Scalar::TimeOfDay(unit) => {
                let count = input.long()?;
                match (column_type, unit.micros(count)) {
                    (ColumnType::BigInt, _) => Slot::BigInt(count),
                    (_, Some(micros @ 0..DAY_MICROS)) => written(&time_of_day(micros), column_type, texts),
                    _ => Slot::Misfit(Reason::WrongType, "a time beyond a day"),
                }
            }
            Scalar::Time(unit) => {
                let count = input.long()?;
                match (column_type, unit.micros(count)) {
                    (ColumnType::BigInt, _) => Slot::BigInt(count),
                    (_, Some(micros)) => Slot::Timestamp(micros),
                    (_, None) => Slot::Misfit(Reason::WrongType, "a number too large for a time"),
                }
            }
        })
    }

    /// Appends a value as JSON.
    pub(super) fn show(&self, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        use super::super::to_json::{write_text, write_time};
        let mut texts = String::new();
        match self {
            Scalar::Boolean => out.extend_from_slice(if boolean(input)? { b"true" } else { b"false" }),
            Scalar::Int | Scalar::Long => out.extend_from_slice(input.long()?.to_string().as_bytes()),
            Scalar::Float | Scalar::Double => {
                let value = match self {
                    Scalar::Float => f32::from_le_bytes(input.array()?).into(),
                    _ => f64::from_le_bytes(input.array()?),
                };
                out.extend_from_slice(
                    serde_json::Number::from_f64(value).map_or("null".to_owned(), |n| n.to_string()).as_bytes(),
                );
            }
            Scalar::Decimal(size, scale) => match (integer(size.read(input)?), i8::try_from(*scale)) {
                (Some(value), Ok(scale)) => decimal::write(out, value, scale),
                _ => out.extend_from_slice(b"null"),
            },
            Scalar::Time(unit) => match unit.micros(input.long()?) {
                Some(micros) => write_time(out, micros),
                None => out.extend_from_slice(b"null"),
            },
            Scalar::Bytes(size) => write_text(out, &String::from_utf8_lossy(size.read(input)?)),
            Scalar::Text | Scalar::Enum(_) | Scalar::Uuid(_) | Scalar::Date | Scalar::TimeOfDay(_) => {
                self.read(ColumnType::Text(None), input, &mut texts)?;
                write_text(out, &texts);
            }
        }
        Ok(())
    }
}

impl Size {
    fn read<'a>(self, input: &mut Input<'a>) -> Result<&'a [u8], Broken> {
        match self {
            Size::Fixed(size) => input.take(size),
            Size::Told => input.bytes(),
        }
    }
}

fn boolean(input: &mut Input<'_>) -> Result<bool, Broken> {
    match input.array()? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Broken::Malformed("a boolean that is neither 0 nor 1")),
    }
}

/// Reads a decimal's bytes, big end first, as the value of a column with digits of its own.
fn rescaled(bytes: &[u8], scale: usize, column_type: ColumnType) -> Slot {
    let ColumnType::Decimal(precision, wanted) = column_type else { return Slot::Null };
    match (integer(bytes), i32::try_from(scale)) {
        (Some(value), Ok(scale)) => fitted(value, scale, precision, wanted),
        _ => Slot::Misfit(Reason::WrongType, "a number with more digits than a decimal has"),
    }
}

/// Reads an integer in two's complement, the big end first, if it has at most 128 bits.
fn integer(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|&byte| byte >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let (lead, low) = bytes.split_at(bytes.len().saturating_sub(16));
    if lead.iter().any(|&byte| byte != fill) {
        return None;
    }
    let mut wide = [fill; 16];
    wide[16 - low.len()..].copy_from_slice(low);
    let value = i128::from_be_bytes(wide);
    ((value < 0) == negative).then_some(value)
}

/// Writes a uuid's bytes in the usual way.
fn uuid(bytes: &[u8]) -> Result<String, Broken> {
    if bytes.len() != 16 {
        return Err(Broken::Malformed("a uuid that has not 16 bytes"));
    }
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    Ok(out)
}

/// Writes a day since 1970 as `2026-01-29`.
fn date(days: i64) -> String {
    let mut out = Vec::new();
    time::write(&mut out, days * DAY_MICROS);
    let text = String::from_utf8(out).unwrap_or_default();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Writes a time since midnight as `09:31:03.027`.
fn time_of_day(micros: i64) -> String {
    let mut out = Vec::new();
    time::write(&mut out, micros);
    let text = String::from_utf8(out).unwrap_or_default();
    text.split('T').nth(1).unwrap_or_default().trim_end_matches('Z').to_owned()
}
