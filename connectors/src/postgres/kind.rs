//! The types of table columns that Freshet writes into, and what each can hold.

use freshet_model::ColumnType;

use crate::tables::fit::{Bound, decimal_bound};
use crate::tables::rejects::Cell;

/// The type of a column of a PostgreSQL table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// `text`, or `varchar(n)` with its limit.
    Text(Option<u32>),
    /// `bytea`, in control tables only.
    Bytes,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `double precision`
    Float8,
    /// `boolean`
    Bool,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `numeric`, or `numeric(precision,scale)`.
    Numeric(Option<(i32, i32)>),
}

impl ColumnKind {
    /// Returns the type that a new table gets for a column of a view.
    pub(super) fn created_for(column_type: ColumnType) -> ColumnKind {
        match column_type {
            ColumnType::Text(chars) => ColumnKind::Text(chars),
            ColumnType::BigInt => ColumnKind::Int8,
            ColumnType::Double => ColumnKind::Float8,
            ColumnType::Boolean => ColumnKind::Bool,
            ColumnType::Timestamp => ColumnKind::Timestamp,
            ColumnType::Decimal(precision, scale) => ColumnKind::Numeric(Some((i32::from(precision), i32::from(scale)))),
        }
    }

    /// Returns the type of a column of a table of rejects.
    pub(super) fn of_cell(cell: Cell) -> ColumnKind {
        match cell {
            Cell::Text => ColumnKind::Text(None),
            Cell::Int => ColumnKind::Int4,
            Cell::BigInt => ColumnKind::Int8,
            Cell::Time => ColumnKind::Timestamp,
            Cell::Bytes => ColumnKind::Bytes,
        }
    }

    /// Reads a column's type from the catalog: its type's number and modifier. `None` for all that Freshet does not write.
    pub(super) fn from_catalog(type_oid: u32, modifier: i32) -> Option<ColumnKind> {
        // The modifier of a length or precision counts a header of four bytes; −1 is none.
        let size = modifier - 4;
        Some(match type_oid {
            25 => ColumnKind::Text(None),
            1043 => ColumnKind::Text(u32::try_from(size).ok()),
            21 => ColumnKind::Int2,
            23 => ColumnKind::Int4,
            20 => ColumnKind::Int8,
            701 => ColumnKind::Float8,
            16 => ColumnKind::Bool,
            1114 if modifier < 0 || modifier == 6 => ColumnKind::Timestamp,
            1184 if modifier < 0 || modifier == 6 => ColumnKind::Timestamptz,
            1700 if modifier < 0 => ColumnKind::Numeric(None),
            // Eleven bits of scale with a sign.
            1700 => ColumnKind::Numeric(Some((size >> 16, ((size & 0x7ff) ^ 0x400) - 0x400))),
            _ => return None,
        })
    }

    /// Tells whether a column of a view can be written into this type, value by value at worst.
    pub(super) fn takes(self, column_type: ColumnType) -> bool {
        match (column_type, self) {
            (ColumnType::Text(_), ColumnKind::Text(_))
            | (ColumnType::BigInt, ColumnKind::Int8 | ColumnKind::Int4 | ColumnKind::Int2)
            | (ColumnType::Double, ColumnKind::Float8)
            | (ColumnType::Boolean, ColumnKind::Bool)
            | (ColumnType::Timestamp, ColumnKind::Timestamp | ColumnKind::Timestamptz)
            | (ColumnType::Decimal(..), ColumnKind::Numeric(None)) => true,
            // With a smaller scale PostgreSQL would round without a word.
            (ColumnType::Decimal(_, scale), ColumnKind::Numeric(Some((_, table_scale)))) => table_scale >= i32::from(scale),
            _ => false,
        }
    }

    /// Returns what the column holds of a view's column.
    pub(super) fn bound(self, column_type: ColumnType) -> Bound {
        /// 4714-11-24 before Christ, the first day that PostgreSQL knows. Its last one lies beyond 64 bits of microseconds.
        const FIRST_MICROS: i64 = -210_866_803_200_000_000;
        match (self, column_type) {
            (ColumnKind::Text(chars), _) => Bound::Text(chars),
            (ColumnKind::Int2, _) => Bound::Integer(i64::from(i16::MIN), i64::from(i16::MAX)),
            (ColumnKind::Int4, _) => Bound::Integer(i64::from(i32::MIN), i64::from(i32::MAX)),
            (ColumnKind::Timestamp | ColumnKind::Timestamptz, _) => Bound::Time(FIRST_MICROS, i64::MAX - 1),
            (ColumnKind::Numeric(Some((precision, scale))), ColumnType::Decimal(_, value_scale)) => {
                decimal_bound(precision, scale, i32::from(value_scale))
            }
            _ => Bound::Any,
        }
    }

    /// Returns the type's name for DDL.
    pub(super) fn ddl(self) -> String {
        match self {
            ColumnKind::Text(Some(chars)) => format!("varchar({chars})"),
            ColumnKind::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
            _ => self.base().to_owned(),
        }
    }

    /// Returns the type's name without its size: values are compared with the column before they are sent.
    pub(super) fn base(self) -> &'static str {
        match self {
            ColumnKind::Text(_) => "text",
            ColumnKind::Bytes => "bytea",
            ColumnKind::Int2 => "smallint",
            ColumnKind::Int4 => "integer",
            ColumnKind::Int8 => "bigint",
            ColumnKind::Float8 => "double precision",
            ColumnKind::Bool => "boolean",
            ColumnKind::Timestamp => "timestamp",
            ColumnKind::Timestamptz => "timestamptz",
            ColumnKind::Numeric(_) => "numeric",
        }
    }
}

/// Quotes a name for SQL.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text for SQL, for any setting of `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''").replace('\\', "\\\\").replace('\0', "\u{fffd}");
    format!(" E'{quoted}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_modifiers_are_lengths_precisions_and_scales() {
        assert_eq!(ColumnKind::from_catalog(1043, 54), Some(ColumnKind::Text(Some(50))));
        assert_eq!(ColumnKind::from_catalog(1043, -1), Some(ColumnKind::Text(None)));
        assert_eq!(ColumnKind::from_catalog(1700, (12 << 16 | 2) + 4), Some(ColumnKind::Numeric(Some((12, 2)))));
        assert_eq!(ColumnKind::from_catalog(1700, (5 << 16 | (-2 & 0x7ff)) + 4), Some(ColumnKind::Numeric(Some((5, -2)))));
        assert_eq!(ColumnKind::from_catalog(1114, 3), None);
        assert_eq!(ColumnKind::from_catalog(2950, -1), None);
    }

    #[test]
    fn a_smaller_scale_is_refused_and_a_smaller_precision_bounds_the_values() {
        let view = ColumnType::Decimal(12, 2);
        assert!(!ColumnKind::Numeric(Some((12, 1))).takes(view));
        let table = ColumnKind::Numeric(Some((5, 3)));
        assert!(table.takes(view));
        assert_eq!(table.bound(view), Bound::Decimal(10_000));
    }

    #[test]
    fn names_and_texts_cannot_break_out_of_their_quotes() {
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("a'\\b"), " E'a''\\\\b'");
    }
}
