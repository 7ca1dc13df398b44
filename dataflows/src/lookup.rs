//! A version of a table in memory: its rows, found by their key.
//!
//! Workers of a process share it, and it never changes: another version is another [`Lookup`].

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, lexsort_to_indices, take, take_record_batch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;

use crate::epochs::Version;
use crate::keys::{Interner, KeyCodec};

/// Returns a version of a table once it is in memory, and wakes the operator when it is. Asking for one says that older ones are not needed any more.
pub type Versions = Box<dyn FnMut(Version) -> Option<Arc<Lookup>>>;

/// The rows of a table, by their key.
pub struct Lookup {
    rows: RecordBatch,
    codec: KeyCodec,
    /// The key of each row, by its number.
    keys: Interner,
}

/// What tells that columns are no key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoKey {
    /// Two rows have this key.
    Twice(String),
    /// A row has NULL in this column of the key.
    Null(String),
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoKey::Twice(key) => write!(f, "two rows have the key {key}"),
            NoKey::Null(column) => write!(f, "a row has NULL in '{column}', a column of its key"),
        }
    }
}

impl Lookup {
    /// Puts rows in the order of their keys, the columns with these indices, so that equal tables have equal rows.
    ///
    /// # Errors
    /// The columns are no key of the rows.
    ///
    /// # Panics
    /// If the rows have no such columns.
    pub fn new(rows: &RecordBatch, key: &[usize]) -> Result<Lookup, NoKey> {
        let schema = rows.schema();
        if let Some(&null) = key.iter().find(|&&column| rows.column(column).null_count() > 0) {
            return Err(NoKey::Null(schema.field(null).name().clone()));
        }
        let order = |&column: &usize| SortColumn { values: Arc::clone(rows.column(column)), options: None };
        let order = lexsort_to_indices(&key.iter().map(order).collect::<Vec<_>>(), None);
        let order = order.expect("invariant: a key has columns, and each type has an order");
        let rows = take_record_batch(rows, &order).expect("invariant: the order names rows that are there");
        let columns: Vec<ArrayRef> = key.iter().map(|&column| Arc::clone(rows.column(column))).collect();
        let codec = KeyCodec::new(&columns.iter().map(|column| column.data_type().clone()).collect::<Vec<DataType>>());
        let mut keys = Interner::default();
        let packed = codec.pack(&columns);
        let twice = (0..rows.num_rows()).find(|&row| (keys.intern(&packed, row) as usize) < row);
        drop(packed);
        match twice {
            Some(row) => Err(NoKey::Twice(shown(&rows, key, row))),
            None => Ok(Lookup { rows, codec, keys }),
        }
    }

    /// Returns the rows, in the order of their keys.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Finds for each of these keys the number of the row that has it; NULL if there is none.
    pub(crate) fn find(&self, keys: &[ArrayRef]) -> UInt32Array {
        let packed = self.codec.pack(keys);
        (0..keys[0].len()).map(|row| self.keys.find(&packed, row)).collect()
    }

    /// Returns the columns of the rows with these numbers; a row without one is NULL.
    pub(crate) fn take(&self, numbers: &UInt32Array) -> Vec<ArrayRef> {
        let column = |column: &ArrayRef| take(column, numbers, None).expect("invariant: the numbers are those of rows");
        self.rows.columns().iter().map(column).collect()
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("rows", &self.rows.num_rows()).finish_non_exhaustive()
    }
}

/// Writes the key of a row for people.
fn shown(rows: &RecordBatch, key: &[usize], row: usize) -> String {
    let schema = rows.schema();
    let value = |&column: &usize| {
        let value = array_value_to_string(rows.column(column), row).unwrap_or_default();
        format!("{} = '{value}'", schema.field(column).name())
    };
    key.iter().map(value).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn rows(users: &[Option<&str>], numbers: &[i64]) -> RecordBatch {
        let users: ArrayRef = Arc::new(StringArray::from(users.to_vec()));
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        RecordBatch::try_from_iter([("user_id", users), ("number", numbers)]).expect("columns of one length")
    }

    #[test]
    fn rows_are_found_by_their_key_whatever_their_order() {
        let table = rows(&[Some("b"), Some("a"), Some("")], &[2, 1, 0]);
        let lookup = Lookup::new(&table, &[0]).expect("a key");
        assert_eq!(*lookup.rows(), rows(&[Some(""), Some("a"), Some("b")], &[0, 1, 2]));
        let wanted: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("x"), Some("")]));
        let found = lookup.find(&[wanted]);
        assert_eq!(found, UInt32Array::from(vec![Some(2), None, None, Some(0)]), "NULL equals nothing");
        let expected: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), None, None, Some(0)]));
        assert_eq!(&lookup.take(&found)[1], &expected);
    }

    #[test]
    fn a_key_has_several_columns() {
        let table = rows(&[Some("a"), Some("a")], &[2, 1]);
        let lookup = Lookup::new(&table, &[1, 0]).expect("a key");
        let wanted: [ArrayRef; 2] = [Arc::new(Int64Array::from(vec![2, 3])), Arc::new(StringArray::from(vec!["a", "a"]))];
        assert_eq!(lookup.find(&wanted), UInt32Array::from(vec![Some(1), None]));
    }

    #[test]
    fn what_is_no_key_is_named() {
        let twice = Lookup::new(&rows(&[Some("a"), Some("b"), Some("a")], &[7, 8, 7]), &[0, 1]).expect_err("twice");
        assert_eq!(twice.to_string(), "two rows have the key user_id = 'a', number = '7'");
        let null = Lookup::new(&rows(&[Some("a"), None], &[1, 2]), &[0]).expect_err("NULL");
        assert_eq!(null.to_string(), "a row has NULL in 'user_id', a column of its key");
        assert_eq!(Lookup::new(&rows(&[], &[]), &[0]).expect("empty").rows().num_rows(), 0);
    }
}
