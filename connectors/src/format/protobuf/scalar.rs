//! Values without parts, and the columns that take them.

use freshet_model::{ColumnType, Reason};
use prost_reflect::{FieldDescriptor, Kind};

use super::super::binary::{Broken, zigzag};
use super::super::columns::{Slot, Span};
use super::super::convert;
use super::input::{self, BYTES, FIXED32, FIXED64, Form, MISFORMED, VARINT, Wire};

/// An integer of either sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    Signed(i64),
    Unsigned(u64),
}

/// Names a field's type, for a person.
pub(super) fn name(field: &FieldDescriptor) -> &'static str {
    match field.kind() {
        _ if field.is_map() => "a map",
        _ if field.is_list() => "a list",
        _ if field.is_group() => "a group",
        Kind::Double => "a double",
        Kind::Float => "a float",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "an integer of 32 bits",
        Kind::Uint32 | Kind::Fixed32 => "an unsigned integer of 32 bits",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "an integer of 64 bits",
        Kind::Uint64 | Kind::Fixed64 => "an unsigned integer of 64 bits",
        Kind::Bool => "a bool",
        Kind::String => "a string",
        Kind::Bytes => "bytes",
        Kind::Enum(_) => "an enum",
        Kind::Message(_) => "a message",
    }
}

/// Tells whether a column takes values of a type; a single one may still not fit.
pub(super) fn becomes(kind: &Kind, column_type: ColumnType) -> bool {
    match column_type {
        ColumnType::Text(_) => matches!(kind, Kind::String | Kind::Bytes | Kind::Enum(_)),
        ColumnType::BigInt => is_integer(kind) || matches!(kind, Kind::Enum(_)),
        ColumnType::Double => is_integer(kind) || matches!(kind, Kind::Float | Kind::Double),
        ColumnType::Boolean => matches!(kind, Kind::Bool),
        ColumnType::Timestamp | ColumnType::Decimal(..) => is_integer(kind) || matches!(kind, Kind::String),
    }
}

fn is_integer(kind: &Kind) -> bool {
    use Kind::{Bool, Bytes, Double, Enum, Float, Message, String};
    !matches!(kind, Double | Float | Bool | String | Bytes | Enum(_) | Message(_))
}

/// Returns the form of a type's values.
pub(super) fn form(kind: &Kind) -> Form {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => FIXED64,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => FIXED32,
        Kind::String | Kind::Bytes | Kind::Message(_) => BYTES,
        _ => VARINT,
    }
}

/// Returns the value that a type has where nothing is written.
pub(super) fn zero(kind: &Kind) -> Wire {
    match form(kind) {
        FIXED64 => Wire::Fixed64([0; 8]),
        FIXED32 => Wire::Fixed32([0; 4]),
        BYTES => Wire::Bytes(Span { start: 0, len: 0 }),
        _ => Wire::Varint(0),
    }
}

/// A type without parts, made ready to be read often.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) kind: Kind,
    /// The names of an enum's values, by their numbers.
    symbols: Vec<(i32, String)>,
}

impl Scalar {
    /// Prepares to read values of a type.
    pub(super) fn new(kind: Kind) -> Scalar {
        let mut symbols: Vec<_> = match &kind {
            Kind::Enum(symbols) => symbols.values().map(|symbol| (symbol.number(), symbol.name().to_owned())).collect(),
            _ => Vec::new(),
        };
        // Of several names of one number the first counts.
        symbols.sort_by_key(|(number, _)| *number);
        symbols.dedup_by_key(|(number, _)| *number);
        Scalar { kind, symbols }
    }

    /// Takes a value for a column that takes this type; a text is appended to `texts`.
    pub(super) fn read(&self, value: Wire, record: &[u8], column_type: ColumnType, texts: &mut String) -> Result<Slot, Broken> {
        Ok(match &self.kind {
            kind @ (Kind::Double | Kind::Float) => Slot::Double(float(kind, value)?),
            Kind::Bool => Slot::Boolean(boolean(value)?),
            Kind::String => convert::written(input::text(record, value)?, column_type, texts),
            Kind::Bytes => convert::bytes(input::bytes(record, value)?, column_type, texts),
            Kind::Enum(_) if matches!(column_type, ColumnType::Text(_)) => {
                let number = enum_number(value)?;
                match self.symbols.binary_search_by_key(&number, |(number, _)| *number) {
                    Ok(at) => convert::written(&self.symbols[at].1, column_type, texts),
                    Err(_) => convert::written(&number.to_string(), column_type, texts),
                }
            }
            kind => match integer(kind, value)? {
                Integer::Signed(value) => convert::number(value, column_type),
                Integer::Unsigned(value) => unsigned(value, column_type),
            },
        })
    }
}

/// Takes an integer that may be beyond those with a sign.
fn unsigned(value: u64, column_type: ColumnType) -> Slot {
    match (i64::try_from(value), column_type) {
        (Ok(value), _) => convert::number(value, column_type),
        (Err(_), ColumnType::Double) => Slot::Double(value as f64),
        (Err(_), ColumnType::Decimal(precision, scale)) => convert::fitted(value.into(), 0, precision, scale),
        (Err(_), ColumnType::Timestamp) => Slot::Misfit(Reason::WrongType, "a number too large for a time"),
        (Err(_), _) => Slot::Misfit(Reason::WrongType, "a number beyond 63 bits"),
    }
}

/// Reads an integer or the number of an enum's value; of 32 bits the lowest count, as Protobuf says.
pub(super) fn integer(kind: &Kind, value: Wire) -> Result<Integer, Broken> {
    let signed = |value: i64| Ok(Integer::Signed(value));
    match (kind, value) {
        (Kind::Int64, Wire::Varint(value)) => signed(value.cast_signed()),
        (Kind::Sint64, Wire::Varint(value)) => signed(zigzag(value)),
        (Kind::Int32 | Kind::Enum(_), Wire::Varint(value)) => signed((value as i32).into()),
        (Kind::Sint32, Wire::Varint(value)) => signed(zigzag(value & u64::from(u32::MAX))),
        (Kind::Uint32, Wire::Varint(value)) => signed((value as u32).into()),
        (Kind::Uint64, Wire::Varint(value)) => Ok(Integer::Unsigned(value)),
        (Kind::Sfixed32, Wire::Fixed32(value)) => signed(i32::from_le_bytes(value).into()),
        (Kind::Fixed32, Wire::Fixed32(value)) => signed(u32::from_le_bytes(value).into()),
        (Kind::Sfixed64, Wire::Fixed64(value)) => signed(i64::from_le_bytes(value)),
        (Kind::Fixed64, Wire::Fixed64(value)) => Ok(Integer::Unsigned(u64::from_le_bytes(value))),
        _ => Err(MISFORMED),
    }
}

/// Reads the number of an enum's value.
pub(super) fn enum_number(value: Wire) -> Result<i32, Broken> {
    match value {
        Wire::Varint(value) => Ok(value as i32),
        _ => Err(MISFORMED),
    }
}

/// Reads a bool.
pub(super) fn boolean(value: Wire) -> Result<bool, Broken> {
    match value {
        Wire::Varint(value) => Ok(value != 0),
        _ => Err(MISFORMED),
    }
}

/// Reads a float or a double.
pub(super) fn float(kind: &Kind, value: Wire) -> Result<f64, Broken> {
    match (kind, value) {
        (Kind::Float, Wire::Fixed32(value)) => Ok(f32::from_le_bytes(value).into()),
        (Kind::Double, Wire::Fixed64(value)) => Ok(f64::from_le_bytes(value)),
        _ => Err(MISFORMED),
    }
}
