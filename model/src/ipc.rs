//! Columns as bytes, for their way between processes and into a job's state: Arrow's own stream format, schema included.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Deserializer, Serializer, de, ser};

/// Writes columns as bytes.
pub(crate) fn serialize<S: Serializer>(columns: &RecordBatch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&bytes_of(columns).map_err(ser::Error::custom)?)
}

/// Reads columns from what [`serialize`] wrote.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RecordBatch, D::Error> {
    let bytes = <Vec<u8>>::deserialize(deserializer)?;
    columns_of(&bytes).map_err(de::Error::custom)
}

/// Returns columns as bytes.
///
/// # Errors
/// Arrow has no such form of a column, or no memory for it.
pub fn bytes_of(columns: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &columns.schema())?;
    writer.write(columns)?;
    writer.finish()?;
    writer.into_inner()
}

/// Returns the columns that [`bytes_of`] has made bytes of.
///
/// # Errors
/// The bytes are none of those.
pub fn columns_of(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let missing = || ArrowError::IpcError("there are no columns".to_owned());
    StreamReader::try_new(bytes, None)?.next().ok_or_else(missing)?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn columns_come_back_as_they_were_also_a_slice_of_them() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("ccc"), Some("")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(-2), None, Some(4)]));
        let columns = RecordBatch::try_from_iter([("t", texts), ("n", numbers)]).expect("columns of one length");
        for (start, length) in [(0, 4), (1, 2), (3, 1), (2, 0)] {
            let part = columns.slice(start, length);
            let bytes = bytes_of(&part).expect("written");
            assert_eq!(columns_of(&bytes).expect("read"), part);
            assert!(columns_of(&bytes[..bytes.len() / 2]).is_err());
        }
    }

    #[test]
    fn rows_without_columns_keep_their_number() {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        let columns = RecordBatch::try_new_with_options(schema, Vec::new(), &options).expect("no columns");
        assert_eq!(columns_of(&bytes_of(&columns).expect("written")).expect("read").num_rows(), 3);
    }
}
