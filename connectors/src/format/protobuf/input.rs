//! The wire: fields one after another, each with its number and in one of four forms.

use super::super::binary::{Broken, TOO_SHORT, varint};
use super::super::columns::Span;

/// A value as it is written, whatever it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Varint(u64),
    Fixed64([u8; 8]),
    /// A stretch of the record.
    Bytes(Span),
    Fixed32([u8; 4]),
}

/// A value's form, the lowest three bits of what stands before it.
pub(super) type Form = u64;

pub(super) const VARINT: Form = 0;
pub(super) const FIXED64: Form = 1;
pub(super) const BYTES: Form = 2;
pub(super) const FIXED32: Form = 5;

/// Fields have numbers below this.
const MAX_NUMBER: u64 = 1 << 29;

/// A value in a form that its field's type does not have.
pub(super) const MISFORMED: Broken = Broken::Malformed("a value in another form than its field's");

/// The part of a record that has not been read, or of a message inside of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    record: &'a [u8],
    /// Where it goes on.
    at: usize,
    /// Where it ends; never behind the record.
    end: usize,
}

impl<'a> Input<'a> {
    /// Begins to read a record.
    pub(super) fn new(record: &'a [u8]) -> Input<'a> {
        Input { record, at: 0, end: record.len() }
    }

    /// Begins to read what lies inside of a value.
    pub(super) fn within(record: &'a [u8], value: Wire) -> Result<Input<'a>, Broken> {
        let Wire::Bytes(span) = value else { return Err(MISFORMED) };
        let std::ops::Range { start, end } = span.range();
        if end > record.len() { Err(TOO_SHORT) } else { Ok(Input { record, at: start, end }) }
    }

    /// Returns the record.
    pub(super) fn record(&self) -> &'a [u8] {
        self.record
    }

    /// Tells whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    /// Reads the next field's number and value, unless this was the last one.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<(u32, Wire)>, Broken> {
        if self.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(number) if (1..MAX_NUMBER).contains(&number.into()) => Ok(Some((number, self.value(tag & 7)?))),
            _ => Err(Broken::Malformed("a field number that there is not")),
        }
    }

    /// Reads a value in a form.
    #[inline]
    pub(super) fn value(&mut self, form: Form) -> Result<Wire, Broken> {
        Ok(match form {
            VARINT => Wire::Varint(self.varint()?),
            FIXED64 => Wire::Fixed64(self.array()?),
            FIXED32 => Wire::Fixed32(self.array()?),
            BYTES => {
                let len = usize::try_from(self.varint()?).map_err(|_| TOO_SHORT)?;
                let start = self.at;
                self.at = start.checked_add(len).filter(|&end| end <= self.end).ok_or(TOO_SHORT)?;
                Wire::Bytes(Span { start, len })
            }
            3 | 4 => return Err(Broken::Malformed("a group, which is not read")),
            _ => return Err(Broken::Malformed("a form of values that there is not")),
        })
    }

    fn varint(&mut self) -> Result<u64, Broken> {
        let (value, rest) = varint(&self.record[self.at..self.end])?;
        self.at = self.end - rest.len();
        Ok(value)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let array = self.record[self.at..self.end].first_chunk::<N>().ok_or(TOO_SHORT)?;
        self.at += N;
        Ok(*array)
    }
}

/// Returns the bytes of a value.
pub(super) fn bytes(record: &[u8], value: Wire) -> Result<&[u8], Broken> {
    let Wire::Bytes(span) = value else { return Err(MISFORMED) };
    record.get(span.range()).ok_or(TOO_SHORT)
}

/// Returns the text of a value.
pub(super) fn text(record: &[u8], value: Wire) -> Result<&str, Broken> {
    std::str::from_utf8(bytes(record, value)?).map_err(|_| Broken::Malformed("a text that is not UTF-8"))
}
