//! Where in a record the columns lie, as all formats see it.
//!
//! A record is read into *slots*: one for each column, and behind them one for each further name of a field. When all of the record has been
//! read, [`Layout::settle`] moves the value of a further name into its column's slot. So a format only has to fill slots, and
//! need not know what stands behind them.

use freshet_model::{Column, ColumnType, Reason};

use super::FieldSpec;
use super::columns::Slot;
use super::text;

/// The slots of a source's records.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The columns, in order: those of the first slots.
    pub(super) columns: Vec<Column>,
    /// One for each slot.
    pub(super) places: Vec<Place>,
    /// What each slot holds before a record is read.
    initial: Vec<Slot>,
    /// The texts of defaults.
    texts: String,
    /// Columns and their further slots, in the order in which they count.
    others: Vec<(usize, usize)>,
    /// Columns that no record may lack.
    required: Vec<usize>,
}

/// What a slot is filled from.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The field's name, behind the names of the objects that it lies in.
    pub(super) path: Vec<String>,
    /// What it is to become.
    pub(super) target: Target,
}

/// What a field is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A value of this type.
    Value(ColumnType),
    /// The JSON text of whatever it is.
    Raw,
}

/// One record's values on their way into columns.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// One for each place.
    pub(super) slots: Vec<Slot>,
    /// Texts that are not a stretch of the record.
    pub(super) texts: String,
}

impl Layout {
    /// Finds the places of columns; `fields` is empty or has an entry for each column.
    pub(super) fn new(columns: &[Column], fields: &[FieldSpec]) -> Result<Layout, String> {
        let mut layout = Layout {
            columns: columns.to_vec(),
            places: Vec::new(),
            initial: vec![Slot::Null; columns.len()],
            texts: String::new(),
            others: Vec::new(),
            required: Vec::new(),
        };
        let plain = FieldSpec::default();
        let fields = || columns.iter().enumerate().map(|(index, column)| (index, column, fields.get(index).unwrap_or(&plain)));
        for (_, column, field) in fields() {
            let path = field.names.first().cloned().unwrap_or_else(|| vec![column.name.clone()]);
            layout.places.push(Place { path, target: target(column, field) });
        }
        for (index, column, field) in fields() {
            for name in field.names.iter().skip(1) {
                layout.others.push((index, layout.places.len()));
                layout.places.push(Place { path: name.clone(), target: target(column, field) });
                layout.initial.push(Slot::Null);
            }
            if field.required {
                layout.required.push(index);
            }
            if let Some(default) = &field.default {
                layout.set_default(index, default)?;
            }
        }
        layout.check_apart()?;
        Ok(layout)
    }

    /// Makes values ready for the next record.
    pub(super) fn begin(&self, values: &mut Values) {
        values.slots.clear();
        values.slots.extend_from_slice(&self.initial);
        values.texts.clear();
        values.texts.push_str(&self.texts);
    }

    /// Returns what a slot holds before a record is read.
    pub(super) fn initial(&self, slot: usize) -> Slot {
        self.initial[slot]
    }

    /// Gives each column its value, once the record has been read, or says why the columns cannot hold it.
    pub(super) fn settle(&self, values: &mut Values) -> Result<(), (Reason, String)> {
        for &(column, other) in &self.others {
            if values.slots[column] == Slot::Null {
                values.slots[column] = values.slots[other];
            }
        }
        for (slot, column) in values.slots.iter().zip(&self.columns) {
            if let Slot::Misfit(reason, found) = slot {
                let (name, column_type) = (&column.name, column.column_type);
                return Err((*reason, format!("column '{name}' is {column_type}, the record holds {found}")));
            }
        }
        match self.required.iter().find(|&&column| values.slots[column] == Slot::Null) {
            Some(&column) => Err((Reason::MissingColumn, format!("column '{}' is missing or null", self.columns[column].name))),
            None => Ok(()),
        }
    }

    /// Puts a default into the last of a column's slots: any other name comes before it.
    fn set_default(&mut self, column: usize, default: &str) -> Result<(), String> {
        let Column { name, column_type } = &self.columns[column];
        let slot = text::read(default, *column_type, &mut self.texts);
        if matches!(slot, Slot::Misfit(..)) {
            return Err(format!("the default '{default}' of column '{name}' is not of its type {column_type}"));
        }
        let last = self.others.iter().rev().find(|(of, _)| *of == column).map_or(column, |&(_, other)| other);
        self.initial[last] = slot;
        Ok(())
    }

    /// Refuses a field that is to become two columns, or one column as a whole and another in part.
    fn check_apart(&self) -> Result<(), String> {
        for (index, place) in self.places.iter().enumerate() {
            let clash = |other: &&Place| place.path.starts_with(&other.path) || other.path.starts_with(&place.path);
            if let Some(other) = self.places[..index].iter().find(clash) {
                return Err(format!("the fields '{}' and '{}' overlap", other.path.join("."), place.path.join(".")));
            }
        }
        Ok(())
    }
}

fn target(column: &Column, field: &FieldSpec) -> Target {
    if field.raw { Target::Raw } else { Target::Value(column.column_type) }
}
