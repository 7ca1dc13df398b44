//! What may change in a job while its state stays: views come and go.
//!
//! A view that is gone leaves the state, and its table as it is. A view that is new has seen nothing: it counts what comes after it was
//! added. Hence it must not read a view that has rows already, whose changes would speak of rows that it never saw; and a sink cannot take up a view
//! that has rows already, whose older rows would be missing.

use std::collections::{BTreeMap, BTreeSet};

use super::parts::{Part, Parts};

/// What has changed between two jobs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// What may change, in words.
    pub(super) allowed: Vec<String>,
    /// What may not, in words.
    pub(super) refused: Vec<String>,
}

/// Compares a job with the one that its state was made by; `inputs` names for each view the views that it reads.
pub(super) fn compare(was: &Parts, is: &Parts, inputs: &BTreeMap<String, BTreeSet<String>>) -> Change {
    let mut change = Change::default();
    for (part, words) in is {
        match was.get(part) {
            Some(known) if known == words => {}
            Some(known) => change.refused.push(format!("{part} is now {words}, and was {known}")),
            None => match obstacle(part, was, inputs) {
                None => change.allowed.push(format!("{part} is new")),
                Some(obstacle) => change.refused.push(format!("{part} is new{obstacle}")),
            },
        }
    }
    for part in was.keys().filter(|part| !is.contains_key(part)) {
        let words = format!("{part} is gone");
        if matches!(part, Part::Source(_) | Part::Letters(_) | Part::Table(_)) {
            change.refused.push(words);
        } else {
            change.allowed.push(words);
        }
    }
    change
}

/// Says why a part cannot be added, if so.
fn obstacle(part: &Part, was: &Parts, inputs: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let has_rows = |view: &&String| was.contains_key(&Part::View((*view).clone()));
    match part {
        Part::Source(_) | Part::Letters(_) | Part::Table(_) => Some(String::new()),
        Part::Sink(_) => None,
        Part::View(name) => {
            let input = inputs.get(name).into_iter().flatten().find(has_rows)?;
            Some(format!(" and reads view '{input}', which has rows already"))
        }
        Part::Held { what, .. } => has_rows(&what).then(|| ", and the view has rows already".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(views: &[(&str, &str)], held: &[&str]) -> Parts {
        let mut parts =
            Parts::from([(Part::Source("s".to_owned()), "(n bigint)".to_owned()), (Part::Sink("t".to_owned()), String::new())]);
        parts.extend(views.iter().map(|(name, sql)| (Part::View((*name).to_owned()), (*sql).to_owned())));
        parts.extend(held.iter().map(|what| (Part::Held { sink: "t".to_owned(), what: (*what).to_owned() }, String::new())));
        parts
    }

    /// What may and what may not change from a job with the view `a`, held by the sink, and the view `b`, which nobody holds.
    fn change(is: &Parts) -> (Vec<String>, Vec<String>) {
        let was = parts(&[("a", "count"), ("b", "sum")], &["a"]);
        let inputs = BTreeMap::from([("over".to_owned(), BTreeSet::from(["a".to_owned()]))]);
        let Change { allowed, refused } = compare(&was, is, &inputs);
        (allowed, refused)
    }

    #[test]
    fn views_come_and_go() {
        let is = parts(&[("a", "count"), ("c", "max")], &["a", "c"]);
        let words = ["view 'c' is new", "'c' in sink 't' is new", "view 'b' is gone"].map(str::to_owned);
        assert_eq!(change(&is), (words.to_vec(), vec![]));
        assert_eq!(change(&parts(&[("a", "count"), ("b", "sum")], &["a"])), (vec![], vec![]));
    }

    #[test]
    fn a_view_does_not_become_another_one() {
        let (_, refused) = change(&parts(&[("a", "count 2"), ("b", "sum")], &["a"]));
        assert_eq!(refused, ["view 'a' is now count 2, and was count"]);
    }

    #[test]
    fn what_has_rows_already_is_not_taken_up_by_a_new_view_or_a_sink() {
        let (_, refused) = change(&parts(&[("a", "count"), ("b", "sum"), ("over", "top")], &["a", "b"]));
        let words = [
            "view 'over' is new and reads view 'a', which has rows already",
            "'b' in sink 't' is new, and the view has rows already",
        ];
        assert_eq!(refused, words);
    }

    #[test]
    fn sources_stay() {
        let mut is = parts(&[("a", "count"), ("b", "sum")], &["a"]);
        is.remove(&Part::Source("s".to_owned()));
        is.insert(Part::Source("z".to_owned()), String::new());
        assert_eq!(change(&is), (vec![], vec!["source 'z' is new".to_owned(), "source 's' is gone".to_owned()]));
    }
}
