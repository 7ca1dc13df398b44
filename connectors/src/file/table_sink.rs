//! Changes of views as JSON lines.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use freshet_model::{Commit, DeadLetter, Epoch, TableSchema};

use super::Appender;
use super::batch_sink::{target, thing};
use super::rejects::{write_dead, write_late};
use crate::format::to_json::{Rows, write_text};
use crate::{Error, SinkOptions, TableSink};

/// A file to which each change of a view is appended, one line each:
/// `{"_op":"upsert","_epoch":7,"_view":"page_view_counts",` and the row's columns, or `"_op":"delete"` and the key's.
///
/// Beside `name.ndjson`, `name.late.ndjson` takes the late events and `name.dead.ndjson` the dead letters, once there are any. Within a
/// commit, a view's deletes come before its upserts. The file must have no other writer.
pub struct NdjsonTableSink {
    thing: String,
    path: PathBuf,
    changes: Appender,
    late: Option<Appender>,
    dead: Option<Appender>,
    /// The names of the views, as JSON.
    views: Vec<Vec<u8>>,
    rows: Rows,
}

impl NdjsonTableSink {
    /// Opens or creates the file of a URL, `file://path`.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub fn open(url: &str, options: SinkOptions) -> Result<NdjsonTableSink, Error> {
        let (thing, path) = (thing(&options), target(url, &options)?);
        let changes = Appender::open(&thing, &path)?;
        Ok(NdjsonTableSink { thing, path, changes, late: None, dead: None, views: Vec::new(), rows: Rows::default() })
    }

    fn add(&mut self, operation: &str, epoch: Epoch, view: usize, rows: &RecordBatch) {
        self.rows.encode(rows);
        let name = self.views.get(view).map_or(&b"null"[..], Vec::as_slice);
        let mut prefix = format!("{{\"_op\":\"{operation}\",\"_epoch\":{epoch},\"_view\":").into_bytes();
        prefix.extend_from_slice(name);
        let lines = self.changes.lines();
        for row in self.rows.iter() {
            lines.extend_from_slice(&prefix);
            // A row is `{…}`: what follows its brace continues the object that the prefix began.
            if row != b"{}" {
                lines.push(b',');
            }
            lines.extend_from_slice(&row[1..]);
            lines.push(b'\n');
        }
    }

    fn encode(&mut self, commit: &Commit) -> Result<(), Error> {
        for view in &commit.views {
            self.add("delete", commit.epoch, view.view, &view.deletes);
            self.add("upsert", commit.epoch, view.view, &view.upserts);
        }
        if !commit.late.is_empty() {
            let lines = beside(&mut self.late, &self.thing, &self.path, "late.ndjson")?.lines();
            commit.late.iter().for_each(|late| write_late(lines, late));
        }
        if !commit.dead.is_empty() {
            let lines = beside(&mut self.dead, &self.thing, &self.path, "dead.ndjson")?.lines();
            commit.dead.iter().for_each(|letter| write_dead(lines, letter));
        }
        Ok(())
    }

    fn files(&mut self) -> impl Iterator<Item = &mut Appender> {
        std::iter::once(&mut self.changes).chain(&mut self.late).chain(&mut self.dead)
    }
}

/// Opens a further file the first time that it is needed.
fn beside<'a>(slot: &'a mut Option<Appender>, thing: &str, path: &Path, extension: &str) -> Result<&'a mut Appender, Error> {
    let appender = match slot.take() {
        Some(appender) => appender,
        None => Appender::open(thing, &path.with_extension(extension))?,
    };
    Ok(slot.insert(appender))
}

impl TableSink for NdjsonTableSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        let quoted = |view: &TableSchema| {
            let mut name = Vec::new();
            write_text(&mut name, &view.name);
            name
        };
        self.views = views.iter().map(quoted).collect();
        Ok(None)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        self.files().try_for_each(Appender::mark)?;
        let result = self.encode(commit).and_then(|()| self.files().try_for_each(Appender::flush));
        if result.is_err() {
            self.files().for_each(Appender::take_back);
        }
        result.map(|()| Vec::new())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
