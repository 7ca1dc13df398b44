//! Messages as Confluent's serializers write them: a zero, the id of the writer's schema, the record.

use std::collections::HashMap;
use std::sync::Arc;

use freshet_model::Reason;

use super::super::decoder::Refusal;
use super::super::layout::{Layout, Values};
use super::plan::Plan;
use super::schema::Schema;
use crate::registry::{Answer, Registry};

/// The first byte of each message.
pub(crate) const MAGIC: u8 = 0;

/// Plans of so many schemas are kept; a topic rarely has more than a few.
const MAX_PLANS: usize = 1000;

/// Reads the messages of one source.
pub(in super::super) struct Confluent {
    registry: Arc<Registry>,
    plans: HashMap<u32, Planned>,
}

/// A plan, or why there is none.
type Planned = Result<Plan, (Reason, String)>;

impl Confluent {
    /// Prepares for messages whose schemas the registry knows.
    pub(in super::super) fn new(registry: Arc<Registry>) -> Confluent {
        Confluent { registry, plans: HashMap::new() }
    }

    /// Reads a message into the slots.
    pub(in super::super) fn read(&mut self, payload: &[u8], layout: &Layout, values: &mut Values) -> Result<(), Refusal> {
        let Some((&[MAGIC, a, b, c, d], record)) = payload.split_first_chunk() else {
            let what = "not in Confluent's format: it does not begin with a zero and a schema's id";
            return Err(Refusal::Dead(Reason::Malformed, what.to_owned()));
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        if !self.plans.contains_key(&id) {
            let planned = self.plan(id, layout)?;
            if self.plans.len() >= MAX_PLANS {
                self.plans.clear();
            }
            self.plans.insert(id, planned);
        }
        match &self.plans[&id] {
            Ok(plan) => {
                plan.read(record, values).map_err(|(reason, what)| Refusal::Dead(reason, format!("{what} (schema {id})")))
            }
            Err((reason, what)) => Err(Refusal::Dead(*reason, what.clone())),
        }
    }

    fn plan(&self, id: u32, layout: &Layout) -> Result<Planned, Refusal> {
        let schema = match self.registry.schema(id)? {
            Answer::Schema { text, references } => Schema::parse(&text, &references),
            Answer::Unreadable(what) => Err(what),
            Answer::Unknown => {
                let what = format!("the registry knows no schema {id}");
                return Ok(Err((Reason::UnknownSchema, what)));
            }
        };
        let plan = schema.and_then(|schema| Plan::new(schema, layout));
        Ok(plan.map_err(|what| (Reason::IncompatibleSchema, format!("schema {id}: {what}"))))
    }
}
