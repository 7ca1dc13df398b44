//! Bytes as Avro writes them.

use super::super::binary::{Broken, TOO_SHORT, varint, zigzag};
use super::super::depth::MAX_DEPTH;
use super::schema::{Node, Schema};

/// The part of a record that has not been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    /// Returns what has not been read.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Reads so many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads an array of bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Reads an integer: seven bits a byte, the lowest first, the sign in the lowest.
    pub(super) fn long(&mut self) -> Result<i64, Broken> {
        let (value, rest) = varint(self.rest)?;
        self.rest = rest;
        Ok(zigzag(value))
    }

    /// Reads an integer of 32 bits.
    pub(super) fn int(&mut self) -> Result<i64, Broken> {
        let value = self.long()?;
        i32::try_from(value).map(i64::from).map_err(|_| Broken::Malformed("a number beyond 32 bits"))
    }

    /// Reads bytes with their number before them.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let count = self.long()?;
        self.take(usize::try_from(count).map_err(|_| Broken::Malformed("a length below zero"))?)
    }

    /// Reads a text.
    pub(super) fn text(&mut self) -> Result<&'a str, Broken> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Broken::Malformed("a text that is not UTF-8"))
    }

    /// Reads the number of a union's branch, or of an enum's symbol.
    pub(super) fn index(&mut self, count: usize) -> Result<usize, Broken> {
        let index = usize::try_from(self.long()?).ok().filter(|&index| index < count);
        index.ok_or(Broken::Malformed("a branch that the schema does not have"))
    }

    /// Reads the head of a block of items: their number, and their length if it is told; no items are the end of an array or map.
    ///
    /// Items that take no bytes are refused, save nulls: a few bytes could claim any number of them.
    pub(super) fn block(&mut self, is_null: bool) -> Result<(usize, Option<usize>), Broken> {
        let count = self.long()?;
        let length = if count < 0 { Some(self.long()?) } else { None };
        let size = |n: i64| usize::try_from(n).map_err(|_| Broken::Malformed("a length below zero"));
        let (count, length) = (usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX), length.map(size).transpose()?);
        if count > self.rest.len() && !is_null {
            return Err(Broken::Malformed("more items than bytes"));
        }
        Ok((count, length))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, node: &Node, schema: &Schema, depth: usize) -> Result<(), Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken::TooDeep);
        }
        match node {
            Node::Null => Ok(()),
            Node::Scalar(scalar) => scalar.skip(self),
            Node::Union(branches) => {
                let branch = self.index(branches.len())?;
                self.skip(&branches[branch], schema, depth + 1)
            }
            Node::Record(index) => schema.records[*index].iter().try_for_each(|field| self.skip(&field.node, schema, depth + 1)),
            Node::Array(item) => self.skip_blocks(item, false, schema, depth),
            Node::Map(item) => self.skip_blocks(item, true, schema, depth),
        }
    }

    fn skip_blocks(&mut self, item: &Node, keyed: bool, schema: &Schema, depth: usize) -> Result<(), Broken> {
        loop {
            match self.block(*item == Node::Null && !keyed)? {
                (0, _) => return Ok(()),
                (_, Some(length)) => drop(self.take(length)?),
                (_, None) if *item == Node::Null && !keyed => {}
                (count, None) => {
                    for _ in 0..count {
                        if keyed {
                            self.bytes()?;
                        }
                        self.skip(item, schema, depth + 1)?;
                    }
                }
            }
        }
    }
}
