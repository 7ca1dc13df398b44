//! Which line feeds of a CSV file end a record: those outside of quotes.
//!
//! Follows the text as the reader of records does: a quote opens a quoted value only where a value begins, two of them inside are one, and
//! what follows a closing quote belongs to the value.

/// Where in a record the text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value begins.
    Begin,
    /// In a value without quotes, or behind the quoted part of one.
    Plain,
    Quoted,
    /// Behind a quote that closes the quotes, unless another follows.
    Closed,
}

/// A cursor over the text of a CSV file.
#[derive(Debug)]
pub(super) struct Quotes {
    delimiter: u8,
    state: State,
}

impl Quotes {
    /// Begins at the first byte of a file.
    pub(super) fn new(delimiter: u8) -> Quotes {
        Quotes { delimiter, state: State::Begin }
    }

    /// Goes on over these bytes, to the first line feed that ends a record, if there is one.
    pub(super) fn line_feed(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::Closed,
                (State::Quoted, _) => State::Quoted,
                (State::Begin | State::Closed, b'"') => State::Quoted,
                (_, b'\n') => {
                    self.state = State::Begin;
                    return Some(at);
                }
                (_, byte) if byte == self.delimiter => State::Begin,
                _ => State::Plain,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Splits a text into records, of which each keeps its line feed, however the text comes in parts.
    fn records(text: &[u8], part: usize) -> Vec<Vec<u8>> {
        let (mut quotes, mut records, mut record) = (Quotes::new(b','), Vec::new(), Vec::new());
        for part in text.chunks(part) {
            let mut rest = part;
            while let Some(at) = quotes.line_feed(rest) {
                record.extend_from_slice(&rest[..=at]);
                records.push(std::mem::take(&mut record));
                rest = &rest[at + 1..];
            }
            record.extend_from_slice(rest);
        }
        records.extend((!record.is_empty()).then_some(record));
        records
    }

    /// Splits as the reader of records does, which alone knows where it ends one.
    fn oracle(text: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = csv_core::ReaderBuilder::new().terminator(csv_core::Terminator::Any(b'\n')).build();
        let (mut output, mut ends) = ([0; 1000], [0; 1000]);
        let (mut records, mut from) = (Vec::new(), 0);
        while from < text.len() {
            let (_, read, _, _) = reader.read_record(&text[from..], &mut output, &mut ends);
            records.push(text[from..from + read].to_vec());
            from += read;
        }
        records
    }

    proptest! {
        #[test]
        fn records_end_where_the_reader_of_records_ends_them(text in "[a\",\n]{0,40}", part in 1_usize..7) {
            // That reader passes over empty lines, which here are records.
            let text = text.split('\n').map(|line| format!("x{line}")).collect::<Vec<_>>().join("\n").replace("\nx\"", "\n\"");
            prop_assert_eq!(records(text.as_bytes(), part), oracle(text.as_bytes()), "{:?}", text);
        }
    }
}
