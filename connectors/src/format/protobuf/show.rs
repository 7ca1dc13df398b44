//! A value as JSON text, by Protobuf's own mapping (<https://protobuf.dev/programming-guides/json/>).

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::super::binary::Broken;
use super::super::depth::MAX_DEPTH;
use super::super::to_json::{write_text, write_time};
use super::input::{self, BYTES, Input, MISFORMED, Wire};
use super::scalar::{self, Integer};

/// Returns the value of a field, which is made of all the `pieces` that a record has of it.
pub(super) fn show(field: &FieldDescriptor, pieces: &[Wire], record: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut text = Text { record, out: Vec::new() };
    text.field(field, pieces, 0)?;
    Ok(text.out)
}

/// Tells whether a message of this name is a value that can be absent.
pub(super) fn is_wrapper(name: &str) -> bool {
    const TYPES: [&str; 9] = ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"];
    let inner = name.strip_prefix("google.protobuf.").and_then(|name| name.strip_suffix("Value"));
    inner.is_some_and(|inner| TYPES.contains(&inner))
}

/// Reads the parts of a time or of a duration that are there.
pub(super) fn seconds_and_nanos(pieces: &[Wire], record: &[u8]) -> Result<(Option<i64>, Option<i64>), Broken> {
    let (mut seconds, mut nanos) = (None, None);
    for piece in pieces {
        let mut input = Input::within(record, *piece)?;
        while let Some((number, value)) = input.field()? {
            match (number, value) {
                (1, Wire::Varint(value)) => seconds = Some(value.cast_signed()),
                (2, Wire::Varint(value)) => nanos = Some((value as i32).into()),
                (1 | 2, _) => return Err(MISFORMED),
                _ => {}
            }
        }
    }
    Ok((seconds, nanos))
}

/// JSON text that is being written, and the record that it is made of.
struct Text<'a> {
    record: &'a [u8],
    out: Vec<u8>,
}

impl Text<'_> {
    fn field(&mut self, field: &FieldDescriptor, pieces: &[Wire], depth: usize) -> Result<(), Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken::TooDeep);
        }
        match field.kind() {
            Kind::Message(entry) if field.is_map() => self.map(&entry, pieces, depth),
            kind if field.is_list() => self.list(&kind, pieces, depth),
            kind => self.value(&kind, pieces, depth),
        }
    }

    /// Appends a value that is not repeated: of one without parts the last piece, of a message all of them.
    fn value(&mut self, kind: &Kind, pieces: &[Wire], depth: usize) -> Result<(), Broken> {
        match kind {
            Kind::Message(message) => self.message(message, pieces, depth),
            kind => self.scalar(kind, pieces.last().copied().unwrap_or(scalar::zero(kind))),
        }
    }

    fn list(&mut self, kind: &Kind, pieces: &[Wire], depth: usize) -> Result<(), Broken> {
        let form = scalar::form(kind);
        let begin = self.begin(b'[');
        for piece in pieces {
            if form == BYTES || !matches!(piece, Wire::Bytes(_)) {
                self.next(begin);
                self.value(kind, &[*piece], depth + 1)?;
                continue;
            }
            // Many in one piece, each as it would be by itself.
            let mut packed = Input::within(self.record, *piece)?;
            while !packed.is_empty() {
                self.next(begin);
                self.scalar(kind, packed.value(form)?)?;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// Appends a map in the order of its keys; of one key the last value counts.
    fn map(&mut self, entry: &MessageDescriptor, pieces: &[Wire], depth: usize) -> Result<(), Broken> {
        let (Some(key), Some(value)) = (entry.get_field(1), entry.get_field(2)) else { return Err(MISFORMED) };
        let mut map = BTreeMap::new();
        for piece in pieces {
            let fields = Fields::read(&[*piece], self.record)?;
            let start = self.out.len();
            self.value(&key.kind(), &fields.pieces(&key), depth)?;
            map.insert(self.out.split_off(start), fields.pieces(&value));
        }
        let begin = self.begin(b'{');
        for (name, pieces) in map {
            self.next(begin);
            match name.first() {
                Some(b'"') => self.out.extend_from_slice(&name),
                _ => write_text(&mut self.out, &String::from_utf8_lossy(&name)),
            }
            self.out.push(b':');
            self.value(&value.kind(), &pieces, depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Appends a message: as an object, or as the value that it stands for.
    fn message(&mut self, message: &MessageDescriptor, pieces: &[Wire], depth: usize) -> Result<(), Broken> {
        match (message.full_name(), message.get_field(1)) {
            ("google.protobuf.Timestamp", _) => self.time(pieces),
            ("google.protobuf.Duration", _) => self.duration(pieces),
            ("google.protobuf.Value", _) => self.any(message, pieces, depth),
            (name, Some(field)) if is_wrapper(name) || matches!(name, "google.protobuf.Struct" | "google.protobuf.ListValue") => {
                let pieces = Fields::read(pieces, self.record)?.pieces(&field);
                self.field(&field, &pieces, depth + 1)
            }
            _ => self.object(message, pieces, depth),
        }
    }

    /// Appends the fields that are there, those apart that have their zero value and nobody could tell that they are.
    fn object(&mut self, message: &MessageDescriptor, pieces: &[Wire], depth: usize) -> Result<(), Broken> {
        let fields = Fields::read(pieces, self.record)?;
        let begin = self.begin(b'{');
        for field in fields.of_type(message) {
            let pieces = fields.pieces(&field);
            if is_told(&field, &pieces) {
                self.next(begin);
                write_text(&mut self.out, field.json_name());
                self.out.push(b':');
                self.field(&field, &pieces, depth + 1)?;
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Appends a value of any kind that JSON has.
    fn any(&mut self, message: &MessageDescriptor, pieces: &[Wire], depth: usize) -> Result<(), Broken> {
        let fields = Fields::read(pieces, self.record)?;
        let there = fields.of_type(message).map(|field| (fields.pieces(&field), field)).find(|(pieces, _)| !pieces.is_empty());
        if let Some((pieces, field)) = there {
            return self.field(&field, &pieces, depth + 1);
        }
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn time(&mut self, pieces: &[Wire]) -> Result<(), Broken> {
        let (seconds, nanos) = seconds_and_nanos(pieces, self.record)?;
        match seconds.unwrap_or(0).checked_mul(1_000_000).and_then(|micros| micros.checked_add(nanos.unwrap_or(0) / 1000)) {
            Some(micros) => write_time(&mut self.out, micros),
            None => self.out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn duration(&mut self, pieces: &[Wire]) -> Result<(), Broken> {
        let (seconds, nanos) = seconds_and_nanos(pieces, self.record)?;
        let (seconds, nanos) = (seconds.unwrap_or(0), nanos.unwrap_or(0));
        let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
        let fraction = format!(".{:09}", nanos.unsigned_abs());
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        self.put(format_args!("\"{sign}{}{fraction}s\"", seconds.unsigned_abs()));
        Ok(())
    }

    /// Appends a value without parts. Integers of 64 bits are texts, since many who read JSON have none so large.
    fn scalar(&mut self, kind: &Kind, value: Wire) -> Result<(), Broken> {
        use Kind::{Fixed64, Int64, Sfixed64, Sint64, Uint64};
        match kind {
            Kind::Bool => self.put(format_args!("{}", scalar::boolean(value)?)),
            Kind::String => write_text(&mut self.out, input::text(self.record, value)?),
            Kind::Bytes => write_text(&mut self.out, &STANDARD.encode(input::bytes(self.record, value)?)),
            Kind::Double | Kind::Float => self.float(kind, scalar::float(kind, value)?),
            Kind::Enum(symbols) => match symbols.get_value(scalar::enum_number(value)?) {
                _ if symbols.full_name() == "google.protobuf.NullValue" => self.out.extend_from_slice(b"null"),
                Some(symbol) => write_text(&mut self.out, symbol.name()),
                None => self.put(format_args!("{}", scalar::enum_number(value)?)),
            },
            Kind::Message(_) => return Err(MISFORMED),
            kind => {
                let quote = if matches!(kind, Int64 | Sint64 | Sfixed64 | Uint64 | Fixed64) { "\"" } else { "" };
                match scalar::integer(kind, value)? {
                    Integer::Signed(value) => self.put(format_args!("{quote}{value}{quote}")),
                    Integer::Unsigned(value) => self.put(format_args!("{quote}{value}{quote}")),
                }
            }
        }
        Ok(())
    }

    fn float(&mut self, kind: &Kind, value: f64) {
        match value {
            value if value.is_nan() => write_text(&mut self.out, "NaN"),
            f64::INFINITY => write_text(&mut self.out, "Infinity"),
            f64::NEG_INFINITY => write_text(&mut self.out, "-Infinity"),
            // The shortest number that is the same float need not be that of the double.
            value if *kind == Kind::Float => self.put(format_args!("{:?}", value as f32)),
            value => self.put(format_args!("{value:?}")),
        }
    }

    fn put(&mut self, text: Arguments<'_>) {
        self.out.write_fmt(text).expect("memory takes any text");
    }

    /// Opens a list or an object, and returns where its parts begin.
    fn begin(&mut self, open: u8) -> usize {
        self.out.push(open);
        self.out.len()
    }

    /// Makes ready for the next part.
    fn next(&mut self, begin: usize) {
        if self.out.len() > begin {
            self.out.push(b',');
        }
    }
}

/// Tells whether a field is worth mentioning that has these pieces.
fn is_told(field: &FieldDescriptor, pieces: &[Wire]) -> bool {
    let is_empty = |piece: &Wire| matches!(piece, Wire::Bytes(span) if span.len == 0);
    let is_zero = |piece: &Wire| {
        is_empty(piece)
            || matches!(piece, Wire::Varint(0) | Wire::Fixed64([0, 0, 0, 0, 0, 0, 0, 0]) | Wire::Fixed32([0, 0, 0, 0]))
    };
    if field.is_list() || field.is_map() {
        // A piece that could hold many may have none.
        return pieces.iter().any(|piece| scalar::form(&field.kind()) == BYTES || !is_empty(piece));
    }
    pieces.last().is_some_and(|piece| field.supports_presence() || !is_zero(piece))
}

/// The fields of a message that are there.
struct Fields {
    /// Number and value, by the numbers; of one number in the order in which they came, which stands between them.
    all: Vec<(u32, usize, Wire)>,
}

impl Fields {
    fn read(pieces: &[Wire], record: &[u8]) -> Result<Fields, Broken> {
        let mut all = Vec::new();
        for piece in pieces {
            let mut input = Input::within(record, *piece)?;
            while let Some((number, value)) = input.field()? {
                all.push((number, all.len(), value));
            }
        }
        all.sort_unstable_by_key(|&(number, order, _)| (number, order));
        Ok(Fields { all })
    }

    /// Iterates over the fields that a type knows, each once.
    fn of_type<'a>(&'a self, message: &'a MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> + 'a {
        self.all.chunk_by(|one, other| one.0 == other.0).filter_map(|same| message.get_field(same[0].0))
    }

    /// Returns the pieces of a field, unless a later member of its `oneof` has made them void.
    fn pieces(&self, field: &FieldDescriptor) -> Vec<Wire> {
        let mut since = None;
        if let Some(group) = field.containing_oneof() {
            let rivals = group.fields().map(|other| other.number()).filter(|number| *number != field.number());
            since = rivals.filter_map(|rival| self.of(rival).last()).map(|&(_, order, _)| order).max();
        }
        let valid = self.of(field.number()).iter().filter(|(_, order, _)| since.is_none_or(|since| *order > since));
        valid.map(|&(.., piece)| piece).collect()
    }

    fn of(&self, number: u32) -> &[(u32, usize, Wire)] {
        let start = self.all.partition_point(|&(other, ..)| other < number);
        let end = self.all.partition_point(|&(other, ..)| other <= number);
        &self.all[start..end]
    }
}
