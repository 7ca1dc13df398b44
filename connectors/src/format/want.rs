//! Who wants something of a value, while it is planned how records of a schema are read.

use super::layout::{Layout, Place, Target};

/// A slot that is to be filled from a value, or from inside of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want<'a> {
    pub(super) slot: usize,
    /// The way from the value inwards.
    pub(super) path: &'a [String],
    pub(super) target: Target,
    /// The column's name, for a person.
    pub(super) column: &'a str,
}

impl<'a> Want<'a> {
    /// Lists what a source's columns want of a record.
    pub(super) fn all(layout: &'a Layout) -> Vec<Want<'a>> {
        layout.places.iter().enumerate().map(|(slot, place)| Want::new(slot, place, layout)).collect()
    }

    fn new(slot: usize, place: &'a Place, layout: &'a Layout) -> Want<'a> {
        // Slots behind those of the columns are further names of them.
        let column = layout.columns.get(slot).map_or(place.path[0].as_str(), |column| column.name.as_str());
        Want { slot, path: &place.path, target: place.target, column }
    }

    /// Finds those who want something of a field: who names it, or else, if no field has that name, who knows it by another of its names.
    pub(super) fn of<'n>(
        name: &str,
        others: impl Fn(&str) -> bool,
        is_field: impl Fn(&str) -> bool,
        wants: &'n [Want<'a>],
    ) -> Vec<Want<'a>> {
        let inside = |want: &Want<'a>| Want { path: &want.path[1..], ..*want };
        let by_name: Vec<_> = wants.iter().filter(|want| want.path[0] == name).map(inside).collect();
        if !by_name.is_empty() {
            return by_name;
        }
        let by_other = |want: &&Want<'a>| others(&want.path[0]) && !is_field(&want.path[0]);
        // Two other names of a field are two slots; the first of them is enough.
        let first = wants.iter().find(by_other).map(|want| want.path[0].as_str());
        wants.iter().filter(|want| first == Some(want.path[0].as_str())).map(inside).collect()
    }

    /// Says why a value that is `kind` cannot be what is wanted; `whole` is what has fields in the language of the schema.
    pub(super) fn refusal(&self, kind: &str, whole: &str) -> String {
        let Want { column, .. } = self;
        match (self.path, self.target) {
            ([], Target::Value(column_type)) => format!("column '{column}' is {column_type}, its field is {kind}"),
            _ => format!("column '{column}' lies in a {whole}, which here is {kind}"),
        }
    }
}
