//! Reads one JSON object into slots, driven by the declared fields.
//!
//! serde_json calls back here for each field. Texts without escapes are not copied; undeclared fields are skipped without
//! building anything. Nothing here fails on a value of the wrong type: it leaves a [`Slot::Misfit`] and reads on, so that a later
//! duplicate of the field can still win, and so that a record that is not JSON at all is found to be so.

use std::borrow::Cow;
use std::fmt;

use freshet_model::{ColumnType, Reason};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::columns::{Slot, Span};
use super::super::layout::Values;
use super::super::text::{self, is_longer};
use super::super::time;
use super::fields::{Fields, Use};

/// An object of a record on its way into slots.
pub(super) struct Record<'a> {
    pub(super) fields: &'a Fields,
    pub(super) values: &'a mut Values,
    /// The record itself: borrowed texts are places in it.
    pub(super) text: &'a str,
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        // Producers mostly write the fields in one order, and jobs mostly declare them in that order.
        let mut guess = 0;
        while let Some(field) = fields.next_key_seed(Name { fields: self.fields, guess })? {
            let Some(index) = field else {
                fields.next_value::<IgnoredAny>()?;
                continue;
            };
            guess = index + 1;
            match self.fields.use_of(index) {
                Use::Value(slot, column_type) => {
                    let cell = Cell { column_type: *column_type, unescaped: &mut self.values.texts, text: self.text };
                    self.values.slots[*slot] = fields.next_value_seed(cell)?;
                }
                Use::Raw(slot) => self.values.slots[*slot] = raw(fields.next_value()?, self.text),
                Use::Object(inner) => {
                    let record = Record { fields: inner, values: self.values, text: self.text };
                    fields.next_value_seed(Inner(record))?;
                }
            }
        }
        Ok(())
    }
}

/// Takes a value as its JSON text, which lies in the record.
fn raw(value: &RawValue, record: &str) -> Slot {
    let text = value.get();
    match text {
        "null" => Slot::Null,
        _ => Slot::Text(Span { start: text.as_ptr().addr() - record.as_ptr().addr(), len: text.len() }),
    }
}

/// A value that is to be an object: null counts as one without fields, anything else does not fit.
struct Inner<'a>(Record<'a>);

impl Inner<'_> {
    fn refuse(self, found: &'static str) {
        for slot in self.0.fields.slots() {
            self.0.values.slots[slot] = Slot::Misfit(Reason::WrongType, found);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object or null")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<(), A::Error> {
        self.0.visit_map(fields)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.refuse("a text instead of an object");
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.refuse("a number instead of an object");
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.refuse("a number instead of an object");
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.refuse("a number instead of an object");
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.refuse("a boolean instead of an object");
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.refuse("an array instead of an object");
        Ok(())
    }
}

/// The name of a field, on its way to its index.
struct Name<'a> {
    fields: &'a Fields,
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.fields.find(name, self.guess))
    }
}

/// A value on its way into a slot of a column.
struct Cell<'a> {
    column_type: ColumnType,
    unescaped: &'a mut String,
    text: &'a str,
}

impl Cell<'_> {
    /// Takes a text that is not for a text column, or finds that a text column cannot hold it.
    fn convert(&self, text: &str) -> Option<Slot> {
        match self.column_type {
            ColumnType::Text(Some(limit)) if is_longer(text, limit) => Some(Slot::Misfit(Reason::TooLong, "a longer text")),
            ColumnType::Text(_) => None,
            ColumnType::Timestamp => {
                Some(time::parse(text).map_or(Slot::Misfit(Reason::WrongType, "a text that is no time"), Slot::Timestamp))
            }
            _ => Some(Slot::Misfit(Reason::WrongType, "a text")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = Slot;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Slot, D::Error> {
        match self.column_type {
            // A float would already have lost digits: decimals are read from the record's own text.
            ColumnType::Decimal(precision, scale) => {
                <&RawValue>::deserialize(deserializer).map(|raw| exact(raw.get(), precision, scale))
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = Slot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Slot, E> {
        if let Some(slot) = self.convert(text) {
            return Ok(slot);
        }
        // A borrowed text lies in the record, so the distance of the two addresses is its place there.
        let start = text.as_ptr().addr() - self.text.as_ptr().addr();
        Ok(Slot::Text(Span { start, len: text.len() }))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Slot, E> {
        if let Some(slot) = self.convert(text) {
            return Ok(slot);
        }
        // Only an escape can bring a NUL: JSON forbids the bare character.
        if text.contains('\0') {
            return Ok(Slot::Misfit(Reason::NulCharacter, "a text with a NUL character"));
        }
        let start = self.unescaped.len();
        self.unescaped.push_str(text);
        Ok(Slot::Unescaped(Span { start, len: text.len() }))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Slot, E> {
        Ok(match self.column_type {
            ColumnType::BigInt => Slot::BigInt(number),
            ColumnType::Double => Slot::Double(number as f64),
            ColumnType::Timestamp => time::from_integer(number)
                .map_or(Slot::Misfit(Reason::WrongType, "a number too large for a time"), Slot::Timestamp),
            _ => Slot::Misfit(Reason::WrongType, "a number"),
        })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Slot, E> {
        match (i64::try_from(number), self.column_type) {
            (Ok(number), _) => self.visit_i64(number),
            (Err(_), ColumnType::Double) => Ok(Slot::Double(number as f64)),
            (Err(_), _) => Ok(Slot::Misfit(Reason::WrongType, "a number beyond 64 bits")),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Slot, E> {
        Ok(match self.column_type {
            ColumnType::Double => Slot::Double(number),
            _ => Slot::Misfit(Reason::WrongType, "a number with a fraction or beyond 64 bits"),
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Slot, E> {
        Ok(match self.column_type {
            ColumnType::Boolean => Slot::Boolean(value),
            _ => Slot::Misfit(Reason::WrongType, "a boolean"),
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Slot, E> {
        Ok(Slot::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Slot, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Slot::Misfit(Reason::WrongType, "an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Slot, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Slot::Misfit(Reason::WrongType, "an object"))
    }
}

/// Reads a value's own JSON text as a decimal.
fn exact(raw: &str, precision: u8, scale: i8) -> Slot {
    let number = match raw.as_bytes().first() {
        Some(b'n') => return Slot::Null,
        Some(b't' | b'f') => return Slot::Misfit(Reason::WrongType, "a boolean"),
        Some(b'[') => return Slot::Misfit(Reason::WrongType, "an array"),
        Some(b'{') => return Slot::Misfit(Reason::WrongType, "an object"),
        Some(b'"') => serde_json::from_str::<Quoted<'_>>(raw).map_or(Cow::Borrowed(""), |quoted| quoted.0),
        _ => Cow::Borrowed(raw),
    };
    text::exact(&number, precision, scale)
}

/// A JSON text, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Quoted<'a>(#[serde(borrow)] Cow<'a, str>);
