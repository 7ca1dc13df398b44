//! Which columns identify a view's row.

use freshet_model::Column;

use super::error::{Planned, Refusal};
use super::group::{Groups, Origin};
use crate::plan::JoinKind;

/// Something that distinguishes rows: each key must contain one of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What it is, for messages.
    pub(super) name: String,
    /// The view's columns that hold it.
    pub(super) columns: Vec<usize>,
}

/// Returns what distinguishes the rows of a grouped view: the window by either bound, and each group key.
///
/// `plain[i]` is the column of the groups' row that output column `i` plainly is.
pub(super) fn parts_of_groups(groups: &Groups, plain: &[Option<usize>]) -> Vec<Part> {
    let outputs = |origin: Origin| {
        let is = move |row: &Option<usize>| row.is_some_and(|row| groups.row[row].origin == origin);
        plain.iter().enumerate().filter(move |(_, row)| is(row)).map(|(output, _)| output)
    };
    let windowed = groups.row.iter().any(|c| c.origin == Origin::WindowStart);
    let session = groups.row.iter().any(|c| c.origin == Origin::LastEvent);
    let window = Part {
        name: "window_start or window_end".to_owned(),
        columns: outputs(Origin::WindowStart).chain(outputs(Origin::WindowEnd)).collect(),
    };
    let key = |index: usize| Part { name: groups.keys[index].text.clone(), columns: outputs(Origin::Key(index)).collect() };
    let mut parts: Vec<Part> = (0..groups.keys.len()).map(key).collect();
    if windowed {
        // Sessions are looked up by what they are kept for, other windows by time.
        parts.insert(if session { parts.len() } else { 0 }, window);
    }
    parts
}

/// Returns what distinguishes the rows of a view that passes columns of another view on.
pub(super) fn parts_of_view(input: &[Part], plain: &[Option<usize>]) -> Vec<Part> {
    let outputs = |column: usize| plain.iter().enumerate().filter(move |(_, c)| **c == Some(column)).map(|(output, _)| output);
    input
        .iter()
        .map(|part| Part { name: part.name.clone(), columns: part.columns.iter().flat_map(|&column| outputs(column)).collect() })
        .collect()
}

/// Returns what distinguishes the pairs of a join, given what distinguishes the rows of either side, and for each of that whether the join equates
/// it with something of the other side.
///
/// Whoever knows a row of one side knows what the join equates with it, so that only what is not equated is needed of the other side.
pub(super) fn parts_of_pairs(kind: JoinKind, parts: [Vec<Part>; 2], tied: &[Vec<bool>; 2]) -> Vec<Part> {
    if parts.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let untied = |side: usize| parts[side].iter().zip(&tied[side]).filter(|(_, tied)| !**tied).map(|(part, _)| part.clone());
    let by_left = || parts[0].iter().cloned().chain(untied(1)).collect::<Vec<_>>();
    let by_right = || untied(0).chain(parts[1].iter().cloned()).collect::<Vec<_>>();
    match kind {
        // A row without a partner has NULL where the other side would be.
        JoinKind::Full => parts.concat(),
        JoinKind::Inner => {
            let (left, right) = (by_left(), by_right());
            let held = |parts: &[Part]| parts.iter().all(|part| !part.columns.is_empty());
            if held(&right) && (!held(&left) || right.len() < left.len()) { right } else { left }
        }
        _ => by_left(),
    }
}

/// Returns the first column of each part that the columns before it do not hold, or the part that has none.
pub(super) fn derive(parts: &[Part]) -> Result<Vec<usize>, &Part> {
    let mut key = Vec::with_capacity(parts.len());
    for part in parts {
        if !part.columns.iter().any(|column| key.contains(column)) {
            key.push(part.columns.first().copied().ok_or(part)?);
        }
    }
    Ok(key)
}

/// Checks a key that the job gives.
///
/// # Errors
/// Refuses unknown and repeated columns, and a key that several rows could share.
pub(super) fn check(given: &[String], columns: &[Column], parts: &[Part]) -> Planned<Vec<usize>> {
    let mut key = Vec::with_capacity(given.len());
    for name in given {
        let index = find(name, columns)?;
        if key.contains(&index) {
            return Err(Refusal::new(format!("the key names '{name}' twice"), "name each column once"));
        }
        key.push(index);
    }
    match parts.iter().find(|part| !part.columns.iter().any(|column| key.contains(column))) {
        None => Ok(key),
        Some(missing) => Err(missing_part(missing, given, columns)),
    }
}

fn find(name: &str, columns: &[Column]) -> Planned<usize> {
    let exact = columns.iter().position(|c| c.name == name);
    let mut alike = columns.iter().enumerate().filter(|(_, c)| c.name.eq_ignore_ascii_case(name)).map(|(index, _)| index);
    match (exact, alike.next(), alike.next()) {
        (Some(index), _, _) | (None, Some(index), None) => Ok(index),
        _ => Err(Refusal::unknown("key column", name, columns.iter().map(|c| c.name.as_str()))),
    }
}

fn missing_part(part: &Part, given: &[String], columns: &[Column]) -> Refusal {
    let problem = format!("the key ({}) does not identify a row: it lacks {}", given.join(", "), part.name);
    let remedy = match part.columns.first() {
        Some(&column) => format!("add '{}' to the key", columns[column].name),
        None => format!("select {} as a column of its own and add it to the key", part.name),
    };
    Refusal::new(problem, remedy)
}
