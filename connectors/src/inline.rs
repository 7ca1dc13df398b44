//! A table whose rows stand in the job file.

use arrow::array::RecordBatch;

use crate::table_reader::Rows;
use crate::{Error, TableOptions, TableReader};

/// A table of a few records, which never change while a job runs.
pub struct InlineTable {
    options: TableOptions,
    /// What has not been read yet: all or nothing.
    records: Option<Vec<String>>,
}

impl InlineTable {
    /// Makes a table of these records, written in the options' format.
    #[must_use]
    pub fn new(options: TableOptions, records: Vec<String>) -> InlineTable {
        InlineTable { options, records: Some(records) }
    }
}

impl TableReader for InlineTable {
    fn read(&mut self) -> Result<Option<RecordBatch>, Error> {
        let Some(records) = self.records.take() else { return Ok(None) };
        let mut rows = Rows::new(&self.options)?;
        records.iter().try_for_each(|record| rows.push(record.as_bytes()))?;
        rows.finish().map(Some)
    }
}
