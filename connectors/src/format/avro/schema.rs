//! A writer's schema in a form that is quick to follow.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema as Parsed;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Name, RecordSchema, UuidSchema};

use super::scalar::{Scalar, Size, Unit};
use crate::registry::Reference;

/// A schema, its records kept apart because they may hold themselves.
#[derive(Debug)]
pub(super) struct Schema {
    /// What the whole is.
    pub(super) root: Node,
    /// The fields of each record.
    pub(super) records: Vec<Vec<Field>>,
}

/// The shape of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    /// A value without parts.
    Scalar(Scalar),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    /// The record of this number.
    Record(usize),
}

/// A field of a record.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Former names of it.
    pub(super) aliases: Vec<String>,
    pub(super) node: Node,
}

impl Node {
    /// Names the kind, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Scalar(scalar) => scalar.kind(),
            Node::Array(_) => "an array",
            Node::Map(_) => "a map",
            Node::Union(_) => "a union",
            Node::Record(_) => "a record",
        }
    }
}

impl Schema {
    /// Reads a schema that may refer to others.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(super) fn parse(text: &str, references: &[Reference]) -> Result<Schema, String> {
        let words = |error: apache_avro::Error| format!("no Avro schema: {error}");
        let mut others: Vec<&str> = Vec::new();
        for Reference { text, .. } in references {
            if !others.contains(&text.as_str()) {
                others.push(text);
            }
        }
        let (root, others) = match others.is_empty() {
            true => (Parsed::parse_str(text).map_err(words)?, Vec::new()),
            false => Parsed::parse_str_with_list(text, others).map_err(words)?,
        };
        let mut build = Build { records: Vec::new(), named: HashMap::new() };
        for other in &others {
            build.node(other, None)?;
        }
        let root = build.node(&root, None)?;
        Ok(Schema { root, records: build.records })
    }
}

/// A schema that is being read.
struct Build {
    records: Vec<Vec<Field>>,
    /// What the names mean that have been met.
    named: HashMap<Name, Node>,
}

impl Build {
    /// Returns what a schema is; a name without a namespace belongs to `space`.
    fn node(&mut self, parsed: &Parsed, space: Option<&str>) -> Result<Node, String> {
        Ok(match parsed {
            Parsed::Null => Node::Null,
            Parsed::Array(array) => Node::Array(Box::new(self.node(&array.items, space)?)),
            Parsed::Map(map) => Node::Map(Box::new(self.node(&map.types, space)?)),
            Parsed::Union(union) => {
                Node::Union(union.variants().iter().map(|branch| self.node(branch, space)).collect::<Result<_, _>>()?)
            }
            Parsed::Record(record) => self.record(record, space)?,
            Parsed::Ref { name } => {
                let name = name.fully_qualified_name(space);
                self.named
                    .get(name.as_ref())
                    .cloned()
                    .ok_or_else(|| format!("it refers to '{name}', which it does not define"))?
            }
            scalar => {
                let node = Node::Scalar(scalar_of(scalar));
                if let Some(name) = scalar.name() {
                    self.named.insert(name.fully_qualified_name(space).into_owned(), node.clone());
                }
                node
            }
        })
    }

    fn record(&mut self, record: &RecordSchema, space: Option<&str>) -> Result<Node, String> {
        let name = record.name.fully_qualified_name(space).into_owned();
        let index = self.records.len();
        self.records.push(Vec::new());
        self.named.insert(name.clone(), Node::Record(index));
        let field = |field: &apache_avro::schema::RecordField| {
            let node = self.node(&field.schema, name.namespace())?;
            Ok(Field { name: field.name.clone(), aliases: field.aliases.clone(), node })
        };
        self.records[index] = record.fields.iter().map(field).collect::<Result<_, String>>()?;
        Ok(Node::Record(index))
    }
}

fn scalar_of(parsed: &Parsed) -> Scalar {
    match parsed {
        Parsed::Boolean => Scalar::Boolean,
        Parsed::Int => Scalar::Int,
        Parsed::Long => Scalar::Long,
        Parsed::Float => Scalar::Float,
        Parsed::Double => Scalar::Double,
        Parsed::String => Scalar::Text,
        Parsed::Enum(symbols) => Scalar::Enum(Arc::from(symbols.symbols.clone())),
        Parsed::Fixed(fixed) | Parsed::Duration(fixed) => Scalar::Bytes(Size::Fixed(fixed.size)),
        Parsed::Decimal(DecimalSchema { scale, inner, .. }) => {
            let size = match inner {
                InnerDecimalSchema::Bytes => Size::Told,
                InnerDecimalSchema::Fixed(fixed) => Size::Fixed(fixed.size),
            };
            Scalar::Decimal(size, *scale)
        }
        Parsed::Uuid(UuidSchema::String) => Scalar::Text,
        Parsed::Uuid(UuidSchema::Bytes) => Scalar::Uuid(Size::Told),
        Parsed::Uuid(UuidSchema::Fixed(fixed)) => Scalar::Uuid(Size::Fixed(fixed.size)),
        Parsed::Date => Scalar::Date,
        Parsed::TimeMillis => Scalar::TimeOfDay(Unit::Millis),
        Parsed::TimeMicros => Scalar::TimeOfDay(Unit::Micros),
        Parsed::TimestampMillis | Parsed::LocalTimestampMillis => Scalar::Time(Unit::Millis),
        Parsed::TimestampMicros | Parsed::LocalTimestampMicros => Scalar::Time(Unit::Micros),
        Parsed::TimestampNanos | Parsed::LocalTimestampNanos => Scalar::Time(Unit::Nanos),
        // Those with parts are no scalars, and never come here; a decimal that carries its scale is bytes.
        _ => Scalar::Bytes(Size::Told),
    }
}
