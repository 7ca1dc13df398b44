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

/// Names what each fold of a job saves, after them each join, and then each stream that remembers keys.
#[must_use]
pub fn saved(plan: &Plan, lowered: &Lowered) -> Vec<Saved> {
    let of = |fold: &Fold| Saved {
        fold: fold_name(plan, fold),
        components: fold.components.iter().map(|component| component_name(plan, component)).collect(),
    };
    let joined = |&view: &usize| {
        let name = &plan.views[view].table.name;
        Saved { fold: format!("join {name}"), components: vec![format!("{name}, rows of both sides")] }
    };
    let remembered = |&stream: &usize| Saved {
        fold: format!("stream {}", plan.sources[stream].name),
        components: vec!["the time of each key".to_owned()],
    };
    let (joined, remembered) = (lowered.joins.iter().map(joined), lowered.dedupes.iter().map(remembered));
    lowered.folds.iter().map(of).chain(joined).chain(remembered).collect()
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

impl Saved {
    /// Returns the same with nothing of these views, and of the parts that the planner has made of them: places stay, and nobody finds them.
    #[must_use]
    pub fn without(&self, views: &[String]) -> Saved {
        let is_of = |name: &str, view: &String| {
            name.strip_prefix(view.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('$'))
        };
        let is_theirs = |name: &str| views.iter().any(|view| is_of(name, view));
        let clear = |name: &String, what: &str| if is_theirs(what) { String::new() } else { name.clone() };
        let component = |name: &String| clear(name, name.split(", ").next().unwrap_or_default());
        let stream = self.fold.strip_prefix("stream ").unwrap_or_default();
        Saved { fold: clear(&self.fold, stream), components: self.components.iter().map(component).collect() }
    }
}

fn component_name(plan: &Plan, component: &Component) -> String {
    let view = &plan.views[component.view].table.name;
    match component.role {
        Role::Rows(_) | Role::Ranks { .. } => view.clone(),
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

/// How the state of a key that two jobs have saved becomes one: the components that one of them has computed anew replace the other's.
#[derive(Debug, Clone)]
pub struct Splice {
    kept: Conversion,
    anew: Conversion,
    /// Whether what is saved are no [`State`]s but rows of a join or remembered keys, which are kept as they are.
    is_whole: bool,
}

impl Splice {
    /// Takes what was `kept`, if anything was, and what was made `anew`, if anything was, into a fold that saves `to` with components of these shapes.
    #[must_use]
    pub fn new(kept: Option<&Saved>, anew: Option<&Saved>, to: &Saved, shapes: &[&Shape]) -> Splice {
        let nothing = Saved { fold: to.fold.clone(), components: Vec::new() };
        let of = |saved: Option<&Saved>| Conversion::new(saved.unwrap_or(&nothing), to, shapes.iter().copied());
        Splice { kept: of(kept), anew: of(anew), is_whole: shapes.is_empty() }
    }

    /// Puts what the two know of one key together; `None` if nothing is left of it.
    ///
    /// # Panics
    /// If the bytes are not states of the fold: checkpoints are checksummed.
    #[must_use]
    pub fn splice(&self, kept: Option<Vec<u8>>, anew: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if self.is_whole {
            return kept.or(anew);
        }
        let decode = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(State::decode);
        let (kept_state, anew_state) = (decode(&kept), decode(&anew));
        let slot = |(kept, anew): (&Result<usize, Shape>, &Result<usize, Shape>)| -> Slot {
            let of = |place: &Result<usize, Shape>, state: &Option<State>| match place {
                Ok(index) => state.as_ref().map(|state| state.0[*index].clone()),
                Err(_) => None,
            };
            let empty = || match (kept, anew) {
                (Err(shape), _) | (_, Err(shape)) => Some(shape.empty()),
                (Ok(_), Ok(_)) => None,
            };
            let known = of(anew, &anew_state).or_else(|| of(kept, &kept_state));
            known.or_else(empty).expect("invariant: no component is both kept and made anew")
        };
        let state = State(self.kept.slots.iter().zip(&self.anew.slots).map(slot).collect());
        let mut bytes = kept.or(anew).unwrap_or_default();
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
    fn nothing_of_a_view_and_its_parts_is_found() {
        let views = ["a".to_owned()];
        let without = named("f", &["a", "a$1", "a, values of aggregate 0", "ab", "b"]).without(&views);
        assert_eq!(without, named("f", &["", "", "", "ab", "b"]));
        assert_eq!(named("stream a", &["the time of each key"]).without(&views).fold, "");
        assert_eq!(named("stream b", &["the time of each key"]).without(&views).fold, "stream b");
    }

    #[test]
    fn what_was_made_anew_takes_its_place_beside_what_was_kept() {
        let encoded = |slots: Vec<Slot>| {
            let mut bytes = Vec::new();
            State(slots.into()).encode(&mut bytes);
            bytes
        };
        let (kept, anew, to) = (named("f", &["gone", "b"]), named("f", &["a"]), named("f", &["a", "b"]));
        let splice = Splice::new(Some(&kept), Some(&anew), &to, &[&Shape::Group, &Shape::Group]);
        let of = |kept: Option<Vec<Slot>>, anew: Option<Vec<Slot>>| {
            splice.splice(kept.map(encoded), anew.map(encoded)).map(|bytes| State::decode(&bytes).0.to_vec())
        };
        let empty = || Shape::Group.empty();
        assert_eq!(of(Some(vec![group(9), group(2)]), Some(vec![group(1)])), Some(vec![group(1), group(2)]));
        assert_eq!(of(None, Some(vec![group(1)])), Some(vec![group(1), empty()]));
        assert_eq!(of(Some(vec![group(9), group(2)]), None), Some(vec![empty(), group(2)]));
        assert_eq!(of(Some(vec![group(9), empty()]), None), None, "of the key only the view of before knew");
        let remembered = Splice::new(Some(&to), Some(&to), &to, &[]);
        assert_eq!(remembered.splice(Some(vec![1]), Some(vec![2])), Some(vec![1]), "the job's own memory counts");
        assert_eq!(remembered.splice(None, Some(vec![2])), Some(vec![2]));
    }

    #[test]
    fn a_fold_is_found_by_its_name_and_a_component() {
        let known = [named("f", &["a"]), named("g", &["b"]), named("f", &["c", "d"])];
        assert_eq!(named("f", &["new", "d"]).place_in(&known), Some(2));
        assert_eq!(named("f", &["new"]).place_in(&known), None, "nobody saved anything of it");
        assert_eq!(named("f", &["b"]).place_in(&known), None);
    }
}
