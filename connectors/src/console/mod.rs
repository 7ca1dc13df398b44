//! Views and rows as lines for a person to watch.
//!
//! ```text
//! page_view_counts | + | window_start=2026-01-29T09:31:00 | window_end=2026-01-29T09:32:00 | page_url=/cart | view_count=17
//! page_view_counts | - | window_start=2026-01-29T09:31:00 | page_url=/cart
//! page_view_counts | late | user_activity 0@4711 | 43 s after its window closed | {"user_id":"user_1",…}
//! user_activity | dead | 0@4712 | malformed | not JSON: …
//! ```
//!
//! A terminal takes nothing back and remembers no epoch: what is replayed after a crash is shown again (at least once).
//!
//! Control characters are escaped, so that no record can command the terminal. When nobody reads any more (a closed pipe), the sink
//! goes on in silence.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_model::{Commit, DeadLetter, Epoch, LateEvent, PartitionId, TableSchema};

use crate::{BatchSink, Error, SinkOptions, TableSink};

/// Append-only rows are written when this much waits, or at a seal.
const FULL_BYTES: usize = 1 << 20;

/// A sink that writes lines to the standard output.
pub struct ConsoleSink {
    thing: String,
    out: Box<dyn Write + Send>,
    /// The names of the views, or of the append-only rows.
    names: Vec<String>,
    lines: String,
    closed: bool,
}

impl ConsoleSink {
    /// Writes to the standard output.
    #[must_use]
    pub fn open(options: SinkOptions) -> ConsoleSink {
        ConsoleSink::to(Box::new(std::io::stdout()), &options)
    }

    fn to(out: Box<dyn Write + Send>, options: &SinkOptions) -> ConsoleSink {
        let thing = format!("sink '{}'", options.name);
        ConsoleSink { thing, out, names: Vec::new(), lines: String::new(), closed: false }
    }

    fn add_rows(&mut self, view: usize, sign: &str, rows: &RecordBatch) -> Result<(), Error> {
        let name = self.names.get(view).map_or("", String::as_str);
        let options = FormatOptions::default().with_display_error(true).with_null("null");
        let formatters =
            rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>();
        let formatters = formatters.map_err(|error| Error::setup(&self.thing, error.to_string(), "leave the column out"))?;
        let schema = rows.schema();
        for row in 0..rows.num_rows() {
            escape(&mut self.lines, name);
            let _ = write!(self.lines, " | {sign}");
            for (field, formatter) in schema.fields().iter().zip(&formatters) {
                self.lines.push_str(" | ");
                escape(&mut self.lines, field.name());
                self.lines.push('=');
                escape(&mut self.lines, &formatter.value(row).to_string());
            }
            self.lines.push('\n');
        }
        Ok(())
    }

    fn add_late(&mut self, late: &LateEvent) {
        let LateEvent { view, source, partition, offset, event, .. } = late;
        let seconds = late.watermark.0.saturating_sub(late.window_end.0) / 1_000_000;
        let line = format!("{view} | late | {source} {partition}@{offset} | {seconds} s after its window closed | {event}");
        escape(&mut self.lines, &line);
        self.lines.push('\n');
    }

    fn add_dead(&mut self, letter: &DeadLetter) {
        let DeadLetter { source, partition, offset, reason, detail, .. } = letter;
        escape(&mut self.lines, &format!("{source} | dead | {partition}@{offset} | {reason} | {detail}"));
        self.lines.push('\n');
    }

    /// Writes what waits.
    fn flush(&mut self) -> Result<(), Error> {
        let lines = std::mem::take(&mut self.lines);
        if self.closed || lines.is_empty() {
            return Ok(());
        }
        match self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Error::unavailable(&self.thing, format!("writing to the standard output failed: {error}"))),
        }
    }
}

/// Appends a text with its control characters escaped.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character.is_control() {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
}

impl TableSink for ConsoleSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        self.names = views.iter().map(|view| view.name.clone()).collect();
        Ok(None)
    }

    fn keeps_epoch(&self) -> bool {
        false
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        for view in &commit.views {
            self.add_rows(view.view, "-", &view.deletes)?;
            self.add_rows(view.view, "+", &view.upserts)?;
        }
        commit.late().for_each(|(_, late)| self.add_late(late));
        commit.dead().for_each(|(_, letter)| self.add_dead(letter));
        self.flush()?;
        Ok(Vec::new())
    }
}

impl BatchSink for ConsoleSink {
    fn prepare(&mut self, rows: &TableSchema, _: &[PartitionId]) -> Result<BTreeMap<PartitionId, Epoch>, Error> {
        self.names = vec![rows.name.clone()];
        Ok(BTreeMap::new())
    }

    fn write(&mut self, _: Epoch, _: PartitionId, rows: &RecordBatch) -> Result<(), Error> {
        self.add_rows(0, "+", rows)?;
        if self.lines.len() >= FULL_BYTES { self.flush() } else { Ok(()) }
    }

    fn seal(&mut self, _: Epoch) -> Result<(), Error> {
        self.flush()
    }

    fn flush(&mut self, _: Epoch) -> Result<(), Error> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
