//! Files as a table: read as a whole whenever they have changed.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use arrow::array::RecordBatch;

use super::lines::{Line, Lines};
use super::paths;
use crate::format::Encoding;
use crate::open::path_of;
use crate::table_reader::{MAX_RECORD_BYTES, Rows};
use crate::{Error, TableOptions, TableReader};

/// A table in one file, or in several as one.
pub struct FileTable {
    options: TableOptions,
    path: String,
    /// The files as they were when they were read.
    known: Option<Vec<Known>>,
}

/// By what a change of a file is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl FileTable {
    /// Prepares to read `file://path.csv`, or what else a [source](super) may read, in CSV or JSON.
    ///
    /// # Errors
    /// The format is that of a topic.
    pub fn open(url: &str, options: TableOptions) -> Result<FileTable, Error> {
        if options.format.encoding.registry().is_some() {
            return Err(Error::setup(
                options.thing(),
                "records with a registry are messages of a topic",
                "read a file as json or csv",
            ));
        }
        Ok(FileTable { options, path: path_of(url).to_owned(), known: None })
    }

    fn look(&self) -> Result<Vec<Known>, Error> {
        let thing = self.options.thing();
        let pattern = if matches!(self.options.format.encoding, Encoding::Csv { .. }) { "*.csv" } else { "*.ndjson" };
        let look = |path: PathBuf| {
            let found = std::fs::metadata(&path).map_err(|error| self.unreadable(&path, &error))?;
            Ok(Known::of(path, &found))
        };
        paths::find(&thing, &self.path, pattern)?.into_iter().map(look).collect()
    }

    fn unreadable(&self, path: &std::path::Path, error: &std::io::Error) -> Error {
        let problem = format!("cannot read {}: {error}", path.display());
        Error::setup(self.options.thing(), problem, "check the path and its permissions")
    }

    fn read_file(&self, path: &std::path::Path, rows: &mut Rows<'_>) -> Result<(), Error> {
        let mut file = File::open(path).map_err(|error| self.unreadable(path, &error))?;
        let mut lines = match self.options.format.encoding {
            Encoding::Csv { delimiter } => Lines::quoted(MAX_RECORD_BYTES, delimiter),
            Encoding::Json | Encoding::Avro(_) | Encoding::Protobuf(_) => Lines::new(MAX_RECORD_BYTES),
        };
        let mut take = |line: Line<'_>| match line {
            Line::Record(record) => rows.push(record),
            Line::Oversized { bytes, .. } => Err(rows.refuse_length(bytes)),
        };
        while lines.fill(&mut file, u64::MAX).map_err(|error| self.unreadable(path, &error))? > 0 {
            while let Some(line) = lines.next() {
                take(line)?;
            }
        }
        lines.finish().map_or(Ok(()), take)
    }
}

impl Known {
    fn of(path: PathBuf, found: &Metadata) -> Known {
        Known { path, inode: found.ino(), bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()) }
    }
}

impl TableReader for FileTable {
    fn read(&mut self) -> Result<Option<RecordBatch>, Error> {
        let before = self.look()?;
        if self.known.as_ref() == Some(&before) {
            return Ok(None);
        }
        let mut rows = Rows::new(&self.options)?;
        for file in &before {
            rows.begin_file(&file.path)?;
            self.read_file(&file.path, &mut rows)?;
        }
        let rows = rows.finish()?;
        if self.look()? != before {
            return Err(Error::unavailable(self.options.thing(), format!("{} was written while it was read", self.path)));
        }
        self.known = Some(before);
        Ok(Some(rows))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use freshet_model::Column;

    use super::*;
    use crate::format::Format;

    fn options(encoding: Encoding) -> TableOptions {
        let column = |name: &str, kind: &str| Column { name: name.to_owned(), column_type: kind.parse().unwrap() };
        TableOptions {
            name: "users".to_owned(),
            relation: String::new(),
            columns: vec![column("id", "text"), column("age", "bigint")],
            format: Format { encoding, ..Format::default() },
            max_rows: 3,
        }
    }

    fn csv() -> Encoding {
        Encoding::Csv { delimiter: b',' }
    }

    fn ages(rows: &RecordBatch) -> Vec<Option<i64>> {
        rows.column(1).as_primitive::<Int64Type>().iter().collect()
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.csv");
        std::fs::write(&path, "age,name,id\n7,\"Ann\nLee\",u1\n,Bob,u2\n\n").unwrap();
        let mut table = FileTable::open(&format!("file://{}", path.display()), options(csv())).unwrap();
        let rows = table.read().unwrap().unwrap();
        assert_eq!((rows.column(0).as_string::<i32>().value(1), ages(&rows)), ("u2", vec![Some(7), None]));
        assert!(table.read().unwrap().is_none());
        std::fs::write(folder.path().join("new"), "id,age\nu3,9").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(ages(&table.read().unwrap().unwrap()), [Some(9)]);
        std::fs::write(&path, "id,age\n").unwrap();
        assert_eq!(table.read().unwrap().unwrap().num_rows(), 0, "a table may be empty");
    }

    #[test]
    fn the_files_of_a_folder_are_one_table() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.ndjson"), "{\"id\": \"u1\", \"age\": 1}\n{\"age\": 2, \"id\": \"u2\"}").unwrap();
        std::fs::write(folder.path().join("b.ndjson"), "{\"id\": \"u3\"}\n").unwrap();
        let mut table = FileTable::open(&format!("file://{}", folder.path().display()), options(Encoding::Json)).unwrap();
        let rows = table.read().unwrap().unwrap();
        assert_eq!(ages(&rows), [Some(1), Some(2), None]);
        assert_eq!(rows.column(0).null_count(), 0);
    }

    #[test]
    fn what_is_no_table_is_refused_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.csv");
        let mut table = FileTable::open(&format!("file://{}", path.display()), options(csv())).unwrap();
        for (text, expected) in [
            ("id,age\nu1,1\nu2,old\n", "users.csv is no row of it: "),
            ("id,age\nu1\n", "the record has 1 values, the header 2"),
            ("id,age\na,1\nb,2\nc,3\nd,4\n", "it has more than 3 rows; leave out rows"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = table.read().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(table.read().unwrap_err().to_string().contains("check the path"));
    }
}
