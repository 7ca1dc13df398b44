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

/// Names what each fold of a job saves.
#[must_use]
pub fn saved(plan: &Plan, lowered: &Lowered) -> Vec<Saved> {
    let stamp = |fold: &Fold| if fold.stamped { ", with the processing time" } else { "" };
    let of = |fold: &Fold| Saved {
        fold: format!("{}{}", fold_name(plan, fold), stamp(fold)),
        components: fold.components.iter().map(|component| component_name(plan, component)).collect(),
    };
    lowered.folds.iter().map(of).collect()
}

fn component_name(plan: &Plan, component: &Component) -> String {
    let view = &plan.views[component.view].table.name;
    match component.role {
        Role::Rows(_) => view.clone(),
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
    /// Compares what was saved with what a fold saves now.
    #[must_use]
    pub fn new(from: &Saved, to: &Saved, fold: &Fold) -> Conversion {
        let place = |(name, component): (&String, &Component)| {
            from.components.iter().position(|other| other == name).ok_or_else(|| component.shape.clone())
        };
        let slots = to.components.iter().zip(&fold.components).map(place).collect();
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
