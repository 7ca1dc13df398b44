//! `emit = "final"` over a join: its rows are kept by a view of their own, each as a group, and shown when the watermark has settled them.

use std::collections::BTreeSet;

use super::compile::Compiler;
use super::error::{Planned, Refusal};
use super::group::{Groups, Origin, RowColumn};
use super::hidden::Lowering;
use super::relation::{Reads, Relation, column};
use crate::plan::TimeBound;

/// Makes a join one whose rows appear once; other relations stay as they are.
///
/// # Errors
/// Refuses a join that shows no time at which each of its rows is settled.
pub(super) fn once(relation: Relation, names: &[String], lowering: &mut Lowering<'_>) -> Planned<Relation> {
    let (None, Reads::Join(joined)) = (&relation.groups, &relation.base.input) else { return Ok(relation) };
    let (sure, name) = (relation.of_sure_sides(joined), relation.base.name.clone());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Relation { mut base, columns, .. } =
        lowering.hide_columns(relation, &names, &(0..names.len()).collect::<BTreeSet<_>>())?;
    // The first bound is the one that groups go by.
    let (bounds, others): (Vec<TimeBound>, Vec<TimeBound>) = base.time_bounds.iter().partition(|bound| sure[bound.column]);
    if bounds.is_empty() {
        let remedy = "give it a bound on times and select such a time of a side that has no NULLs, or write emit = \"changes\"";
        return Err(Refusal::new(format!("emit = \"final\" needs a time at which each row of {name} is settled"), remedy));
    }
    let compiler = Compiler::new(base.fields())?;
    let keys = base.columns.iter().map(|c| compiler.compile(column(&c.name), &c.column_type.arrow())).collect::<Planned<_>>()?;
    let row = base.columns.iter().enumerate().map(|(index, c)| RowColumn {
        name: c.name.clone(),
        column_type: c.column_type,
        origin: Origin::Key(index),
        restored: column(&c.name),
    });
    let groups = Groups {
        filter: None,
        keys,
        key_time_bounds: bounds.into_iter().chain(others).collect(),
        aggregates: Vec::new(),
        needs_processing_time: false,
        row: row.collect(),
        whole: Some(std::mem::take(&mut base.parts)),
    };
    Ok(Relation { base, groups: Some(groups), filter: Vec::new(), columns, ranking: None })
}
