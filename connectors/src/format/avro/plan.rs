//! What becomes of each field of a writer's schema: decided once, followed for each record.

use freshet_model::{ColumnType, Reason};

use super::super::binary::Broken;
use super::super::columns::Slot;
use super::super::convert::json;
use super::super::layout::{Layout, Target, Values};
use super::super::want::Want;
use super::input::Input;
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

impl Plan {
    /// Plans how records of a schema become the columns of a source.
    ///
    /// # Errors
    /// Why none of its records ever can, for a person.
    pub(super) fn new(schema: Schema, layout: &Layout) -> Result<Plan, String> {
        let Node::Record(_) = schema.root else { return Err(format!("it is {}, not a record", schema.root.kind())) };
        let root = plan(&schema, &schema.root, &Want::all(layout))?;
        Ok(Plan { schema, root })
    }

    /// Reads a record into the slots.
    pub(super) fn read(&self, record: &[u8], values: &mut Values) -> Result<(), Broken> {
        let mut input = Input::new(record);
        self.follow(&self.root, &mut input, values)?;
        match input.rest() {
            [] => Ok(()),
            _ => Err(Broken::Malformed("it goes on behind its end")),
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
                values.slots[*slot] = json(&String::from_utf8_lossy(&text), &mut values.texts);
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
        (node, [want, ..]) => Err(want.refusal(node.kind(), "record")),
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

/// Finds who wants something of a field, by its name or one that it had before.
fn wants_of<'a>(field: &Field, fields: &[Field], wants: &[Want<'a>]) -> Vec<Want<'a>> {
    let is_alias = |name: &str| field.aliases.iter().any(|alias| alias == name);
    Want::of(&field.name, is_alias, |name| fields.iter().any(|field| field.name == name), wants)
}
