//! What the states of folds are saved as, so that another job finds those that it shares with the one that saved them.
//!
//! Folds and their components have numbers in one job, which change with its views; what they keep is told by names.

use serde::{Deserialize, Serialize};

use crate::build::fold_name;
use crate::lower::{Component, Fold, Lowered, Role};
use crate::plan::Plan;
use crate::state::{Shape, Slot, State};

/// What a fold saves of each key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Names the fold: its input and its keys.
    pub fold: String,
    /// Names the components, in the order in which their slots are saved.
    pub components: Vec<String>,
}

/// Names what each fold of a job saves, and after them each stream that remembers keys.
#[must_use]
pub fn saved(plan: &Plan, lowered: &Lowered) -> Vec<Saved> {
    let of = |fold: &Fold| Saved {
        fold: fold_name(plan, fold),
        components: fold.components.iter().map(|component| component_name(plan, component)).collect(),
    };
    let remembered = |&stream: &usize| Saved {
        fold: format!("stream {}", plan.sources[stream].name),
        components: vec!["the time of each key".to_owned()],
    };
    lowered.folds.iter().map(of).chain(lowered.dedupes.iter().map(remembered)).collect()
}

impl Saved {
    /// Finds the fold that saved what this one goes on with: it has the same name and a component of this one. Folds may have one name, but no
    /// component is in two of them.
    #[must_use]
    pub fn place_in(&self, known: &[Saved]) -> Option<usize> {
        let is_it = |other: &Saved| {
            other.fold == self.fold && other.components.iter().any(|component| self.components.contains(component))
        };
        known.iter().position(is_it)
    }
}

fn component_name(plan: &Plan, component: &Component) -> String {
    let view = &plan.views[component.view].table.name;
    match component.role {
        Role::Rows(_) | Role::Ranks { .. } | Role::Pairs(_) => view.clone(),
        Role::Contribution { accumulator, .. } => format!("{view}, values of aggregate {accumulator}"),
    }
}

/// How the states that another job saved become those of a fold: views that are gone are left out, and those that are new have seen nothing.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// For each component its slot's index, or what is empty of it.
    slots: Vec<Result<usize, Shape>>,
    is_needed: bool,
}

impl Conversion {
    /// Compares what was saved with what a fold saves now, whose components have these shapes.
    #[must_use]
    pub fn new<'a>(from: &Saved, to: &Saved, shapes: impl IntoIterator<Item = &'a Shape>) -> Conversion {
        let place = |(name, shape): (&String, &Shape)| {
            from.components.iter().position(|other| other == name).ok_or_else(|| shape.clone())
        };
        let slots = to.components.iter().zip(shapes).map(place).collect();
        Conversion { slots, is_needed: from.components != to.components }
    }

    /// Converts one saved state; `None` if nothing is left of it.
    ///
    /// # Panics
    /// If the bytes are not a state of the fold: checkpoints are checksummed.
    #[must_use]
    pub fn convert(&self, value: Vec<u8>) -> Option<Vec<u8>> {
        if !self.is_needed {
            return Some(value);
        }
        let saved = State::decode(&value);
        let slot = |place: &Result<usize, Shape>| -> Slot {
            match place {
                Ok(index) => saved.0[*index].clone(),
                Err(shape) => shape.empty(),
            }
        };
        let state = State(self.slots.iter().map(slot).collect());
        let mut bytes = value;
        state.encode(&mut bytes);
        (!state.is_empty()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Group;

    fn named(fold: &str, components: &[&str]) -> Saved {
        Saved { fold: fold.to_owned(), components: components.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn group(rows: i64) -> Slot {
        Slot::Group(Some(Group { rows, ..Group::empty(None, &[]) }))
    }

    fn converted(from: &[&str], to: &[&str], slots: Vec<Slot>) -> Option<State> {
        let shapes = vec![Shape::Group; to.len()];
        let mut bytes = Vec::new();
        State(slots.into()).encode(&mut bytes);
        Conversion::new(&named("f", from), &named("f", to), &shapes).convert(bytes).map(|bytes| State::decode(&bytes))
    }

    #[test]
    fn what_both_jobs_have_stays_and_the_rest_is_empty_or_left_out() {
        let state = converted(&["a", "b"], &["c", "b"], vec![group(1), group(2)]);
        assert_eq!(state, Some(State(vec![Shape::Group.empty(), group(2)].into())));
        assert_eq!(converted(&["a"], &["a"], vec![group(1)]), Some(State(vec![group(1)].into())));
    }

    #[test]
    fn a_key_of_which_only_a_view_that_is_gone_knew_is_gone() {
        assert_eq!(converted(&["a", "b"], &["b"], vec![group(1), Slot::Group(None)]), None);
    }

    #[test]
    fn a_fold_is_found_by_its_name_and_a_component() {
        let known = [named("f", &["a"]), named("g", &["b"]), named("f", &["c", "d"])];
        assert_eq!(named("f", &["new", "d"]).place_in(&known), Some(2));
        assert_eq!(named("f", &["new"]).place_in(&known), None, "nobody saved anything of it");
        assert_eq!(named("f", &["b"]).place_in(&known), None);
    }
}
