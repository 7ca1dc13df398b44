//! Column types as a job file writes them, and the tables that views become.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The type of a column.
///
/// Written in a job file as `text`, `varchar(50)`, `bigint`, `double`, `boolean`, `timestamp`, `decimal(12,2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// UTF-8 text, of at most so many characters when given. Arrow `Utf8`.
    Text(Option<u32>),
    /// A 64-bit integer. Arrow `Int64`.
    BigInt,
    /// A 64-bit float. Arrow `Float64`.
    Double,
    /// True or false. Arrow `Boolean`.
    Boolean,
    /// A point in time. Arrow `Timestamp(Microsecond)`, without a zone, UTC.
    Timestamp,
    /// An exact decimal of `precision` digits, `scale` of them after the point. Arrow `Decimal128`.
    Decimal(u8, i8),
}

impl ColumnType {
    /// Returns the Arrow type that holds the column.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::Text(_) => DataType::Utf8,
            ColumnType::BigInt => DataType::Int64,
            ColumnType::Double => DataType::Float64,
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            ColumnType::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
        }
    }

    /// Returns the type that a column of this Arrow type becomes, or `None` if Freshet has none for it.
    #[must_use]
    pub fn from_arrow(data_type: &DataType) -> Option<ColumnType> {
        Some(match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Text(None),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => ColumnType::BigInt,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => ColumnType::BigInt,
            DataType::Float32 | DataType::Float64 => ColumnType::Double,
            DataType::Boolean => ColumnType::Boolean,
            DataType::Timestamp(_, _) | DataType::Date32 => ColumnType::Timestamp,
            DataType::Decimal128(precision, scale) => ColumnType::Decimal(*precision, *scale),
            _ => return None,
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Text(None) => f.write_str("text"),
            ColumnType::Text(Some(chars)) => write!(f, "varchar({chars})"),
            ColumnType::BigInt => f.write_str("bigint"),
            ColumnType::Double => f.write_str("double"),
            ColumnType::Boolean => f.write_str("boolean"),
            ColumnType::Timestamp => f.write_str("timestamp"),
            ColumnType::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = String;

    /// Parses a type as a job file writes it.
    ///
    /// # Errors
    /// A sentence that names the text and lists what is known.
    fn from_str(text: &str) -> Result<ColumnType, String> {
        let known = || {
            format!("unknown column type '{text}'; known are text, varchar(n), bigint, double, boolean, timestamp, decimal(p,s)")
        };
        let lower = text.trim().to_ascii_lowercase();
        let (name, arguments) = match lower.split_once('(') {
            Some((name, rest)) => (name.trim(), Some(rest.strip_suffix(')').ok_or_else(known)?)),
            None => (lower.as_str(), None),
        };
        match (name, arguments) {
            ("text" | "varchar" | "string", None) => Ok(ColumnType::Text(None)),
            ("text" | "varchar", Some(chars)) => {
                chars.trim().parse().ok().filter(|&chars| chars > 0).map(|chars| ColumnType::Text(Some(chars))).ok_or_else(known)
            }
            ("bigint" | "int" | "integer", None) => Ok(ColumnType::BigInt),
            ("double" | "float", None) => Ok(ColumnType::Double),
            ("boolean" | "bool", None) => Ok(ColumnType::Boolean),
            ("timestamp", None) => Ok(ColumnType::Timestamp),
            ("decimal" | "numeric", Some(digits)) => {
                let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
                match (precision.trim().parse::<u8>(), scale.trim().parse::<i8>()) {
                    (Ok(precision @ 1..=38), Ok(scale)) if (0..=precision.cast_signed()).contains(&scale) => {
                        Ok(ColumnType::Decimal(precision, scale))
                    }
                    _ => Err(known()),
                }
            }
            _ => Err(known()),
        }
    }
}

/// A named, typed column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// The column's type.
    pub column_type: ColumnType,
}

/// A view as a sink sees it: its columns, and those that identify a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// Name of the view, and of the table unless the job says otherwise.
    pub name: String,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// Indices into `columns` of the primary key, in order. Without one, rows that are appended all stay, and any other view has one row, which the
    /// next one replaces.
    pub key: Vec<usize>,
    /// Whether rows are only ever added, as records come: with a key, a later row takes the place of an earlier one.
    pub appends: bool,
    /// Index of the column with the event time of append-only rows, by which a lake is partitioned.
    pub time_column: Option<usize>,
}

impl TableSchema {
    /// Tells whether every row stays beside all others, equal ones included.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.appends && self.key.is_empty()
    }

    /// Returns the Arrow schema of whole rows.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|c| Field::new(&c.name, c.column_type.arrow(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Returns the Arrow schema of the key columns alone, in the key's order.
    #[must_use]
    pub fn key_arrow(&self) -> SchemaRef {
        let fields = self.key.iter().map(|&i| Field::new(&self.columns[i].name, self.columns[i].column_type.arrow(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_back_as_it_is_written() {
        for text in ["text", "varchar(50)", "bigint", "double", "boolean", "timestamp", "decimal(12,2)"] {
            assert_eq!(text.parse::<ColumnType>().map(|t| t.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_list_of_types() {
        for text in ["", "txt", "varchar(", "varchar(0)", "decimal(40,2)", "decimal(4,5)", "bigint(3)"] {
            let error = text.parse::<ColumnType>().expect_err(text);
            assert!(error.contains("varchar(n)"), "{error}");
        }
    }
}
