//! `UNION ALL` of views: their rows as those of one. That of streams is a stream: see [`derived`](super::derived).

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion_common::DFSchema;
use datafusion_expr::{Expr, cast};
use freshet_model::{Column, ColumnType};

use super::compile::Compiler;
use super::error::Planned;
use super::hidden::{Lowering, Made, restore};
use super::key::Part;
use super::relation::{Reads, Relation};
use crate::plan::{Body, Input, TimeBound};

/// Puts relations together; `schema` names and types the columns that all of them have.
pub(super) fn unite(relations: Vec<Relation>, schema: &DFSchema, lowering: &mut Lowering<'_>) -> Planned<Relation> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
    let told_apart = told_apart(&relations);
    let all: BTreeSet<usize> = (0..names.len()).collect();
    let mut parts = Vec::with_capacity(relations.len());
    for relation in relations {
        let hidden = lowering.hide_columns(typed(relation, &types)?, &names, &all)?;
        let Reads::View(view) = hidden.base.input else { unreachable!("streams are united as streams") };
        parts.push(view);
    }
    let made = made(&parts, told_apart, lowering);
    let columns = made.columns.iter().zip(&types).map(|(column, given)| restore(column, given)).collect();
    let index = lowering.push(made);
    Ok(Relation { columns, ..lowering.catalog.changes(index) })
}

/// Casts a relation's columns to the types that those of all relations have.
fn typed(mut relation: Relation, types: &[&DataType]) -> Planned<Relation> {
    relation.spread()?;
    let compiler = Compiler::new(relation.fields())?;
    let typed = relation.columns.iter().zip(types).map(|(expr, &wanted)| {
        let is_so = compiler.data_type(expr)? == *wanted;
        Ok(if is_so { expr.clone() } else { cast(expr.clone(), wanted.clone()) })
    });
    let columns = typed.collect::<Planned<_>>()?;
    Ok(Relation { columns, ..relation })
}

/// Returns the first column that is another constant in each relation.
fn told_apart(relations: &[Relation]) -> Option<usize> {
    let constant = |expr: &Expr| match expr.clone().unalias_nested().data {
        Expr::Literal(value, _) if !value.is_null() => Some(value),
        _ => None,
    };
    (0..relations.first()?.columns.len()).find(|&column| {
        let constants: Option<Vec<_>> = relations.iter().map(|relation| constant(&relation.columns[column])).collect();
        constants.is_some_and(|constants| constants.iter().enumerate().all(|(at, value)| !constants[..at].contains(value)))
    })
}

fn made(parts: &[usize], told_apart: Option<usize>, lowering: &Lowering<'_>) -> Made {
    let known = |view: usize| &lowering.catalog.views[view];
    let first = &known(parts[0]).view;
    let column = |index: usize| {
        let mut types = parts.iter().map(|&view| known(view).view.table.columns[index].column_type);
        let own = first.table.columns[index].column_type;
        // Texts of different bounds have none together; all else has been cast to one type.
        let column_type = if types.all(|other| other == own) { own } else { unbounded(own) };
        Column { name: first.table.columns[index].name.clone(), column_type }
    };
    let time_bound = |index: usize| {
        let bound = |view: usize| known(view).view.time_bounds.iter().find(|bound| bound.column == index).copied();
        let bounds: Vec<TimeBound> = parts.iter().map(|&view| bound(view)).collect::<Option<_>>()?;
        // Where the windows of the parts are not of one length, their starts do not tell their last instants.
        let last = |one: i64, other: i64| if one == other { one } else { one.min(other).min(0) };
        let all = |one: TimeBound, other: TimeBound| TimeBound {
            column: index,
            slack: one.slack.max(other.slack),
            last: last(one.last, other.last),
        };
        bounds.into_iter().reduce(all)
    };
    let width = first.table.columns.len();
    // Rows of one part are told apart by what tells all parts' rows apart, those of different parts by their constant.
    let is_known = parts.iter().all(|&view| !known(view).parts.is_empty());
    let constant = told_apart.filter(|_| is_known).map(|index| Part { name: column(index).name, columns: vec![index] });
    let told = constant.map(|constant| {
        let all = parts.iter().flat_map(|&view| known(view).parts.iter().cloned());
        std::iter::once(constant).chain(all).collect()
    });
    Made {
        columns: (0..width).map(column).collect(),
        inputs: parts.iter().map(|&view| Input::View(view)).collect(),
        body: Body::Union,
        time_bounds: (0..width).filter_map(time_bound).collect(),
        parts: told.unwrap_or_default(),
        other_parts: Vec::new(),
        warnings: Vec::new(),
    }
}

fn unbounded(column_type: ColumnType) -> ColumnType {
    if let ColumnType::Text(_) = column_type { ColumnType::Text(None) } else { column_type }
}
