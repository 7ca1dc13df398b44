//! `${NAME}`, `${NAME:-default}` and `$$` in the texts of a job file.
//!
//! Variables are replaced after the file has been parsed, inside one text at a time, so that a value can never add a key or
//! a table. A value is not looked at again: a `$` in a password stays one.

/// A variable reference that cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unresolved {
    /// The variable has neither a value nor a default.
    #[error("the environment variable {0} is not set")]
    Missing(String),
    /// `${` without its `}`.
    #[error("'${{' without its '}}'")]
    Unclosed,
    /// What stands between the braces is not a name.
    #[error("'{0}' is not the name of an environment variable")]
    BadName(String),
}

/// Looks up a variable of the environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the variables of `text`.
///
/// As in a shell, a default also stands in for a value that is empty; it may itself hold variables. A `$` before anything
/// else than `{` or `$` is left as it is.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, Unresolved> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        rest = if let Some(body) = after.strip_prefix('{') {
            let end = closing_brace(body).ok_or(Unresolved::Unclosed)?;
            out.push_str(&reference(&body[..end], lookup)?);
            &body[end + 1..]
        } else {
            out.push('$');
            after.strip_prefix('$').unwrap_or(after)
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns the value of what stands between the braces.
fn reference(body: &str, lookup: Lookup<'_>) -> Result<String, Unresolved> {
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    if !is_name(name) {
        return Err(Unresolved::BadName(name.to_owned()));
    }
    match (lookup(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => expand(default, lookup),
        (None, None) => Err(Unresolved::Missing(name.to_owned())),
    }
}

/// Finds the brace that closes a reference, past those of references inside its default.
fn closing_brace(body: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut previous = ' ';
    for (at, character) in body.char_indices() {
        match character {
            '{' if previous == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        previous = character;
    }
    None
}

fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            "SECRET" => Some("a$b${HOST}\"\nurl = \"x".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn replaces_names_defaults_and_doubled_dollars() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${HOST}:5432", "db:5432"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-file://data}/enriched", "file://data/enriched"),
            ("${NONE:-${HOST}:${NONE:-1}}!", "db:1!"),
            ("$$", "$"),
            ("$${HOST}", "${HOST}"),
            ("'^/cart$' costs 5$", "'^/cart$' costs 5$"),
            ("${NONE:-}", ""),
        ] {
            assert_eq!(expand(text, &environment).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_value_is_taken_as_it_is() {
        assert_eq!(expand("<${SECRET}>", &environment).as_deref(), Ok("<a$b${HOST}\"\nurl = \"x>"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("${NONE}", "the environment variable NONE is not set"),
            ("${HOST", "'${' without its '}'"),
            ("${NONE:-${HOST}", "'${' without its '}'"),
            ("${}", "'' is not the name of an environment variable"),
            ("${1A}", "'1A' is not the name of an environment variable"),
            ("${A-B}", "'A-B' is not the name of an environment variable"),
        ] {
            let error = expand(text, &environment).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
    }
}
