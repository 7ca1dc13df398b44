//! Changes of views as JSON lines.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use freshet_model::{Commit, DeadLetter, Epoch, TableSchema};

use super::batch_sink::{target, thing};
use super::rejects::{write_dead, write_late};
use super::store::Store;
use crate::format::to_json::{Rows, write_text};
use crate::tables::rejects::SHORT_PAYLOAD_BYTES;
use crate::{Error, SinkOptions, TableSink};

/// A file to which each change of a view is appended, one line each:
/// `{"_op":"upsert","_epoch":7,"_view":"page_view_counts",` and the row's columns, or `"_op":"delete"` and the key's; `"_op":"insert"` where all
/// rows of a view stay.
///
/// Beside `name.ndjson`, `name.late.ndjson` takes the late events and `name.dead.ndjson` the dead letters, once there are any. Within a
/// commit, a view's deletes come before its upserts. The files have no other writer.
///
/// Exactly once: a commit returns when the disk has its lines and the fact that they are those of its epoch, which costs two or three waits for the
/// disk. What a crash leaves of a commit that did not return is cut off by the next [`prepare`](TableSink::prepare).
pub struct NdjsonTableSink {
    thing: String,
    options: SinkOptions,
    /// Changes, late events, dead letters.
    paths: [PathBuf; 3],
    /// So much of a dead letter's record is kept.
    max_payload_bytes: usize,
    store: Option<Store>,
    /// For each view its name, as JSON, and what becomes of a row.
    views: Vec<(Vec<u8>, &'static str)>,
    rows: Rows,
}

impl NdjsonTableSink {
    /// Means the file of a URL, `file://path`.
    ///
    /// # Errors
    /// The URL names no file.
    pub fn open(url: &str, options: SinkOptions) -> Result<NdjsonTableSink, Error> {
        let (thing, path) = (thing(&options), target(url, &options)?);
        let paths = [path.clone(), path.with_extension("late.ndjson"), path.with_extension("dead.ndjson")];
        Ok(NdjsonTableSink::new(thing, options, paths, SHORT_PAYLOAD_BYTES))
    }

    /// Means the file of a URL as a place for late events, for dead letters, or for both: they go into it, and there are no other files.
    ///
    /// # Errors
    /// The URL names no file.
    pub fn for_rejects(url: &str, options: SinkOptions, max_payload_bytes: usize) -> Result<NdjsonTableSink, Error> {
        let (thing, path) = (thing(&options), target(url, &options)?);
        Ok(NdjsonTableSink::new(thing, options, [path.clone(), path.clone(), path], max_payload_bytes))
    }

    fn new(thing: String, options: SinkOptions, paths: [PathBuf; 3], max_payload_bytes: usize) -> NdjsonTableSink {
        NdjsonTableSink { thing, options, paths, max_payload_bytes, store: None, views: Vec::new(), rows: Rows::default() }
    }

    /// Appends the changes of a view to `lines`.
    fn add(&mut self, lines: &mut Vec<u8>, operation: &str, epoch: Epoch, view: usize, rows: &RecordBatch) {
        self.rows.encode(rows);
        let name = self.views.get(view).map_or(&b"null"[..], |(name, _)| name);
        let mut prefix = format!("{{\"_op\":\"{operation}\",\"_epoch\":{epoch},\"_view\":").into_bytes();
        prefix.extend_from_slice(name);
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

    fn write(&mut self, store: &mut Store, commit: &Commit) -> Result<(), Error> {
        let [changes, late, dead] = &self.paths.clone();
        let lines = store.file(changes)?.lines();
        for view in &commit.views {
            let upsert = self.views.get(view.view).map_or("upsert", |(_, operation)| operation);
            self.add(lines, "delete", commit.epoch, view.view, &view.deletes);
            self.add(lines, upsert, commit.epoch, view.view, &view.upserts);
        }
        if commit.late().next().is_some() {
            let lines = store.file(late)?.lines();
            commit.late().for_each(|(part, late)| write_late(lines, part, late));
        }
        if commit.dead().next().is_some() {
            let lines = store.file(dead)?.lines();
            commit.dead().for_each(|(part, letter)| write_dead(lines, part, letter, self.max_payload_bytes));
        }
        store.commit(commit.epoch)
    }
}

impl TableSink for NdjsonTableSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        let quoted = |view: &TableSchema| {
            let mut name = Vec::new();
            write_text(&mut name, &view.name);
            (name, if view.keeps_all() { "insert" } else { "upsert" })
        };
        self.views = views.iter().map(quoted).collect();
        // A second preparation by this sink must find the files free.
        self.store = None;
        let store = Store::open(&self.thing, &self.paths, &self.options)?;
        let held = store.held();
        self.store = Some(store);
        Ok(held)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        let not_prepared = || Error::setup(&self.thing, "was not prepared", "prepare it first");
        let mut store = self.store.take().ok_or_else(not_prepared)?;
        let mut result = Ok(());
        if store.held() < Some(commit.epoch) {
            // What an earlier try has left goes first.
            result = store.take_back().and_then(|()| self.write(&mut store, commit));
        }
        if result.is_err()
            && let Err(error) = store.take_back()
        {
            tracing::warn!(%error, "lines of a commit that failed stay until it is tried again");
        }
        self.store = Some(store);
        result.map(|()| Vec::new())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
