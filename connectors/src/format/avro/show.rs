//! A value as JSON text.

use super::super::binary::Broken;
use super::super::depth::MAX_DEPTH;
use super::super::to_json::write_text;
use super::input::Input;
use super::schema::{Node, Schema};

/// Appends a value as JSON; a union is its branch's value, without the branch's name.
pub(super) fn show(node: &Node, schema: &Schema, input: &mut Input<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), Broken> {
    if depth > MAX_DEPTH {
        return Err(Broken::TooDeep);
    }
    match node {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Scalar(scalar) => scalar.show(input, out)?,
        Node::Union(branches) => {
            let branch = input.index(branches.len())?;
            show(&branches[branch], schema, input, out, depth + 1)?;
        }
        Node::Record(index) => {
            let mut before = b'{';
            for field in &schema.records[*index] {
                out.push(before);
                before = b',';
                write_text(out, &field.name);
                out.push(b':');
                show(&field.node, schema, input, out, depth + 1)?;
            }
            close(out, before, b'{', b'}');
        }
        Node::Array(item) => {
            let mut before = b'[';
            while let (count @ 1.., _) = input.block(false)? {
                for _ in 0..count {
                    out.push(before);
                    before = b',';
                    show(item, schema, input, out, depth + 1)?;
                }
            }
            close(out, before, b'[', b']');
        }
        Node::Map(item) => {
            let mut before = b'{';
            while let (count @ 1.., _) = input.block(false)? {
                for _ in 0..count {
                    out.push(before);
                    before = b',';
                    write_text(out, input.text()?);
                    out.push(b':');
                    show(item, schema, input, out, depth + 1)?;
                }
            }
            close(out, before, b'{', b'}');
        }
    }
    Ok(())
}

/// Ends an object or array, which has been begun only if it has anything in it.
fn close(out: &mut Vec<u8>, before: u8, open: u8, end: u8) {
    if before == open {
        out.push(open);
    }
    out.push(end);
}
