//! The text of a `.proto` file as descriptors of its messages.

use prost_reflect::{FileDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};

use crate::registry::Reference;

/// What the file is called whose name nobody tells.
const NAME: &str = "freshet/schema.proto";

/// Brackets may be open in a file so deeply: whoever parses it calls itself for each.
const MAX_BRACKETS: usize = 100;

/// Files that Confluent's serializers take for known, and give no references to, beside those of Protobuf itself.
const CONFLUENT: [(&str, &str); 2] = [
    (
        "confluent/meta.proto",
        r#"syntax = "proto3";
        package confluent;
        import "google/protobuf/descriptor.proto";
        message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
        extend google.protobuf.FileOptions { Meta file_meta = 1088; }
        extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
        extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
        extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
        extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }"#,
    ),
    (
        "confluent/type/decimal.proto",
        r#"syntax = "proto3";
        package confluent.type;
        message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }"#,
    ),
];

/// A schema, of one of whose messages a topic's records are.
#[derive(Debug)]
pub(super) struct Schema {
    file: FileDescriptor,
}

impl Schema {
    /// Reads a schema that may import others.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(super) fn parse(text: &str, references: &[Reference]) -> Result<Schema, String> {
        if references.iter().map(|reference| reference.text.as_str()).chain([text]).any(is_too_deep) {
            return Err(format!("no Protobuf schema: brackets inside of brackets, more than {MAX_BRACKETS} deep"));
        }
        let mut compiler = Compiler::with_file_resolver(Files { text: text.to_owned(), references: references.to_vec() });
        compiler.open_file(NAME).map_err(|error| format!("no Protobuf schema: {error}"))?;
        let file = compiler.descriptor_pool().get_file_by_name(NAME);
        file.map(|file| Schema { file }).ok_or_else(|| "no Protobuf schema".to_owned())
    }

    /// Finds a message by its place: that of the outermost one in the file, of one inside of it, and so on.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn message(&self, place: &[i64]) -> Result<MessageDescriptor, String> {
        let (mut found, mut messages): (_, Vec<_>) = (None, self.file.messages().collect());
        for index in place {
            let message = usize::try_from(*index).ok().and_then(|index| messages.into_iter().nth(index));
            let message = message.ok_or_else(|| format!("it has no message at {place:?}"))?;
            // Where a map stands, a type of its own is made up, which is not in the text and does not count.
            messages = message.child_messages().filter(|message| !message.is_map_entry()).collect();
            found = Some(message);
        }
        found.ok_or_else(|| "it names no message".to_owned())
    }
}

/// The files that a schema may import.
struct Files {
    text: String,
    references: Vec<Reference>,
}

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == NAME {
            return File::from_source(name, &self.text);
        }
        match GoogleFileResolver::new().open_file(name) {
            Err(error) if error.is_file_not_found() => {}
            known => return known,
        }
        let reference = self.references.iter().find(|reference| reference.name == name).map(|reference| reference.text.as_str());
        let text = reference.or_else(|| CONFLUENT.iter().find(|(known, _)| *known == name).map(|(_, text)| *text));
        File::from_source(name, text.ok_or_else(|| protox::Error::file_not_found(name))?)
    }
}

/// Tells whether more than [`MAX_BRACKETS`] are open at once somewhere, outside of texts and comments.
fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut rest) = (0_usize, text.as_bytes());
    while let [byte, behind @ ..] = rest {
        rest = match byte {
            b'"' | b'\'' => behind_text(behind, *byte),
            b'/' if behind.starts_with(b"/") => behind_mark(behind, b"\n"),
            b'/' if behind.starts_with(b"*") => behind_mark(&behind[1..], b"*/"),
            b'#' => behind_mark(behind, b"\n"),
            _ => behind,
        };
        match byte {
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_BRACKETS {
            return true;
        }
    }
    false
}

fn behind_text(text: &[u8], quote: u8) -> &[u8] {
    let mut escaped = false;
    let end = text.iter().position(|&byte| {
        let ends = !escaped && (byte == quote || byte == b'\n');
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(&[], |end| &text[end + 1..])
}

fn behind_mark<'a>(text: &'a [u8], mark: &[u8]) -> &'a [u8] {
    let end = text.windows(mark.len()).position(|window| window == mark);
    end.map_or(&[], |end| &text[end + mark.len()..])
}
