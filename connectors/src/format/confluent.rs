//! Messages as Confluent's serializers write them: a zero, the id of the writer's schema, and then what the language of the schema says.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use freshet_model::Reason;

use super::decoder::Refusal;
use crate::registry::{Answer, Reference, Registry};

/// The first byte of each message.
pub(super) const MAGIC: u8 = 0;

/// Plans of so many schemas are kept; a topic rarely has more than a few.
const MAX_PLANS: usize = 1000;

/// How the messages of one source are read, by the ids of their schemas.
pub(super) struct Plans<P> {
    registry: Arc<Registry>,
    plans: HashMap<u32, Planned<P>>,
}

/// A plan, or why there is none.
type Planned<P> = Result<P, (Reason, String)>;

/// Splits a message into the id of its schema and what stands behind that.
pub(super) fn split(payload: &[u8]) -> Result<(u32, &[u8]), (Reason, String)> {
    match payload.split_first_chunk() {
        Some((&[MAGIC, a, b, c, d], rest)) => Ok((u32::from_be_bytes([a, b, c, d]), rest)),
        _ => {
            let what = "not in Confluent's format: it does not begin with a zero and a schema's id";
            Err((Reason::Malformed, what.to_owned()))
        }
    }
}

impl<P> Plans<P> {
    /// Prepares for messages whose schemas the registry knows.
    pub(super) fn new(registry: Arc<Registry>) -> Plans<P> {
        Plans { registry, plans: HashMap::new() }
    }

    /// Returns the plan for a schema, which is made of its text, and of those that it refers to, when it is met first.
    pub(super) fn find(
        &mut self,
        id: u32,
        make: impl FnOnce(&str, &[Reference]) -> Result<P, String>,
    ) -> Result<&mut P, Refusal> {
        if self.plans.len() >= MAX_PLANS && !self.plans.contains_key(&id) {
            self.plans.clear();
        }
        let planned = match self.plans.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(plan(&self.registry, id, make)?),
        };
        planned.as_mut().map_err(|(reason, what)| Refusal::Dead(*reason, what.clone()))
    }
}

fn plan<P>(
    registry: &Registry,
    id: u32,
    make: impl FnOnce(&str, &[Reference]) -> Result<P, String>,
) -> Result<Planned<P>, Refusal> {
    let plan = match registry.schema(id)? {
        Answer::Schema { text, references } => make(&text, &references),
        Answer::Unreadable(what) => Err(what),
        Answer::Unknown => {
            let what = format!("the registry knows no schema {id}");
            return Ok(Err((Reason::UnknownSchema, what)));
        }
    };
    Ok(plan.map_err(|what| incompatible(id, &what)))
}

/// Describes a schema by which no record can be read.
pub(super) fn incompatible(id: u32, what: &str) -> (Reason, String) {
    (Reason::IncompatibleSchema, format!("schema {id}: {what}"))
}
