//! The order in which views are planned: each after those that it reads.

use super::error::Refusal;

/// Returns the indices of the views so that each comes after those it reads, and otherwise in the order given.
///
/// `reads[i]` are the indices of the views that view `i` reads.
///
/// # Errors
/// Names a view on a cycle, and the cycle.
pub(super) fn order(names: &[&str], reads: &[Vec<usize>]) -> Result<Vec<usize>, (usize, Refusal)> {
    let mut placed = vec![false; names.len()];
    let mut order = Vec::with_capacity(names.len());
    while order.len() < names.len() {
        let ready = |&view: &usize| !placed[view] && reads[view].iter().all(|&read| placed[read]);
        match (0..names.len()).find(ready) {
            Some(view) => {
                placed[view] = true;
                order.push(view);
            }
            None => return Err(cycle(names, reads, &placed)),
        }
    }
    Ok(order)
}

/// Walks along views that wait for one another until one comes twice.
fn cycle(names: &[&str], reads: &[Vec<usize>], placed: &[bool]) -> (usize, Refusal) {
    let mut path: Vec<usize> = (0..names.len()).filter(|&view| !placed[view]).take(1).collect();
    let waits_for = |view: usize| reads[view].iter().copied().find(|&read| !placed[read]);
    while let Some(next) = path.last().copied().and_then(waits_for) {
        if let Some(start) = path.iter().position(|&view| view == next) {
            path.drain(..start);
            path.push(next);
            break;
        }
        path.push(next);
    }
    let path: Vec<&str> = path.iter().map(|&view| names[view]).collect();
    let view = names.iter().position(|name| path.first() == Some(name)).unwrap_or(0);
    let problem = match path.len() {
        2 => "the view reads itself".to_owned(),
        _ => format!("views read one another in a circle: {}", path.join(" → ")),
    };
    (view, Refusal::new(problem, "let each view read only sources and views that do not depend on it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_order_stays_where_it_can() {
        let order = order(&["a", "b", "c", "d"], &[vec![2], vec![], vec![1], vec![]]);
        assert_eq!(order.expect("no cycle"), [1, 2, 0, 3]);
    }

    #[test]
    fn a_cycle_is_named_without_what_leads_to_it() {
        let (view, refusal) = order(&["a", "b", "c"], &[vec![1], vec![2], vec![1]]).expect_err("a cycle");
        assert_eq!(view, 1);
        assert!(refusal.to_string().contains("b → c → b"), "{refusal}");
        let (_, refusal) = order(&["a"], &[vec![0]]).expect_err("a cycle");
        assert!(refusal.to_string().contains("reads itself"), "{refusal}");
    }
}
