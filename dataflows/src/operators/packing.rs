//! Packs the columns that a side of a join keeps.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{Field, Schema};

use crate::keys::{PackedRows, RowCodec};
use crate::plan::Expression;
use crate::state::Bytes;

/// Packs columns into bytes.
pub struct Packing {
    codec: RowCodec,
    /// The row that stands where the side has none.
    null: Bytes,
}

impl Packing {
    /// Builds the packing of these columns.
    #[must_use]
    pub fn new(columns: &[Expression]) -> Packing {
        let fields: Vec<Field> = columns.iter().map(|column| Field::new(&column.text, column.data_type.clone(), true)).collect();
        let codec = RowCodec::new(Arc::new(Schema::new(fields)));
        let nulls: Vec<ArrayRef> = columns.iter().map(|column| new_null_array(&column.data_type, 1)).collect();
        let null = Bytes::from(codec.pack(&nulls).row(0));
        Packing { codec, null }
    }

    pub(super) fn pack(&self, columns: &[ArrayRef]) -> PackedRows {
        self.codec.pack(columns)
    }

    /// Unpacks rows, with NULL in all columns of those that are not there.
    pub(super) fn unpack<'a>(&'a self, rows: impl Iterator<Item = Option<&'a Bytes>>) -> Vec<ArrayRef> {
        self.codec.unpack(rows.map(|row| &**row.unwrap_or(&self.null))).columns().to_vec()
    }
}
