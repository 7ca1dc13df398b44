//! Values that a job file may write in more than one form.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::written::Text;

/// A setting's value, which may be written as a text, a number or a boolean.
#[derive(Debug, JsonSchema)]
#[schemars(with = "SettingForms")]
pub(super) struct Setting(pub(super) String);

/// The forms of a [`Setting`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum SettingForms {
    Text(String),
    Number(i64),
    Switch(bool),
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Setting, D::Error> {
        deserializer.deserialize_any(SettingVisitor)
    }
}

/// Reads the three forms of a [`Setting`].
struct SettingVisitor;

impl Visitor<'_> for SettingVisitor {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an integer or a boolean")
    }

    fn visit_str<E>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Setting, E> {
        Ok(Setting(number.to_string()))
    }

    fn visit_bool<E>(self, switch: bool) -> Result<Setting, E> {
        Ok(Setting(switch.to_string()))
    }
}

/// A column: its type alone, or a table with more.
#[derive(Debug, JsonSchema)]
#[schemars(with = "ColumnForms")]
pub(super) enum ColumnForm {
    Type(String),
    Table(Box<ColumnTable>),
}

/// The forms of a [`ColumnForm`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum ColumnForms {
    Type(String),
    Table(ColumnTable),
}

/// A column that does not simply lie in the field of its name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnTable {
    /// The column's type.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub(super) column_type: Text,
    /// The field, as a path such as `product.id`; of several, which a renamed field has, the first that is there counts.
    #[serde(default)]
    #[schemars(with = "Paths")]
    pub(super) from: Paths,
    /// The value of a field that is missing; by default NULL.
    #[schemars(with = "Option<Setting>")]
    pub(super) default: Option<Spanned<Setting>>,
    /// A record without the field is a dead letter.
    #[serde(default)]
    pub(super) required: bool,
}

impl<'de> Deserialize<'de> for ColumnForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ColumnForm, D::Error> {
        deserializer.deserialize_any(ColumnVisitor)
    }
}

/// Reads the two forms of a [`ColumnForm`].
struct ColumnVisitor;

impl<'de> Visitor<'de> for ColumnVisitor {
    type Value = ColumnForm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a table")
    }

    fn visit_str<E>(self, text: &str) -> Result<ColumnForm, E> {
        Ok(ColumnForm::Type(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ColumnForm, A::Error> {
        ColumnTable::deserialize(MapAccessDeserializer::new(map)).map(|table| ColumnForm::Table(Box::new(table)))
    }
}

/// One path to a field, or several.
#[derive(Debug, Default, JsonSchema)]
#[schemars(with = "PathForms")]
pub(super) struct Paths(pub(super) Vec<String>);

/// The forms of [`Paths`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum PathForms {
    One(String),
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Paths, D::Error> {
        deserializer.deserialize_any(PathsVisitor)
    }
}

/// Reads the two forms of [`Paths`].
struct PathsVisitor;

impl<'de> Visitor<'de> for PathsVisitor {
    type Value = Paths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Paths, E> {
        Ok(Paths(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Paths, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = items.next_element()? {
            paths.push(path);
        }
        Ok(Paths(paths))
    }
}

/// A source's columns as written, each with its place.
pub(super) type Columns = BTreeMap<Spanned<String>, Spanned<ColumnForm>>;
