//! Views that the planner makes up: a part of a query that has a state of its own, such as the inner of two GROUP BYs, becomes a view that
//! the rest of the query reads.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::{Expr, cast, lit};
use freshet_model::{Column, TableSchema};

use super::ViewDefinition;
use super::catalog::{Catalog, KnownView};
use super::compile::Compiler;
use super::error::Planned;
use super::key;
use super::relation::{Relation, column};
use super::tables::Entry;
use super::view;
use crate::plan::{Body, Emit, Input, LatePolicy, TimeBound, View};

/// The query of one view on its way to a relation, and what it may read.
pub(super) struct Lowering<'a> {
    pub(super) catalog: &'a mut Catalog,
    /// The view's name.
    pub(super) view: &'a str,
    /// How many parts of the query are views already.
    parts: usize,
}

/// A view that the planner has made up, apart from its name.
pub(super) struct Made {
    pub(super) columns: Vec<Column>,
    pub(super) inputs: Vec<Input>,
    pub(super) body: Body,
    pub(super) time_bounds: Vec<TimeBound>,
    /// What tells its rows apart.
    pub(super) parts: Vec<key::Part>,
    /// Something else that does.
    pub(super) other_parts: Vec<key::Part>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(catalog: &'a mut Catalog, view: &'a str) -> Lowering<'a> {
        Lowering { catalog, view, parts: 0 }
    }

    /// Makes a relation a view of its own, with those of its columns that `exprs` read, and returns it as one that reads that view.
    ///
    /// `schema` names the relation's columns, which keep their places.
    pub(super) fn hide(&mut self, relation: Relation, schema: &DFSchema, exprs: &[Expr]) -> Planned<Relation> {
        let mut read = BTreeSet::new();
        for column in exprs.iter().flat_map(Expr::column_refs) {
            read.insert(schema.index_of_column(column)?);
        }
        // A row without columns is still a row.
        if read.is_empty() {
            read.insert(0);
        }
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        self.hide_columns(relation, &names, &read)
    }

    /// The same for columns given by their places; `names` are the names of all.
    pub(super) fn hide_columns(&mut self, mut relation: Relation, names: &[&str], read: &BTreeSet<usize>) -> Planned<Relation> {
        relation.spread()?;
        let compiler = Compiler::new(relation.fields())?;
        let given = read.iter().map(|&index| compiler.data_type(&relation.columns[index])).collect::<Planned<Vec<_>>>()?;
        let mut taken: Vec<String> = Vec::new();
        read.iter().for_each(|&index| taken.push(unique(names[index], &taken)));
        let mut restored = vec![lit(ScalarValue::Null); relation.columns.len()];
        let columns = read.iter().map(|&index| relation.columns[index].clone()).collect();
        let definition = self.definition();
        let part = view::Part { definition: &definition, of: Some(self.view) };
        let known = view::build(&part, Relation { columns, ..relation }, &taken, self)?;
        for ((&index, column), given) in read.iter().zip(&known.view.table.columns).zip(given) {
            restored[index] = restore(column, &given);
        }
        self.catalog.views.push(known);
        let hidden = self.catalog.relation(Entry::View(self.catalog.views.len() - 1));
        Ok(Relation { columns: restored, ..hidden })
    }

    /// Names the next part.
    fn definition(&mut self) -> ViewDefinition {
        self.parts += 1;
        let (name, sql) = (format!("{}${}", self.view, self.parts), format!("part {} of {}", self.parts, self.view));
        ViewDefinition { name, sql, key: Vec::new(), emit: Emit::Changes, late: LatePolicy::Keep }
    }

    /// Adds a view, and returns its index.
    pub(super) fn push(&mut self, made: Made) -> usize {
        let ViewDefinition { name, sql, emit, .. } = self.definition();
        let table = TableSchema { name, columns: made.columns, key: Vec::new(), time_column: None, appends: false };
        let view = View {
            table,
            emit,
            late: LatePolicy::Keep,
            sql,
            part_of: Some(self.view.to_owned()),
            inputs: made.inputs,
            body: made.body,
            time_bounds: made.time_bounds,
            trusts_key: false,
            warnings: made.warnings,
        };
        self.catalog.views.push(KnownView { view, parts: made.parts, other_parts: made.other_parts, inline: None });
        self.catalog.views.len() - 1
    }
}

/// Reads a column in the type that the query gave it, which may be narrower than the column's.
pub(super) fn restore(read: &Column, given: &DataType) -> Expr {
    match *given == read.column_type.arrow() {
        true => column(&read.name),
        false => cast(column(&read.name), given.clone()),
    }
}

/// Returns a name that is not taken: the one that is wanted, or the same with a number behind it.
pub(super) fn unique(wanted: &str, taken: &[String]) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2;
    while taken.contains(&name) {
        name = format!("{wanted} #{number}");
        number += 1;
    }
    name
}
