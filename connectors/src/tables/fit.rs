//! What a table can hold: finds the rows of a commit that it cannot, before the database has to.
//!
//! A database that meets one impossible value refuses the whole transaction, and would refuse it again for ever. So every row is
//! compared with the *existing* table first; a row that does not fit is left out and becomes a dead letter. PostgreSQL and SQLite
//! share this module: they differ in the [`Room`] of their columns only.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use freshet_model::{Column, ColumnType, DeadLetter, Reason, TableSchema};

use super::rejects::refused_row;

/// What one column of a table can hold.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// The values that fit.
    pub(crate) bound: Bound,
    /// Whether NULL does not fit.
    pub(crate) not_null: bool,
}

/// The values that fit into a column. Text never fits with a NUL character in it: neither database keeps one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// Every value of the column's type.
    Any,
    /// Text of at most so many characters, when given.
    Text(Option<u32>),
    /// Integers between the two, both included.
    Integer(i64, i64),
    /// Decimals whose unscaled absolute value is below this.
    Decimal(u128),
    /// Times between the two, both included, as microseconds since 1970.
    Time(i64, i64),
    /// Floats that are numbers.
    Number,
}

/// What a whole row may have.
#[derive(Debug, Clone)]
pub(crate) struct TableRoom {
    /// One for each column of the view.
    pub(crate) columns: Vec<Room>,
    /// Largest size of a key, if the table's index has a limit.
    pub(crate) max_key_bytes: Option<usize>,
}

/// The changes of one view, after the rows that do not fit have been taken out.
pub(crate) struct Fitted {
    /// Rows to insert or replace.
    pub(crate) upserts: RecordBatch,
    /// Keys to delete; also those of the rows that were taken out, whose former versions would be stale.
    pub(crate) deletes: RecordBatch,
    /// The rows that were taken out.
    pub(crate) refused: Vec<DeadLetter>,
}

type Misfits = BTreeMap<usize, (Reason, String)>;

impl TableRoom {
    /// Splits the changes of a view into those that fit and dead letters.
    pub(crate) fn fit(&self, view: &TableSchema, upserts: &RecordBatch, deletes: &RecordBatch) -> Fitted {
        let mut misfits = misfits(view.columns.iter().zip(&self.columns), upserts);
        self.check_keys(view, &keys_of(view, upserts), &mut misfits);
        if misfits.is_empty() {
            return Fitted { upserts: upserts.clone(), deletes: self.fit_keys(view, deletes), refused: Vec::new() };
        }
        let refused = misfits.iter().map(|(&row, (reason, detail))| refused_row(view, upserts, row, *reason, detail)).collect();
        let kept = select(upserts, |row| !misfits.contains_key(&row));
        if view.keeps_all() {
            return Fitted { upserts: kept, deletes: deletes.clone(), refused };
        }
        let gone = keys_of(view, &select(upserts, |row| misfits.contains_key(&row)));
        let deletes = concat_batches(&view.key_arrow(), [deletes, &gone]).expect("keys of one view have one type");
        Fitted { upserts: kept, deletes: self.fit_keys(view, &deletes), refused }
    }

    /// Leaves out the keys that the table cannot hold: they are not in it, and the database may not even take the question.
    fn fit_keys(&self, view: &TableSchema, keys: &RecordBatch) -> RecordBatch {
        let mut misfits = misfits(view.key.iter().map(|&column| (&view.columns[column], &self.columns[column])), keys);
        self.check_keys(view, keys, &mut misfits);
        if misfits.is_empty() { keys.clone() } else { select(keys, |row| !misfits.contains_key(&row)) }
    }

    /// Finds the keys that are too large for the table's index; only texts can make them so.
    fn check_keys(&self, view: &TableSchema, keys: &RecordBatch, misfits: &mut Misfits) {
        /// More than any value that is not a text needs, and than the header of one.
        const FIXED_BYTES: usize = 24;
        let Some(limit) = self.max_key_bytes else { return };
        let is_text = |column: &usize| matches!(view.columns[*column].column_type, ColumnType::Text(_));
        let texts = view.key.iter().zip(keys.columns()).filter(|(column, _)| is_text(column));
        let texts: Vec<_> = texts.map(|(_, array)| array.as_string::<i32>()).collect();
        if texts.is_empty() {
            return;
        }
        for row in 0..keys.num_rows() {
            let bytes: usize = texts.iter().map(|text| text.value_length(row) as usize).sum();
            if bytes + FIXED_BYTES * view.key.len() > limit {
                let detail = format!("key with {bytes} bytes of text, an entry of the table's index holds {limit} in all");
                add(misfits, row, Reason::TooLong, detail);
            }
        }
    }
}

/// Finds the rows that do not fit, with the first reason of each.
fn misfits<'a>(columns: impl Iterator<Item = (&'a Column, &'a Room)>, rows: &RecordBatch) -> Misfits {
    let mut misfits = Misfits::new();
    for ((column, room), array) in columns.zip(rows.columns()) {
        if room.not_null && array.null_count() > 0 {
            let nulls = (0..array.len()).filter(|&row| array.is_null(row));
            let detail = || format!("column {}: NULL, but the table's column is NOT NULL", column.name);
            nulls.for_each(|row| add(&mut misfits, row, Reason::DoesNotFit, detail()));
        }
        check(&column.name, room.bound, array, &mut misfits);
    }
    misfits
}

fn add(misfits: &mut Misfits, row: usize, reason: Reason, detail: String) {
    misfits.entry(row).or_insert((reason, detail));
}

/// Finds the values of one column that are out of its bound.
fn check(name: &str, bound: Bound, array: &ArrayRef, misfits: &mut Misfits) {
    let mut refuse = |row, what: String| add(misfits, row, Reason::DoesNotFit, format!("column {name}: {what}"));
    match bound {
        Bound::Any => {}
        Bound::Text(max_chars) => check_text(name, max_chars, array, misfits),
        Bound::Integer(min, max) => {
            for (row, value) in array.as_primitive::<Int64Type>().iter().enumerate() {
                if value.is_some_and(|value| value < min || value > max) {
                    refuse(row, format!("bigint outside {min} to {max}, which the table's column holds"));
                }
            }
        }
        Bound::Decimal(limit) => {
            for (row, value) in array.as_primitive::<Decimal128Type>().iter().enumerate() {
                if value.is_some_and(|value| value.unsigned_abs() >= limit) {
                    refuse(row, "decimal with more digits than the table's column holds".to_owned());
                }
            }
        }
        Bound::Time(min, max) => {
            for (row, value) in array.as_primitive::<TimestampMicrosecondType>().iter().enumerate() {
                if value.is_some_and(|value| value < min || value > max) {
                    refuse(row, "timestamp outside the years that the table's column holds".to_owned());
                }
            }
        }
        Bound::Number => {
            for (row, value) in array.as_primitive::<Float64Type>().iter().enumerate() {
                if value.is_some_and(f64::is_nan) {
                    refuse(row, "double that is not a number, which the table's column does not hold".to_owned());
                }
            }
        }
    }
}

fn check_text(name: &str, max_chars: Option<u32>, array: &ArrayRef, misfits: &mut Misfits) {
    let limit = max_chars.map_or(usize::MAX, |chars| chars as usize);
    for (row, text) in array.as_string::<i32>().iter().enumerate() {
        let Some(text) = text else { continue };
        // A text has at most as many characters as bytes: most need no counting.
        if text.len() > limit && text.chars().count() > limit {
            let detail = format!("column {name}: text of {} characters, the table holds {limit}", text.chars().count());
            add(misfits, row, Reason::TooLong, detail);
        } else if text.as_bytes().contains(&0) {
            add(misfits, row, Reason::NulCharacter, format!("column {name}: text with a NUL character"));
        }
    }
}

/// Returns the rows of a batch that meet a condition, in order.
pub(crate) fn select(rows: &RecordBatch, keep: impl Fn(usize) -> bool) -> RecordBatch {
    let kept: UInt32Array = (0u32..).take(rows.num_rows()).filter(|&row| keep(row as usize)).collect::<Vec<_>>().into();
    take_record_batch(rows, &kept).expect("the rows exist")
}

/// Returns the key columns of whole rows, in the key's order.
pub(crate) fn keys_of(view: &TableSchema, rows: &RecordBatch) -> RecordBatch {
    rows.project(&view.key).expect("the key's columns exist")
}

/// Returns the bound of a decimal column of `precision` digits, `scale` of them after the point, for values of scale `value_scale`.
pub(crate) fn decimal_bound(precision: i32, scale: i32, value_scale: i32) -> Bound {
    let digits = u32::try_from(precision - scale + value_scale).unwrap_or(0);
    10u128.checked_pow(digits).map_or(Bound::Any, Bound::Decimal)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    fn view(types: &[(&str, ColumnType)]) -> TableSchema {
        let columns = types.iter().map(|&(name, column_type)| Column { name: name.to_owned(), column_type }).collect();
        TableSchema { name: "v".to_owned(), columns, key: vec![0], appends: false, time_column: None }
    }

    #[test]
    fn rows_that_do_not_fit_are_taken_out_and_their_keys_deleted() {
        let view = view(&[("k", ColumnType::Text(Some(3))), ("n", ColumnType::BigInt)]);
        let room = TableRoom {
            columns: vec![
                Room { bound: Bound::Text(Some(3)), not_null: true },
                Room { bound: Bound::Integer(-9, 9), not_null: false },
            ],
            max_key_bytes: None,
        };
        let keys = StringArray::from(vec![Some("äöü"), Some("abcd"), Some("a\0"), None, Some("x"), Some("y")]);
        let counts = Int64Array::from(vec![Some(1), Some(1), Some(1), Some(1), Some(10), None]);
        let upserts = RecordBatch::try_new(view.arrow(), vec![Arc::new(keys), Arc::new(counts)]).unwrap();
        let deletes = RecordBatch::try_new(view.key_arrow(), vec![Arc::new(StringArray::from(vec!["old"]))]).unwrap();

        let fitted = room.fit(&view, &upserts, &deletes);

        assert_eq!(fitted.upserts.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["äöü", "y"]);
        let deleted: Vec<_> = fitted.deletes.column(0).as_string::<i32>().iter().collect();
        assert_eq!(deleted, [Some("old"), Some("x")], "the other keys cannot be in the table");
        let reasons: Vec<_> = fitted.refused.iter().map(|letter| letter.reason).collect();
        assert_eq!(reasons, [Reason::TooLong, Reason::NulCharacter, Reason::DoesNotFit, Reason::DoesNotFit]);
        assert!(fitted.refused[0].detail.contains("column k: text of 4 characters, the table holds 3"));
        assert_eq!(fitted.refused[3].payload, br#"{"k":"x","n":10}"#);
    }

    #[test]
    fn numbers_and_times_have_bounds() {
        let types = [("k", ColumnType::Decimal(10, 2)), ("t", ColumnType::Timestamp), ("d", ColumnType::Double)];
        let view = view(&types);
        let bounds = [decimal_bound(4, 2, 2), Bound::Time(0, 100), Bound::Number];
        let columns = bounds.map(|bound| Room { bound, not_null: false }).to_vec();
        let decimals = Decimal128Array::from(vec![9999, -10_000, 1, 1]).with_precision_and_scale(10, 2).unwrap();
        let times = TimestampMicrosecondArray::from(vec![100, 0, 101, 0]);
        let doubles = Float64Array::from(vec![f64::INFINITY, 0.0, 0.0, f64::NAN]);
        let rows = RecordBatch::try_new(view.arrow(), vec![Arc::new(decimals), Arc::new(times), Arc::new(doubles)]).unwrap();
        let room = TableRoom { columns, max_key_bytes: None };
        assert_eq!(room.fit(&view, &rows, &rows.project(&[0]).unwrap().slice(0, 0)).refused.len(), 3);
        assert_eq!(decimal_bound(38, 0, 2), Bound::Any);
    }

    #[test]
    fn a_key_too_large_for_an_index_does_not_fit() {
        let view = view(&[("k", ColumnType::Text(None))]);
        let columns = vec![Room { bound: Bound::Text(None), not_null: false }];
        let keys = StringArray::from(vec!["x".repeat(50), "x".repeat(200)]);
        let rows = RecordBatch::try_new(view.arrow(), vec![Arc::new(keys)]).unwrap();
        let room = TableRoom { columns, max_key_bytes: Some(100) };
        let fitted = room.fit(&view, &rows, &rows.slice(0, 0));
        assert_eq!((fitted.upserts.num_rows(), fitted.refused.len()), (1, 1));
    }
}
