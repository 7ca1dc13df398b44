//! Messages as Confluent's serializers write them: a zero, the id of the schema, the place of the message's type in it, the message.

use std::sync::Arc;

use super::super::binary::{Broken, varint, zigzag};
use super::super::confluent::{Plans, incompatible, split};
use super::super::decoder::Refusal;
use super::super::layout::{Layout, Values};
use super::plan::{Notes, Plan};
use super::schema::Schema;
use crate::registry::Registry;

/// So many types may lie inside of each other; the language allows fewer.
const MAX_INDEXES: usize = 100;

/// Plans of so many types of one schema are kept; a topic rarely has more than one.
const MAX_TYPES: usize = 100;

/// Reads the messages of one source.
pub(in super::super) struct Confluent {
    schemas: Plans<Types>,
    notes: Notes,
}

/// A schema, and the plans for its types by their places in it, as they are written.
struct Types {
    schema: Schema,
    plans: Vec<(Box<[u8]>, Planned)>,
}

/// A plan, or why there is none.
type Planned = Result<Plan, String>;

impl Confluent {
    /// Prepares for messages whose schemas the registry knows.
    pub(in super::super) fn new(registry: Arc<Registry>) -> Confluent {
        Confluent { schemas: Plans::new(registry), notes: Notes::default() }
    }

    /// Reads a message into the slots.
    pub(in super::super) fn read(&mut self, payload: &[u8], layout: &Layout, values: &mut Values) -> Result<(), Refusal> {
        let (id, rest) = split(payload)?;
        let types = self
            .schemas
            .find(id, |text, references| Schema::parse(text, references).map(|schema| Types { schema, plans: Vec::new() }))?;
        let broken = |broken: Broken| {
            let (reason, what) = broken.letter("Protobuf");
            Refusal::Dead(reason, format!("{what} (schema {id})"))
        };
        let (place, message) = rest.split_at(place_len(rest).map_err(broken)?);
        let plan = types.plan(place, layout).as_ref().map_err(|what| incompatible(id, what))?;
        plan.read(message, &mut self.notes, values).map_err(broken)
    }
}

impl Types {
    /// Returns the plan for the type at a place.
    fn plan(&mut self, place: &[u8], layout: &Layout) -> &Planned {
        let known = self.plans.iter().position(|(known, _)| **known == *place);
        let at = known.unwrap_or_else(|| {
            if self.plans.len() >= MAX_TYPES {
                self.plans.clear();
            }
            let plan = self.schema.message(&indexes(place)).and_then(|message| Plan::new(&message, layout));
            self.plans.push((place.into(), plan));
            self.plans.len() - 1
        });
        &self.plans[at].1
    }
}

/// Returns how many bytes say where in its schema a message's type is: a number of indexes, then each of them; a zero stands for a single zero.
fn place_len(bytes: &[u8]) -> Result<usize, Broken> {
    let (count, mut rest) = varint(bytes)?;
    let count = usize::try_from(zigzag(count)).ok().filter(|&count| count <= MAX_INDEXES);
    for _ in 0..count.ok_or(Broken::Malformed("it does not say which message it is"))? {
        (_, rest) = varint(rest)?;
    }
    Ok(bytes.len() - rest.len())
}

/// Reads the indexes of a place: of a message in the file, of one inside of it, and so on.
fn indexes(place: &[u8]) -> Vec<i64> {
    let (mut all, mut rest) = (Vec::new(), place);
    while let Ok((index, behind)) = varint(rest) {
        all.push(zigzag(index));
        rest = behind;
    }
    match all.len() {
        0 | 1 => vec![0],
        _ => all.split_off(1),
    }
}
