//! The declared fields of a JSON object, by their names.

use freshet_model::ColumnType;

use super::super::layout::{Layout, Place, Target};

/// The fields of one object that are of interest.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Fields(Vec<Field>);

/// A field, and what is read from it.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    use_of: Use,
}

/// What is read from a field.
#[derive(Debug, Clone)]
pub(super) enum Use {
    /// A value for this slot.
    Value(usize, ColumnType),
    /// The text of the value, for this slot.
    Raw(usize),
    /// The fields of an object.
    Object(Fields),
}

impl Fields {
    /// Sorts the places of a layout by the objects that they lie in.
    pub(in super::super) fn of(layout: &Layout) -> Fields {
        let mut fields = Fields::default();
        for (slot, place) in layout.places.iter().enumerate() {
            fields.insert(&place.path, slot, place);
        }
        fields
    }

    fn insert(&mut self, path: &[String], slot: usize, place: &Place) {
        let Some((name, inner)) = path.split_first() else { return };
        let at = self.0.iter().position(|field| field.name == *name);
        if let Some(Use::Object(fields)) = at.map(|at| &mut self.0[at].use_of) {
            return fields.insert(inner, slot, place);
        }
        let use_of = match (inner, place.target) {
            ([], Target::Value(column_type)) => Use::Value(slot, column_type),
            ([], Target::Raw) => Use::Raw(slot),
            (inner, _) => {
                let mut fields = Fields::default();
                fields.insert(inner, slot, place);
                Use::Object(fields)
            }
        };
        self.0.push(Field { name: name.clone(), use_of });
    }

    /// Finds a field by its name; `guess` is tried first.
    pub(super) fn find(&self, name: &str, guess: usize) -> Option<usize> {
        match self.0.get(guess) {
            Some(field) if field.name == name => Some(guess),
            _ => self.0.iter().position(|field| field.name == name),
        }
    }

    /// Returns what is read from a field that was found.
    pub(super) fn use_of(&self, index: usize) -> &Use {
        &self.0[index].use_of
    }

    /// Lists the slots that are filled from here.
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> {
        let mut slots = Vec::new();
        self.collect(&mut slots);
        slots.into_iter()
    }

    fn collect(&self, slots: &mut Vec<usize>) {
        for field in &self.0 {
            match &field.use_of {
                Use::Value(slot, _) | Use::Raw(slot) => slots.push(*slot),
                Use::Object(fields) => fields.collect(slots),
            }
        }
    }
}
