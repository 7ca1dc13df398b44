//! What a job file says of a source's format: how records are written, and where in them the columns are.

use std::fmt;
use std::num::NonZeroU64;

use freshet_model::Column;

use super::layout::Layout;
use crate::registry::RegistryOptions;

/// How the records of a source are written. By default JSON, each column in the field of its name.
#[derive(Debug, Clone, Default)]
pub struct Format {
    /// The kind of encoding.
    pub encoding: Encoding,
    /// Where each column lies, in the columns' order; empty if each lies in the field of its name.
    pub fields: Vec<FieldSpec>,
    /// So many dead letters in a row, in one partition, stop the job.
    pub max_dead_run: Option<NonZeroU64>,
}

/// The encoding of a record.
#[derive(Debug, Clone, Default)]
pub enum Encoding {
    /// One JSON object.
    #[default]
    Json,
    /// One record in Confluent's wire format, its schema in this registry.
    Avro(RegistryOptions),
    /// One message of Protobuf in Confluent's wire format, its schema in this registry.
    Protobuf(RegistryOptions),
    /// One line of comma-separated values, the first line of a file being their names.
    Csv {
        /// What stands between two values.
        delimiter: u8,
    },
}

/// Where in a record a column lies, and what stands for it if it is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSpec {
    /// Names of the field, each as a path from the record inwards. Of several, which a renamed field has, the first that is there
    /// counts. Empty: the column's own name.
    pub names: Vec<Vec<String>>,
    /// The column holds the value's JSON text, whatever it is.
    pub raw: bool,
    /// The value of a field that is missing, as text.
    pub default: Option<String>,
    /// A record without the field is a dead letter.
    pub required: bool,
}

impl Encoding {
    /// Returns where the schemas of the records are, if they have any. Such records are messages of a topic.
    #[must_use]
    pub fn registry(&self) -> Option<&RegistryOptions> {
        match self {
            Encoding::Avro(registry) | Encoding::Protobuf(registry) => Some(registry),
            Encoding::Json | Encoding::Csv { .. } => None,
        }
    }
}

impl Format {
    /// Tells whether columns can be read as described.
    ///
    /// # Errors
    /// A sentence that names the column.
    pub fn check(&self, columns: &[Column]) -> Result<(), String> {
        Layout::new(columns, &self.fields).map(drop)
    }
}

/// Says what decides about the rows that records become, in words that are empty for what is so by default. A registry may move.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.encoding {
            Encoding::Json => {}
            Encoding::Avro(_) => f.write_str(", in avro")?,
            Encoding::Protobuf(_) => f.write_str(", in protobuf")?,
            Encoding::Csv { delimiter } => write!(f, ", in csv with '{}'", delimiter.escape_ascii())?,
        }
        if !self.fields.is_empty() {
            write!(f, ", from {:?}", self.fields)?;
        }
        Ok(())
    }
}
