//! Streams that are made from others: what `dedupe`, `UNION ALL` and joins with tables read, and what is read of them.
//!
//! Such a stream is to all that reads it what a source is. Its inputs are sources and row-wise views as they are; any other row-wise query
//! becomes a hidden view first.

use std::any::Any;

use datafusion_common::DFSchemaRef;
use datafusion_expr::{Expr, LogicalPlan, Union};
use freshet_model::{Column, ColumnType};

use super::dedupe::DedupeTable;
use super::enrich;
use super::error::{Planned, Refusal};
use super::hidden::{Lowering, restore};
use super::relation::{Reads, Relation};
use super::tables::{Entry, Table};
use crate::explain::seconds;
use crate::plan::{Derived, Input, SourcePlan};

/// How a refusal names what reads the input, and what to write instead.
pub(super) struct Reader {
    pub(super) name: &'static str,
    pub(super) remedy: &'static str,
}

const DEDUPE: Reader =
    Reader { name: "dedupe()", remedy: "dedupe the source first, in a row-wise view, and aggregate or join what comes out" };
const UNION: Reader =
    Reader { name: "UNION ALL", remedy: "unite the sources first, in a row-wise view, and aggregate or join what comes out" };

impl Lowering<'_> {
    /// Makes the stream of the first records of each key.
    pub(super) fn dedupe(&mut self, table: &DedupeTable) -> Planned<Relation> {
        let input = self.stream(&table.input, &DEDUPE)?;
        let (name, columns, time_column) = self.known(input);
        if time_column.is_none() {
            let problem = format!("dedupe() needs the event time of '{name}', which its input has not or leaves out");
            return Err(Refusal::new(
                problem,
                "without it keys would be kept for ever: declare a watermark, and select its column",
            ));
        }
        let mut keys = Vec::with_capacity(table.keys.len());
        for key in &table.keys {
            let Expr::Column(column) = key else {
                let problem = format!("the key '{key}' of dedupe() is no column");
                return Err(Refusal::new(problem, "select it under a name in a view, and dedupe that by the name"));
            };
            keys.push(table.input.schema().index_of_column(column)?);
        }
        let names: Vec<&str> = keys.iter().map(|&key| columns[key].name.as_str()).collect();
        let name = format!("dedupe({name}, {}, {})", names.join(", "), seconds(table.within));
        let derived = Derived::Dedupe { input, keys, within: table.within };
        Ok(self.derive(SourcePlan { name, columns, time_column, derived: Some(derived) }, table.input.schema()))
    }

    /// Makes the stream of the records of several.
    pub(super) fn union(&mut self, union: &Union) -> Planned<Relation> {
        let inputs = union.inputs.iter().map(|input| self.stream(input, &UNION)).collect::<Planned<Vec<_>>>()?;
        let known: Vec<_> = inputs.iter().map(|&input| self.known(input)).collect();
        let names: Vec<&str> = known.iter().map(|(name, _, _)| name.as_str()).collect();
        let name = format!("union({})", names.join(", "));
        let column = |(index, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| Column {
            name: field.name().clone(),
            column_type: common(known.iter().map(|(_, columns, _)| columns[index].column_type)),
        };
        let columns = union.schema.fields().iter().enumerate().map(column).collect();
        let time_column = known[0].2.filter(|_| known.iter().all(|(_, _, time)| *time == known[0].2));
        Ok(self.derive(SourcePlan { name, columns, time_column, derived: Some(Derived::Union(inputs)) }, &union.schema))
    }

    /// Adds a stream, unless there is one that is made in the same way, and reads it.
    pub(super) fn stream_of(&mut self, stream: SourcePlan) -> Relation {
        let sources = &mut self.catalog.sources;
        let is_same = |known: &SourcePlan| known.derived == stream.derived && known.columns == stream.columns;
        let index = sources.iter().position(is_same).unwrap_or(sources.len());
        if index == sources.len() {
            sources.push(stream);
        }
        self.catalog.relation(Entry::Source(index))
    }

    /// The same with the types that `schema` gives its columns.
    fn derive(&mut self, stream: SourcePlan, schema: &DFSchemaRef) -> Relation {
        let relation = self.stream_of(stream);
        let columns = relation.base.columns.iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| restore(column, field.data_type())).collect();
        Relation { columns, ..relation }
    }

    /// Tells whether a query's rows are only ever added: those of streams, row by row.
    pub(super) fn is_stream(&self, plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::TableScan(scan) => {
                match (scan.source.as_ref() as &dyn Any).downcast_ref::<Table>().map(|table| table.entry) {
                    Some(Entry::View(view)) => self.catalog.views[view].inline.is_some(),
                    Some(Entry::Source(_)) => true,
                    Some(Entry::Table(_)) | None => false,
                }
            }
            LogicalPlan::SubqueryAlias(alias) => self.is_stream(&alias.input),
            LogicalPlan::Filter(filter) => self.is_stream(&filter.input),
            LogicalPlan::Projection(projection) => self.is_stream(&projection.input),
            LogicalPlan::Union(union) => union.inputs.iter().all(|input| self.is_stream(input)),
            LogicalPlan::Join(node) => enrich::enriched(node).is_some_and(|stream| self.is_stream(stream)),
            LogicalPlan::Extension(extension) => extension.node.as_any().is::<DedupeTable>(),
            _ => false,
        }
    }

    /// Returns a query of appended rows as an input, made a hidden view if need be.
    pub(super) fn stream(&mut self, plan: &LogicalPlan, reader: &Reader) -> Planned<Input> {
        if let Some(Entry::View(view)) = plainly(plan)
            && self.catalog.views[view].view.table.appends
        {
            return Ok(Input::View(view));
        }
        let relation = Relation::lower(plan, self)?;
        let Relation { base, groups, .. } = &relation;
        if groups.is_some() || base.window.is_some() || !matches!(base.input, Reads::Source(_)) {
            let is = if base.window.is_some() && groups.is_none() { "cut into windows" } else { "aggregated or joined" };
            let problem = format!("{} takes the records of streams, but '{}' is {is}", reader.name, base.name);
            return Err(Refusal::new(problem, reader.remedy));
        }
        if let Some(input) = relation.plainly() {
            return Ok(input);
        }
        let names: Vec<&str> = plan.schema().fields().iter().map(|field| field.name().as_str()).collect();
        self.hide_columns(relation, &names, &(0..names.len()).collect())?;
        Ok(Input::View(self.catalog.views.len() - 1))
    }

    /// Returns an input's name, columns and event time.
    pub(super) fn known(&self, input: Input) -> (String, Vec<Column>, Option<usize>) {
        match input {
            Input::Source(source) => {
                let SourcePlan { name, columns, time_column, .. } = self.catalog.sources[source].clone();
                (name, columns, time_column)
            }
            Input::View(view) => {
                let table = self.catalog.views[view].view.table.clone();
                (table.name, table.columns, table.time_column)
            }
        }
    }
}

/// Returns the source, view or table of which a query selects all columns, in their order, and all rows.
pub(super) fn plainly(plan: &LogicalPlan) -> Option<Entry> {
    match plan {
        LogicalPlan::TableScan(scan) => (scan.source.as_ref() as &dyn Any).downcast_ref::<Table>().map(|table| table.entry),
        LogicalPlan::SubqueryAlias(alias) => plainly(&alias.input),
        LogicalPlan::Projection(projection) => {
            let schema = projection.input.schema();
            let is_in_place = |(index, expr): (usize, &Expr)| match expr.clone().unalias() {
                Expr::Column(column) => schema.maybe_index_of_column(&column) == Some(index),
                _ => false,
            };
            let all = projection.expr.len() == schema.fields().len() && projection.expr.iter().enumerate().all(is_in_place);
            all.then(|| plainly(&projection.input)).flatten()
        }
        _ => None,
    }
}

/// Returns the type of a column whose values are of these types, which Arrow holds alike.
fn common(types: impl Iterator<Item = ColumnType>) -> ColumnType {
    let longest = |one, other| match (one, other) {
        (ColumnType::Text(Some(one)), ColumnType::Text(Some(other))) => ColumnType::Text(Some(one.max(other))),
        (ColumnType::Text(_), ColumnType::Text(_)) => ColumnType::Text(None),
        (one, _) => one,
    };
    types.reduce(longest).expect("invariant: a union has inputs")
}
