//! Builds the streams that are made from others, which everything after them takes for sources.

use std::sync::Arc;

use arrow::datatypes::DataType;
use timely::dataflow::operators::core::Concatenate;

use super::{Batches, Graph};
use crate::lower::Lowered;
use crate::operators::dedupe::{self, Rule, dedupe};
use crate::operators::enrich::{self, enrich};
use crate::operators::union::part_of_union;
use crate::plan::{Derived, Input};

impl<'s> Graph<'s> {
    /// Builds all of them, each after the row-wise views that it reads.
    pub(super) fn streams(&mut self, lowered: &Lowered) {
        let plan = Arc::clone(&self.plan);
        for (index, source) in plan.sources.iter().enumerate() {
            let Some(derived) = &source.derived else { continue };
            for &input in derived.inputs() {
                if let Input::View(view) = input
                    && !self.mapped.contains_key(&view)
                {
                    assert!(self.build_map(view), "invariant: a stream is made from sources and row-wise views of them");
                }
            }
            let batches = match derived {
                Derived::Dedupe { input, keys, within } => self.dedupe(lowered, index, *input, (keys, *within)),
                Derived::Enrich { input, table, keys, only_matched } => self.enrich(index, *input, *table, (keys, *only_matched)),
                Derived::Union(inputs) => self.union(index, inputs),
            };
            debug_assert_eq!(self.batches.len(), index, "streams stand behind the declared sources");
            self.batches.push(batches);
        }
    }

    fn dedupe(&mut self, lowered: &Lowered, index: usize, input: Input, (keys, within): (&[usize], i64)) -> Batches<'s> {
        let source = &self.plan.sources[index];
        let key = |&column: &usize| (column, source.columns[column].column_type.arrow());
        let rule = Rule {
            stream: index,
            name: source.name.clone(),
            reads: self.plan.name_of(input).to_owned(),
            keys: keys.iter().map(key).collect::<Vec<(usize, DataType)>>(),
            time_column: source.time_column.expect("invariant: the planner refuses a dedupe without event time"),
            within,
        };
        let (restore, save) = self.stored(lowered.state_of_dedupe(index));
        let told = Arc::clone(&self.keys);
        let options = dedupe::Options {
            rule,
            begin: self.announcement([Input::Source(index)]),
            keys: Box::new(move |change| told(Input::Source(index), change)),
            restore,
            save,
        };
        let built = dedupe(self.scope, options, self.rows(input), self.seals.clone());
        self.sides.push(built.sides);
        self.kept.push(built.saved);
        built.batches
    }

    fn enrich(&mut self, index: usize, input: Input, table: usize, (keys, only_matched): (&[usize], bool)) -> Batches<'s> {
        let (name, schema) = (self.plan.sources[index].name.clone(), self.plan.table(Input::Source(index)).arrow());
        let rule = enrich::Rule { stream: index, name, table, keys: keys.to_vec(), only_matched, schema };
        let begin = (self.first.epoch, self.first.versions[table]);
        let versions = Arc::clone(&self.versions);
        let open = move |activator| versions(table, activator);
        let built = enrich(self.scope, rule, begin, open, self.rows(input), self.seals.clone());
        self.sides.push(built.sides);
        built.batches
    }

    fn union(&self, index: usize, inputs: &[Input]) -> Batches<'s> {
        let schema = self.plan.table(Input::Source(index)).arrow();
        let part =
            |(number, &input): (usize, &Input)| part_of_union((number, inputs.len()), Arc::clone(&schema), self.rows(input));
        self.scope.concatenate(inputs.iter().enumerate().map(part).collect::<Vec<_>>())
    }
}
