//! Hides passwords in everything that a person or a log may see.
//!
//! Two shapes are known: `user:password@` in a URL, and a value assigned to a name that speaks of a secret (`password=…`,
//! `"sasl.password" = "…"`). When in doubt more is hidden, never less.

use std::ops::Range;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Parts of a name whose value is a secret.
const SECRET_NAMES: [&str; 4] = ["password", "passwd", "secret", "token"];

/// Returns a URL without its password.
#[must_use]
pub fn url(url: &str) -> String {
    replace(url, &merged(userinfo(url, url.len()).into_iter().chain(assignments(url)).collect()))
}

/// Returns a line of a file or message without the passwords in it.
#[must_use]
pub fn line(line: &str) -> String {
    replace(line, &secrets(line))
}

/// Returns a line without the passwords in it, and where `at` has moved to.
pub(crate) fn line_and_position(line: &str, at: usize) -> (String, usize) {
    let secrets = secrets(line);
    let mut moved = at;
    for secret in &secrets {
        if secret.end <= at {
            moved = moved + MASK.len() - secret.len();
        } else if secret.start < at {
            moved -= at - secret.start;
        }
    }
    (replace(line, &secrets), moved)
}

/// Finds the secrets of a line, in order and apart from each other.
fn secrets(line: &str) -> Vec<Range<usize>> {
    let mut found = assignments(line);
    for (scheme, _) in line.match_indices("://") {
        let start = scheme + 3;
        let end = line[start..].find(['"', '\'', ' ', '\t']).map_or(line.len(), |length| start + length);
        found.extend(userinfo(&line[scheme..end], end - scheme).map(|range| range.start + scheme..range.end + scheme));
    }
    merged(found)
}

/// Finds the password in `scheme://user:password@host`.
///
/// The last `@` ends it: a password with a `/` or an `@` that nobody escaped is hidden all the same.
fn userinfo(url: &str, end: usize) -> Option<Range<usize>> {
    let start = url.find("://")? + 3;
    let at = start + url[start..end].rfind('@')?;
    let colon = start + url[start..at].find(':')?;
    let password = colon + 1..at;
    (!password.is_empty() && !is_variable(&url[password.clone()])).then_some(password)
}

/// Finds the values that are assigned to names of secrets.
fn assignments(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for name in SECRET_NAMES {
        for (at, _) in lower.match_indices(name) {
            found.extend(assigned_value(text, at + name.len()));
        }
    }
    found
}

/// Finds the value behind a name that ends somewhere after `from`: `…_file" = "value"`, `=value&`.
fn assigned_value(text: &str, from: usize) -> Option<Range<usize>> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | ' ');
    let equals = from + text[from..].find(|c| !is_name(c))?;
    let rest = text[equals..].strip_prefix('=')?;
    let value = rest.trim_start();
    let start = text.len() - value.len();
    let quoted = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let range = match quoted {
        Some(quote) => {
            let length = value[1..].find(quote).unwrap_or(value.len() - 1);
            start + 1..start + 1 + length
        }
        None => start..start + value.find(['&', ' ', '"', '\'', ',', '}']).unwrap_or(value.len()),
    };
    (!range.is_empty() && !is_variable(&text[range.clone()])).then_some(range)
}

/// Tells whether the text is nothing but a reference to a variable, which is worth seeing and no secret.
fn is_variable(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

fn replace(text: &str, secrets: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for secret in secrets {
        out.push_str(&text[from..secret.start]);
        out.push_str(MASK);
        from = secret.end;
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_lose_their_passwords_only() {
        for (with, without) in [
            ("postgres://app:hunter2@db:5432/stream_data", "postgres://app:***@db:5432/stream_data"),
            ("postgres://app:hun/t@er2@db/x", "postgres://app:***@db/x"),
            ("postgres://app@db/x", "postgres://app@db/x"),
            ("postgres://db/x?user=a&password=hunter2&sslmode=require", "postgres://db/x?user=a&password=***&sslmode=require"),
            ("kafka://a:9092,b:9092/user_activity", "kafka://a:9092,b:9092/user_activity"),
            ("sqlite://data/freshet.db", "sqlite://data/freshet.db"),
        ] {
            assert_eq!(url(with), without);
        }
    }

    #[test]
    fn lines_of_a_job_lose_their_passwords() {
        for (with, without) in [
            (r#"url = "postgres://app:hunter2@db/x" # ours"#, r#"url = "postgres://app:***@db/x" # ours"#),
            (r#"url = "postgres://a:${DB_PASSWORD}@db/x""#, r#"url = "postgres://a:${DB_PASSWORD}@db/x""#),
            (r#"url = "postgres://a:${PW:-hunter2}@db/x""#, r#"url = "postgres://a:***@db/x""#),
            (r#"kafka = { "sasl.password" = "hun ter2", x = "1" }"#, r#"kafka = { "sasl.password" = "***", x = "1" }"#),
            ("password = 'hunter2'", "password = '***'"),
            ("secret=\"${TOKEN}\"", "secret=\"${TOKEN}\""),
        ] {
            assert_eq!(line(with), without);
        }
    }

    #[test]
    fn a_position_moves_with_the_text_before_it() {
        let text = r#"url = "postgres://a:hunter2@db/x", vews = []"#;
        let at = text.find("vews").expect("it is there");
        let (hidden, moved) = line_and_position(text, at);
        assert!(hidden[moved..].starts_with("vews"), "{hidden}");
    }

    proptest! {
        #[test]
        fn no_password_is_shown(password in "[a-zA-Z0-9/@:#?&=%!]{8,20}") {
            let hidden = url(&format!("postgres://app:{password}@db.example:5432/x"));
            prop_assert_eq!(hidden, "postgres://app:***@db.example:5432/x");
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}", at in 0_usize..40) {
            let _ = (url(&text), line(&text));
            if text.is_char_boundary(at) {
                let _ = line_and_position(&text, at);
            }
        }
    }
}
