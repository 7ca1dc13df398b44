//! The sources and the views planned so far, and what reading one of them means.

use freshet_model::TableSchema;

use super::key::Part;
use super::relation::{Base, Reads, Relation};
use super::tables::Entry;
use crate::plan::{SourcePlan, TablePlan, View};

/// A view that later views may read.
pub(super) struct KnownView {
    pub(super) view: View,
    /// What tells its rows apart.
    pub(super) parts: Vec<Part>,
    /// Something else that does, if there is any: of ranked rows their ranks.
    pub(super) other_parts: Vec<Part>,
    /// The view as a relation over its source, if it is row by row: whoever reads it reads the source.
    pub(super) inline: Option<Relation>,
}

/// All that a view may read.
pub(super) struct Catalog {
    /// The declared sources, and the streams made from them so far.
    pub(super) sources: Vec<SourcePlan>,
    /// The tables by which streams are enriched.
    pub(super) tables: Vec<TablePlan>,
    pub(super) views: Vec<KnownView>,
}

impl Catalog {
    /// Returns a source or a view as a relation.
    pub(super) fn relation(&self, entry: Entry) -> Relation {
        match entry {
            Entry::Source(index) => {
                let SourcePlan { name, columns, time_column, .. } = &self.sources[index];
                Relation::of(Base {
                    input: Reads::Source(index),
                    name: name.clone(),
                    columns: columns.clone(),
                    time: *time_column,
                    time_bounds: Vec::new(),
                    window_bounds: Vec::new(),
                    parts: Vec::new(),
                    window: None,
                })
            }
            Entry::View(index) => match &self.views[index].inline {
                Some(relation) => relation.clone(),
                None => self.changes(index),
            },
            Entry::Table(_) => unreachable!("a table is read by joins alone"),
        }
    }

    /// Returns a view as a relation over its changes.
    pub(super) fn changes(&self, index: usize) -> Relation {
        let View { table: TableSchema { name, columns, .. }, time_bounds, .. } = &self.views[index].view;
        Relation::of(Base {
            input: Reads::View(index),
            name: name.clone(),
            columns: columns.clone(),
            time: None,
            time_bounds: time_bounds.clone(),
            window_bounds: Vec::new(),
            parts: self.views[index].parts.clone(),
            window: None,
        })
    }
}
