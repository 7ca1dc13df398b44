//! Reads lines of comma-separated values (RFC 4180): a header, then one record a line.
//!
//! | in the file | becomes |
//! |---|---|
//! | `a,b` | the texts `a` and `b`, each read as its column's type |
//! | `"a,""b"""` | the text `a,"b"`; a quoted value may hold line ends too |
//! | nothing between two delimiters, or `""` | NULL |
//! | a record with more or fewer values than the header has names | a dead letter |

use std::sync::Arc;

use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};
use freshet_model::{ColumnType, Reason};

use super::decoder::as_text;
use super::layout::{Layout, Target, Values};
use super::{columns::Slot, text};

/// Where the values of a file's records go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// For each value of a record, its slot if it has one.
    slots: Vec<Option<usize>>,
}

/// A line that is taken apart.
#[derive(Debug)]
pub(super) struct Line {
    /// Built once: that takes longer than a line does.
    reader: Box<csv_core::Reader>,
    header: Arc<Header>,
    /// The values of a record, one behind the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Line {
    /// Prepares for lines with this delimiter.
    pub(super) fn new(delimiter: u8) -> Line {
        // A carriage return at the end of the line has been taken away; any other belongs to its value.
        let reader = Box::new(ReaderBuilder::new().delimiter(delimiter).terminator(Terminator::Any(b'\n')).build());
        Line { reader, header: Arc::new(Header { slots: Vec::new() }), bytes: Vec::new(), ends: Vec::new() }
    }

    /// Says which values the lines to come have.
    pub(super) fn set_header(&mut self, header: &Arc<Header>) {
        if !Arc::ptr_eq(&self.header, header) {
            self.header = Arc::clone(header);
        }
    }

    /// Reads a line as names; a byte order mark before them is none of theirs.
    pub(super) fn read_header(mut self, line: &[u8], layout: &Layout) -> Header {
        self.split(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line));
        let slot = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            layout.places.iter().position(|place| place.path.join(".") == name.trim())
        };
        Header { slots: self.values().map(slot).collect() }
    }

    /// Reads a record into the slots.
    pub(super) fn read(
        &mut self,
        payload: &[u8],
        layout: &Layout,
        values: &mut Values,
    ) -> Result<&'static str, (Reason, String)> {
        if !self.split(as_text(payload)?.as_bytes()) {
            return Err((Reason::Malformed, "the record has a line end outside of quotes".to_owned()));
        }
        let (found, wanted) = (self.ends.len(), self.header.slots.len());
        if found != wanted {
            return Err((Reason::Malformed, format!("the record has {found} values, the header {wanted}")));
        }
        for (value, slot) in self.values().zip(&self.header.slots) {
            let Some(slot) = *slot else { continue };
            // Taken apart at ASCII characters, a text remains one.
            let value = std::str::from_utf8(value).map_err(|_| (Reason::Malformed, "not UTF-8".to_owned()))?;
            let column_type = match layout.places[slot].target {
                Target::Value(column_type) => column_type,
                Target::Raw => ColumnType::Text(None),
            };
            values.slots[slot] = if value.is_empty() { Slot::Null } else { text::read(value, column_type, &mut values.texts) };
        }
        Ok("")
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// Takes a line apart, and tells whether it was one record to its end.
    fn split(&mut self, line: &[u8]) -> bool {
        self.bytes.resize(line.len(), 0);
        self.ends.resize(line.len() + 1, 0);
        self.reader.reset();
        let (mut read, mut written, mut ended) = (0, 0, 0);
        loop {
            let (result, more_read, more_written, more_ended) =
                self.reader.read_record(&line[read..], &mut self.bytes[written..], &mut self.ends[ended..]);
            read += more_read;
            written += more_written;
            ended += more_ended;
            match result {
                // The next call is given nothing more, which ends the record.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2 + 1, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2 + 1, 0),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        self.ends.truncate(ended);
        read == line.len()
    }
}

#[cfg(test)]
mod tests {
    use freshet_model::{Batch, Column, Progress};

    use super::super::{Decoders, Encoding, Format};
    use crate::SourceOptions;

    fn decode(header: &str, lines: &[&str]) -> Batch {
        let columns = [("name", "varchar(5)"), ("hits", "bigint"), ("price", "decimal(6,2)"), ("at", "timestamp")];
        let columns = columns.map(|(n, t)| Column { name: n.to_owned(), column_type: t.parse().expect("a type") });
        let decoders = Decoders::open(&SourceOptions {
            format: Format { encoding: Encoding::Csv { delimiter: b';' }, ..Format::default() },
            ..crate::format::tests::options(&columns)
        })
        .expect("columns that fit");
        let mut decoder = decoders.decoder();
        decoder.set_header(&decoders.header(header.as_bytes()).expect("CSV has a header"));
        for (offset, line) in lines.iter().enumerate() {
            decoder.decode(offset as i64, Some(line.as_bytes()));
        }
        decoder.finish(0, 0..lines.len() as i64, Progress::AtEnd)
    }

    fn shown(batch: &Batch) -> String {
        crate::format::rows(&batch.columns)
            .iter()
            .map(|row| String::from_utf8_lossy(row).into_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn values_go_to_the_columns_that_the_header_names() {
        let batch = decode("\u{feff}other;price;name;hits", &["x;1.5;\"a;\"\"\";7", "x;;\"\";", "x;-2;\"b\nc\"; 8 "]);
        assert!(batch.dead.is_empty(), "{:?}", batch.dead);
        let rows = [
            r#"{"name":"a;\"","hits":7,"price":1.50,"at":null}"#,
            r#"{"name":null,"hits":null,"price":null,"at":null}"#,
            r#"{"name":"b\nc","hits":8,"price":-2.00,"at":null}"#,
        ];
        assert_eq!(shown(&batch), rows.join("\n"));
    }

    #[test]
    fn what_does_not_fit_is_a_dead_letter() {
        let lines = ["a;1", "a", "a;1;2", "a;x", "a;1.5", "abcdef;1", "a;\"1", "a\0;1", "", "a\n;1"];
        let batch = decode("name;hits", &lines);
        let reasons: Vec<&str> = batch.dead.iter().map(|letter| letter.reason.code()).collect();
        let wanted =
            ["malformed", "malformed", "wrong_type", "wrong_type", "too_long", "nul_character", "empty_payload", "malformed"];
        assert_eq!(reasons, wanted);
        assert_eq!(batch.offsets, [0, 6], "an open quote ends with its record");
    }
}
