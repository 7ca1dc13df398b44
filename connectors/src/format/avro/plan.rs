//! What becomes of each field of a writer's schema: decided once, followed for each record.

use freshet_model::{ColumnType, Reason};

use super::super::columns::{Slot, Span};
use super::super::layout::{Layout, Place, Target, Values};
use super::input::{Broken, Input};
use super::scalar::Scalar;
use super::schema::{Field, Node, Schema};
use super::show::show;

/// How the records of one schema are read into the slots of one source.
#[derive(Debug)]
pub(super) struct Plan {
    schema: Schema,
    root: Step,
}

/// What is done with a value.
#[derive(Debug)]
enum Step {
    /// Nothing: it is passed over.
    Skip(Node),
    /// It becomes a column's value.
    Take(Scalar, ColumnType, usize),
    /// Its JSON text becomes a column's value.
    Show(Node, usize),
    /// It is null, and so is the column.
    Null(usize),
    /// No column takes it, though another branch of its union would have fitted.
    Misfit(Node, Vec<usize>, &'static str),
    /// As the branch says.
    Union(Vec<Step>),
    /// As its fields say.
    Record(Vec<Step>),
}

/// A slot that is to be filled from a value, or from inside of it.
#[derive(Debug, Clone, Copy)]
struct Want<'a> {
    slot: usize,
    /// The way from the value inwards.
    path: &'a [String],
    target: Target,
    /// The column's name, for a person.
    column: &'a str,
}

impl<'a> Want<'a> {
    fn new(slot: usize, place: &'a Place, layout: &'a Layout) -> Want<'a> {
        // Slots behind those of the columns are further names of them.
        let column = layout.columns.get(slot).map_or(place.path[0].as_str(), |column| column.name.as_str());
        Want { slot, path: &place.path, target: place.target, column }
    }
}

impl Plan {
    /// Plans how records of a schema become the columns of a source.
    ///
    /// # Errors
    /// Why none of its records ever can, for a person.
    pub(super) fn new(schema: Schema, layout: &Layout) -> Result<Plan, String> {
        let Node::Record(_) = schema.root else { return Err(format!("it is {}, not a record", schema.root.kind())) };
        let wants: Vec<_> = layout.places.iter().enumerate().map(|(slot, place)| Want::new(slot, place, layout)).collect();
        let root = plan(&schema, &schema.root, &wants)?;
        Ok(Plan { schema, root })
    }

    /// Reads a record into the slots.
    pub(super) fn read(&self, record: &[u8], values: &mut Values) -> Result<(), (Reason, String)> {
        let mut input = Input::new(record);
        self.follow(&self.root, &mut input, values)?;
        match input.rest() {
            [] => Ok(()),
            _ => Err(Broken::Malformed("it goes on behind its end").into()),
        }
    }

    fn follow(&self, step: &Step, input: &mut Input<'_>, values: &mut Values) -> Result<(), Broken> {
        match step {
            Step::Skip(node) => input.skip(node, &self.schema, 0)?,
            Step::Take(scalar, column_type, slot) => {
                values.slots[*slot] = scalar.read(*column_type, input, &mut values.texts)?;
            }
            Step::Show(node, slot) => {
                let mut text = Vec::new();
                show(node, &self.schema, input, &mut text, 0)?;
                values.slots[*slot] = shown(&String::from_utf8_lossy(&text), &mut values.texts);
            }
            Step::Null(slot) => values.slots[*slot] = Slot::Null,
            Step::Misfit(node, slots, found) => {
                input.skip(node, &self.schema, 0)?;
                slots.iter().for_each(|&slot| values.slots[slot] = Slot::Misfit(Reason::WrongType, found));
            }
            Step::Union(branches) => {
                let branch = input.index(branches.len())?;
                self.follow(&branches[branch], input, values)?;
            }
            Step::Record(fields) => fields.iter().try_for_each(|field| self.follow(field, input, values))?,
        }
        Ok(())
    }
}

/// Takes JSON text as the value of a column.
fn shown(text: &str, texts: &mut String) -> Slot {
    if text == "null" {
        return Slot::Null;
    }
    let start = texts.len();
    texts.push_str(text);
    Slot::Unescaped(Span { start, len: text.len() })
}

/// Plans what becomes of a value, for all who want something of it.
fn plan(schema: &Schema, node: &Node, wants: &[Want<'_>]) -> Result<Step, String> {
    match (node, wants) {
        (_, []) => Ok(Step::Skip(node.clone())),
        (_, [want]) if want.path.is_empty() && want.target == Target::Raw => Ok(Step::Show(node.clone(), want.slot)),
        (Node::Union(branches), wants) => union(schema, branches, wants),
        (Node::Null, [want]) if want.path.is_empty() => Ok(Step::Null(want.slot)),
        // An object that is null counts as one without fields.
        (Node::Null, _) => Ok(Step::Skip(Node::Null)),
        (Node::Scalar(scalar), &[Want { slot, path: [], target: Target::Value(column_type), .. }])
            if scalar.becomes(column_type) =>
        {
            Ok(Step::Take(scalar.clone(), column_type, slot))
        }
        (Node::Record(index), wants) if wants.iter().all(|want| !want.path.is_empty()) => {
            let fields = &schema.records[*index];
            fields
                .iter()
                .map(|field| plan(schema, &field.node, &wants_of(field, fields, wants)))
                .collect::<Result<_, _>>()
                .map(Step::Record)
        }
        (node, [want, ..]) => Err(refusal(node, want)),
    }
}

/// Plans each branch; those that fit nobody are refused when they come, unless none fits.
fn union(schema: &Schema, branches: &[Node], wants: &[Want<'_>]) -> Result<Step, String> {
    let planned: Vec<_> = branches.iter().map(|branch| plan(schema, branch, wants)).collect();
    let fits = |(branch, planned): (&Node, &Result<Step, String>)| *branch != Node::Null && planned.is_ok();
    let only_null = branches.iter().all(|branch| *branch == Node::Null);
    if !only_null && !branches.iter().zip(&planned).any(fits) {
        return Err(planned.into_iter().find_map(Result::err).unwrap_or_default());
    }
    let slots = || wants.iter().map(|want| want.slot).collect();
    let step = |(branch, planned): (&Node, Result<Step, String>)| {
        planned.unwrap_or_else(|_| Step::Misfit(branch.clone(), slots(), branch.kind()))
    };
    Ok(Step::Union(branches.iter().zip(planned).map(step).collect()))
}

/// Finds who wants something of a field: those that name it, or else, if no field has that name, name what it was called before.
fn wants_of<'a>(field: &Field, fields: &[Field], wants: &[Want<'a>]) -> Vec<Want<'a>> {
    let inside = |want: &Want<'a>| Want { path: &want.path[1..], ..*want };
    let named = |name: &String| fields.iter().any(|field| field.name == *name);
    let by_name: Vec<_> = wants.iter().filter(|want| want.path[0] == field.name).map(inside).collect();
    if !by_name.is_empty() {
        return by_name;
    }
    let by_alias = wants.iter().filter(|want| field.aliases.contains(&want.path[0]) && !named(&want.path[0]));
    // Two former names of a field are two slots; the first of them is enough.
    let first = by_alias.clone().map(|want| want.path[0].as_str()).next();
    by_alias.filter(|want| Some(want.path[0].as_str()) == first).map(inside).collect()
}

fn refusal(node: &Node, want: &Want<'_>) -> String {
    let Want { column, .. } = want;
    match (want.path, want.target) {
        ([], Target::Value(column_type)) => format!("column '{column}' is {column_type}, its field is {}", node.kind()),
        _ => format!("column '{column}' lies in a record, which here is {}", node.kind()),
    }
}
