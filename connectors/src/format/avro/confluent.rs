//! Messages as Confluent's serializers write them: a zero, the id of the writer's schema, the record.

use std::sync::Arc;

use super::super::confluent::{Plans, split};
use super::super::decoder::Refusal;
use super::super::layout::{Layout, Values};
use super::plan::Plan;
use super::schema::Schema;
use crate::registry::Registry;

/// Reads the messages of one source.
pub(in super::super) struct Confluent {
    plans: Plans<Plan>,
}

impl Confluent {
    /// Prepares for messages whose schemas the registry knows.
    pub(in super::super) fn new(registry: Arc<Registry>) -> Confluent {
        Confluent { plans: Plans::new(registry) }
    }

    /// Reads a message into the slots.
    pub(in super::super) fn read(&mut self, payload: &[u8], layout: &Layout, values: &mut Values) -> Result<(), Refusal> {
        let (id, record) = split(payload)?;
        let plan = self
            .plans
            .find(id, |text, references| Schema::parse(text, references).and_then(|schema| Plan::new(schema, layout)))?;
        plan.read(record, values).map_err(|broken| {
            let (reason, what) = broken.letter("Avro");
            Refusal::Dead(reason, format!("{what} (schema {id})"))
        })
    }
}
