//! What becomes of each field of a message's type: decided once, followed for each record.
//!
//! A message on the wire may be in pieces, and a later piece counts for more. So a record is read with *notes*: which messages have begun, for
//! then the zero values of their fields stand where nothing else was said, and the pieces of what is to become JSON, which is written when all
//! of the record is known.

use std::ops::Range;

use freshet_model::{ColumnType, Reason};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::super::binary::Broken;
use super::super::columns::Slot;
use super::super::convert::json;
use super::super::layout::{Layout, Target, Values};
use super::super::want::Want;
use super::input::{Input, Wire};
use super::scalar::{self, Scalar};
use super::show::{self, show};

const MICROS: i64 = 1_000_000;

/// How the messages of one type are read into the slots of one source.
#[derive(Debug)]
pub(super) struct Plan {
    root: Message,
    /// How many messages and times there are to make notes of.
    places: usize,
    shows: Vec<Show>,
}

/// What is known of a record while it is read; kept for the next one.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Which of the plan's messages and times have begun.
    begun: Vec<bool>,
    /// The pieces of what becomes JSON, in the order in which they came, each with the number of its [`Show`].
    pieces: Vec<(usize, Wire)>,
    /// For each [`Show`], before which of the pieces those are void.
    since: Vec<usize>,
}

/// A message of which something is wanted.
#[derive(Debug)]
struct Message {
    place: usize,
    /// Those that are wanted, or end another, by their numbers.
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    number: u32,
    step: Step,
    /// The other members of its `oneof`: what is known of them is void when this one comes.
    ends: Vec<Held>,
}

/// What is done with a value.
#[derive(Debug)]
enum Step {
    /// Nothing.
    Skip,
    /// It becomes a column's value.
    Take(Take),
    /// It is a `google.protobuf.Timestamp`, and becomes the value of a slot.
    Time { place: usize, slot: usize },
    /// As its fields say.
    Message(Message),
    /// It is a piece of what becomes JSON.
    Show(usize),
}

/// How a value without parts becomes a column's.
#[derive(Debug)]
struct Take {
    scalar: Scalar,
    column_type: ColumnType,
    slot: usize,
    /// What the slot holds before.
    initial: Slot,
    /// Whether the absence of the value cannot be told from its zero.
    is_implicit: bool,
    /// What the zero becomes, unless that is a text, which has to be written for each record.
    zero: Option<Slot>,
}

/// A field whose JSON text becomes the value of a slot.
#[derive(Debug)]
struct Show {
    field: FieldDescriptor,
    slot: usize,
    /// The message that it is a field of.
    parent: usize,
}

/// What is filled from a field.
#[derive(Debug, Clone)]
struct Held {
    slots: Vec<(usize, Slot)>,
    places: Range<usize>,
    shows: Range<usize>,
}

impl Plan {
    /// Plans how messages of a type become the columns of a source.
    ///
    /// # Errors
    /// Why none of its records ever can, for a person.
    pub(super) fn new(message: &MessageDescriptor, layout: &Layout) -> Result<Plan, String> {
        let mut build = Build { layout, places: 0, shows: Vec::new() };
        let root = build.message(message, &Want::all(layout))?;
        Ok(Plan { root, places: build.places, shows: build.shows })
    }

    /// Reads a record into the slots.
    pub(super) fn read(&self, record: &[u8], notes: &mut Notes, values: &mut Values) -> Result<(), Broken> {
        notes.begin(self);
        self.root.read(Input::new(record), notes, values)?;
        for (index, wanted) in self.shows.iter().enumerate().filter(|(_, wanted)| notes.begun[wanted.parent]) {
            let valid = notes.pieces.iter().skip(notes.since[index]);
            let pieces: Vec<Wire> = valid.filter(|(of, _)| *of == index).map(|(_, piece)| *piece).collect();
            if !pieces.is_empty() || !wanted.field.supports_presence() {
                let text = show(&wanted.field, &pieces, record)?;
                values.slots[wanted.slot] = json(&String::from_utf8_lossy(&text), &mut values.texts);
            }
        }
        Ok(())
    }
}

impl Notes {
    fn begin(&mut self, plan: &Plan) {
        self.begun.clear();
        self.begun.resize(plan.places, false);
        self.pieces.clear();
        self.since.clear();
        self.since.resize(plan.shows.len(), 0);
    }

    /// Notes that a message or a time has begun; tells whether it had before.
    fn has_begun(&mut self, place: usize) -> bool {
        std::mem::replace(&mut self.begun[place], true)
    }
}

impl Message {
    fn read(&self, mut input: Input<'_>, notes: &mut Notes, values: &mut Values) -> Result<(), Broken> {
        if !notes.has_begun(self.place) {
            self.fields.iter().try_for_each(|field| field.clear(values))?;
        }
        while let Some((number, value)) = input.field()? {
            let Ok(at) = self.fields.binary_search_by_key(&number, |field| field.number) else { continue };
            let field = &self.fields[at];
            field.ends.iter().for_each(|other| other.void(notes, values));
            match &field.step {
                Step::Skip => {}
                Step::Take(take) => take.read(value, input.record(), values)?,
                Step::Time { place, slot } => {
                    let before = if notes.has_begun(*place) { values.slots[*slot] } else { Slot::Timestamp(0) };
                    values.slots[*slot] = time(before, value, input.record())?;
                }
                Step::Message(message) => message.read(Input::within(input.record(), value)?, notes, values)?,
                Step::Show(index) => notes.pieces.push((*index, value)),
            }
        }
        Ok(())
    }
}

impl Field {
    /// Gives a field its zero value, if there is no telling that it is absent.
    fn clear(&self, values: &mut Values) -> Result<(), Broken> {
        match &self.step {
            Step::Take(Take { is_implicit: true, zero: Some(zero), slot, .. }) => values.slots[*slot] = *zero,
            Step::Take(take) if take.is_implicit => take.read(scalar::zero(&take.scalar.kind), &[], values)?,
            _ => {}
        }
        Ok(())
    }
}

impl Take {
    fn new(kind: Kind, slot: usize, column_type: ColumnType, initial: Slot, is_implicit: bool) -> Take {
        let mut take = Take { scalar: Scalar::new(kind), column_type, slot, initial, is_implicit, zero: None };
        let mut values = Values { slots: vec![initial; slot + 1], texts: String::new() };
        let read = take.read(scalar::zero(&take.scalar.kind), &[], &mut values);
        take.zero = values.slots.pop().filter(|_| read.is_ok() && values.texts.is_empty());
        take
    }

    fn read(&self, value: Wire, record: &[u8], values: &mut Values) -> Result<(), Broken> {
        // The zero value of a string is no time and no number.
        let is_empty = matches!(value, Wire::Bytes(span) if span.len == 0);
        let is_nothing = self.is_implicit && is_empty && !matches!(self.column_type, ColumnType::Text(_));
        values.slots[self.slot] = match is_nothing {
            true => self.initial,
            false => self.scalar.read(value, record, self.column_type, &mut values.texts)?,
        };
        Ok(())
    }
}

impl Held {
    fn void(&self, notes: &mut Notes, values: &mut Values) {
        self.slots.iter().for_each(|&(slot, initial)| values.slots[slot] = initial);
        notes.begun[self.places.clone()].fill(false);
        let now = notes.pieces.len();
        notes.since[self.shows.clone()].fill(now);
    }
}

/// Reads a piece of a time, on top of what earlier pieces have said.
fn time(before: Slot, value: Wire, record: &[u8]) -> Result<Slot, Broken> {
    let Slot::Timestamp(before) = before else { return Ok(before) };
    let (seconds, nanos) = show::seconds_and_nanos(&[value], record)?;
    let seconds = seconds.unwrap_or(before.div_euclid(MICROS));
    let micros = match nanos {
        None => before.rem_euclid(MICROS),
        Some(nanos @ 0..1_000_000_000) => nanos / 1000,
        Some(_) => return Ok(Slot::Misfit(Reason::WrongType, "a time with more nanoseconds than a second has")),
    };
    let time = seconds.checked_mul(MICROS).and_then(|time| time.checked_add(micros));
    Ok(time.map_or(Slot::Misfit(Reason::WrongType, "a number too large for a time"), Slot::Timestamp))
}

/// A plan that is being made.
struct Build<'a> {
    layout: &'a Layout,
    places: usize,
    shows: Vec<Show>,
}

impl<'a> Build<'a> {
    fn place(&mut self) -> usize {
        self.places += 1;
        self.places - 1
    }

    fn message(&mut self, message: &MessageDescriptor, wants: &[Want<'a>]) -> Result<Message, String> {
        let place = self.place();
        let mut all = Vec::new();
        for field in message.fields() {
            let wants = wants_of(&field, message, wants);
            let (places, shows) = (self.places, self.shows.len());
            let step = self.field(&field, place, &wants)?;
            let slots = wants.iter().map(|want| (want.slot, self.layout.initial(want.slot))).collect();
            all.push((field, step, Held { slots, places: places..self.places, shows: shows..self.shows.len() }));
        }
        let ends: Vec<Vec<Held>> = all.iter().map(|(field, ..)| rivals(field, &all)).collect();
        let fields = all.into_iter().zip(ends).map(|((field, step, _), ends)| Field { number: field.number(), step, ends });
        // Those of no consequence are passed over sooner if nobody knows them. The rest is in the order of numbers, as descriptors have it.
        let fields = fields.filter(|field| !matches!(field.step, Step::Skip) || !field.ends.is_empty());
        Ok(Message { place, fields: fields.collect() })
    }

    /// Plans what becomes of a field, for all who want something of it; `parent` is the message that it lies in.
    fn field(&mut self, field: &FieldDescriptor, parent: usize, wants: &[Want<'a>]) -> Result<Step, String> {
        let is_single = !field.is_list() && !field.is_map() && !field.is_group();
        match (field.kind(), wants) {
            (_, []) => Ok(Step::Skip),
            (_, [want]) if want.path.is_empty() && want.target == Target::Raw && !field.is_group() => {
                self.shows.push(Show { field: field.clone(), slot: want.slot, parent });
                Ok(Step::Show(self.shows.len() - 1))
            }
            (Kind::Message(message), [want]) if is_single && want.path.is_empty() => self.known(field, &message, want),
            (Kind::Message(message), wants) if is_single && wants.iter().all(|want| !want.path.is_empty()) => {
                self.message(&message, wants).map(Step::Message)
            }
            (kind, &[Want { slot, path: [], target: Target::Value(column_type), .. }])
                if is_single && scalar::becomes(&kind, column_type) =>
            {
                Ok(Step::Take(Take::new(kind, slot, column_type, self.layout.initial(slot), !field.supports_presence())))
            }
            (_, [want, ..]) => Err(want.refusal(scalar::name(field), "message")),
        }
    }

    /// Plans for a message that stands for a value without parts.
    fn known(&mut self, field: &FieldDescriptor, message: &MessageDescriptor, want: &Want<'a>) -> Result<Step, String> {
        let place = self.place();
        match (message.full_name(), want.target, message.get_field(1)) {
            ("google.protobuf.Timestamp", Target::Value(ColumnType::Timestamp), _) => Ok(Step::Time { place, slot: want.slot }),
            (name, _, Some(value)) if show::is_wrapper(name) => {
                let step = self.field(&value, place, &[*want])?;
                Ok(Step::Message(Message { place, fields: vec![Field { number: 1, step, ends: Vec::new() }] }))
            }
            _ => Err(want.refusal(scalar::name(field), "message")),
        }
    }
}

/// Finds who wants something of a field, by its name or the one that it has in JSON.
fn wants_of<'a>(field: &FieldDescriptor, message: &MessageDescriptor, wants: &[Want<'a>]) -> Vec<Want<'a>> {
    Want::of(field.name(), |name| name == field.json_name(), |name| message.get_field_by_name(name).is_some(), wants)
}

/// Lists what is held of the other members of a field's `oneof`.
fn rivals(field: &FieldDescriptor, all: &[(FieldDescriptor, Step, Held)]) -> Vec<Held> {
    let Some(group) = field.containing_oneof() else { return Vec::new() };
    let is_rival =
        |other: &FieldDescriptor| other.number() != field.number() && other.containing_oneof().as_ref() == Some(&group);
    let wanted = |held: &Held| !held.slots.is_empty();
    all.iter().filter(|(other, _, held)| wanted(held) && is_rival(other)).map(|(.., held)| held.clone()).collect()
}
