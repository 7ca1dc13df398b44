//! The encoding of the rows that a topic gets.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use freshet_model::TableSchema;

use super::Rows;
use super::avro::write::{Writer, schema};
use crate::circuit::Circuit;
use crate::registry::{Language, Registry, Trouble};
use crate::{Error, SinkOptions};

/// How soon the circuit of a registry that is away is looked at again.
const LOOK: Duration = Duration::from_millis(20);

/// Encodes rows of one table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Encoder {
    /// As JSON objects.
    #[default]
    Json,
    /// As Avro records.
    Avro(Writer),
}

impl Encoder {
    /// Finds the encoding of a table's rows in a topic; one in Avro has its schema registered as the topic's value. That is all that a sink asks of its
    /// registry, so it is tried again by the sink's own circuit.
    ///
    /// # Errors
    /// The registry refuses the schema, or is away for longer than `patience` or the circuit allows.
    pub(crate) fn open(
        topic: &str,
        table: &TableSchema,
        options: &SinkOptions,
        circuit: &Arc<Circuit>,
        patience: Duration,
    ) -> Result<Encoder, Error> {
        let Some(registry) = &options.avro else { return Ok(Encoder::Json) };
        let thing = format!("sink '{}'", options.name);
        let schema =
            schema(table).map_err(|problem| Error::setup(&thing, problem, "give the view or the column another name"))?;
        let registry = Registry::open(&thing, registry, Language::Avro)?;
        registry.guard(circuit);
        let begun = Instant::now();
        loop {
            match registry.register(&format!("{topic}-value"), &schema) {
                Ok(id) => return Ok(Encoder::Avro(Writer::new(id))),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Away) if begun.elapsed() > patience => {
                    return Err(Error::unavailable(thing, format!("its registry has been away for {patience:?}")));
                }
                Err(Trouble::Away) => thread::sleep(LOOK),
            }
        }
    }

    /// Replaces the rows by those of a batch.
    ///
    /// # Panics
    /// As for [`Rows::encode`].
    pub(crate) fn encode(&self, batch: &RecordBatch, rows: &mut Rows) {
        match self {
            Encoder::Json => rows.encode(batch),
            Encoder::Avro(writer) => writer.encode(batch, rows),
        }
    }
}
