//! Packs the columns that a side of a join keeps.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{Field, Schema};

use crate::keys::{PackedRows, RowCodec};
use crate::plan::Expression;

/// Packs columns into bytes.
pub struct Packing {
    codec: RowCodec,
    /// The row that stands where the side has none.
    null: Vec<u8>,
}

impl Packing {
    /// Builds the packing of these columns.
    #[must_use]
    pub fn new(columns: &[Expression]) -> Packing {
        let fields: Vec<Field> = columns.iter().map(|column| Field::new(&column.text, column.data_type.clone(), true)).collect();
        let codec = RowCodec::new(Arc::new(Schema::new(fields)));
        let nulls: Vec<ArrayRef> = columns.iter().map(|column| new_null_array(&column.data_type, 1)).collect();
        let null = codec.pack(&nulls).row(0).to_vec();
        Packing { codec, null }
    }

    pub(super) fn pack(&self, columns: &[ArrayRef]) -> PackedRows {
        self.codec.pack(columns)
    }

    /// Unpacks rows, with NULL in all columns of those that are not there.
    pub(super) fn unpack<'a>(&'a self, rows: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<ArrayRef> {
        self.codec.unpack(rows.map(|row| row.unwrap_or(&self.null))).columns().to_vec()
    }
}
