//! How the planner says no: what is wrong, and what to write instead.

use datafusion_common::{DataFusionError, SchemaError};

/// A view that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("view '{view}': {problem}; {remedy}")]
pub struct PlanError {
    /// Name of the view, or of the source if it is the source's declaration that is wrong.
    pub view: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// A [`PlanError`] that does not know yet which view it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub(super) struct Refusal {
    problem: String,
    remedy: String,
}

/// The outcome of a planning step.
pub(super) type Planned<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Refusal {
        Refusal { problem: problem.into(), remedy: remedy.into() }
    }

    /// Refuses the name of a thing that does not exist, and offers the nearest that does.
    pub(super) fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Refusal {
        let known: Vec<&str> = known.into_iter().collect();
        let remedy = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean '{}'?", quoted_if_needed(near)),
            None if known.is_empty() => format!("there is no {kind} to use here"),
            None if known.len() <= 40 => format!("use one of: {}", known.join(", ")),
            None => format!("use a {kind} that exists"),
        };
        Refusal::new(format!("unknown {kind} '{name}'"), remedy)
    }

    /// Takes out what stands in quotes.
    pub(super) fn without_quotes(self) -> Refusal {
        let parts = self.problem.split('\'').enumerate().map(|(index, part)| if index % 2 == 1 { "***" } else { part });
        Refusal { problem: parts.collect::<Vec<_>>().join("'"), ..self }
    }

    pub(super) fn about(self, view: &str) -> PlanError {
        PlanError { view: view.to_owned(), problem: self.problem, remedy: self.remedy }
    }
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Refusal {
        let root = error.find_root();
        match root {
            DataFusionError::External(inner) => match inner.downcast_ref::<Refusal>() {
                Some(refusal) => refusal.clone(),
                None => from_message(&inner.to_string()),
            },
            DataFusionError::SchemaError(inner, _) => from_schema_error(inner),
            DataFusionError::Collection(errors) if !errors.is_empty() => from_message(&errors[0].message()),
            _ => from_message(&root.message()),
        }
    }
}

impl From<Refusal> for DataFusionError {
    fn from(refusal: Refusal) -> DataFusionError {
        DataFusionError::External(Box::new(refusal))
    }
}

fn from_schema_error(error: &SchemaError) -> Refusal {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            Refusal::unknown("column", &field.name, valid_fields.iter().map(|column| column.name.as_str()))
        }
        SchemaError::AmbiguousReference { field } => {
            Refusal::new(format!("column '{}' is ambiguous", field.name), "put the table's name before it")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            let remedy = "give one of them another name with AS; inside aggregates and GROUP BY, in a subquery in FROM";
            Refusal::new(format!("two columns are named '{name}'"), remedy)
        }
    }
}

/// Finds the way out for the messages of DataFusion that people meet most.
fn from_message(message: &str) -> Refusal {
    let message = message.split("\n\nbacktrace").next().unwrap_or(message).trim().replace('\n', " ");
    let lower = message.to_lowercase();
    let remedy = if lower.contains("group by clause or") || lower.contains("must be in group by") {
        "add the column to GROUP BY, or put it into an aggregate such as max(…)"
    } else if lower.contains("in the where clause") {
        "put a condition on groups into HAVING"
    } else if lower.contains("cannot be nested") {
        "write the inner aggregate as a view of its own and read that view in FROM"
    } else if lower.contains("coerc") || lower.contains("cannot infer common") || lower.contains("cast") {
        "make the types agree with CAST(… AS …)"
    } else if lower.contains("unique expression names") {
        "give one of them another name with AS"
    } else if lower.contains("does not support zero arguments") || lower.contains("argument") {
        "correct the number and the types of the function's arguments"
    } else {
        "correct this part of the query"
    };
    Refusal::new(message, remedy)
}

/// Returns the name that was most likely meant, if one is near enough.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    use datafusion_common::utils::datafusion_strsim::levenshtein;
    let name = name.to_lowercase();
    let distance = |other: &str| {
        let other = other.to_lowercase();
        // A name that goes on where the other one stops is a likely slip: `event` for `event_type`.
        let prefix = name.len() >= 3 && (other.starts_with(&name) || name.starts_with(&other) && other.len() >= 3);
        let edits = levenshtein(&name, &other);
        if prefix { edits.min(1) } else { edits }
    };
    let most = (name.chars().count() / 3).max(1);
    known
        .map(|other| (distance(other), other))
        .filter(|(edits, _)| *edits <= most)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, other)| other)
}

/// Writes a name as SQL needs it: in quotes if it has capital letters or odd characters.
pub(super) fn quoted_if_needed(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["event_time", "event_type", "user_id", "page_url"];
        assert_eq!(nearest("evnt_time", known.into_iter()), Some("event_time"));
        assert_eq!(nearest("page", known.into_iter()), Some("page_url"));
        assert_eq!(nearest("amount", known.into_iter()), None);
    }

    #[test]
    fn an_unknown_name_without_a_near_one_lists_what_there_is() {
        let refusal = Refusal::unknown("column", "amount", ["a", "b"]);
        assert_eq!(refusal.to_string(), "unknown column 'amount'; use one of: a, b");
    }
}
