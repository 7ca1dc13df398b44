//! What is wrong with a job file, where, and the way out.
//!
//! ```text
//! jobs/activity.toml:12:1: unknown key 'colums'
//!   did you mean 'columns'? Known here are url, format, columns, watermark
//!    |
//! 12 | colums = { user_id = "text" }
//!    | ^^^^^^
//! ```
//!
//! The snippet shows the file as written, variables unreplaced, and passwords hidden.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::redact;

/// An error of a job file.
#[derive(Debug)]
pub struct Error(Box<Details>);

#[derive(Debug)]
struct Details {
    path: PathBuf,
    what: String,
    way_out: String,
    spot: Option<Spot>,
}

/// A place in the file, and the line that holds it.
#[derive(Debug)]
struct Spot {
    line: usize,
    column: usize,
    text: String,
    caret: usize,
    width: usize,
}

impl Error {
    /// Describes a problem with the file as a whole.
    pub(crate) fn of_file(path: &Path, what: impl Into<String>, way_out: impl Into<String>) -> Error {
        Error(Box::new(Details { path: path.to_owned(), what: what.into(), way_out: way_out.into(), spot: None }))
    }

    /// Returns what is wrong, without place and way out.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Returns the line of the problem, counted from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.0.spot.as_ref().map(|spot| spot.line)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { path, what, way_out, spot } = &*self.0;
        write!(f, "{}", path.display())?;
        if let Some(spot) = spot {
            write!(f, ":{}:{}", spot.line, spot.column)?;
        }
        write!(f, ": {what}\n  {way_out}")?;
        match spot {
            Some(spot) => spot.fmt(f),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = number.len() + 1;
        write!(f, "\n{:margin$}|\n{number} | {}", "", self.text)?;
        write!(f, "\n{:margin$}| {:caret$}{}", "", "", "^".repeat(self.width), caret = self.caret)
    }
}

/// A job file's name and text, to which errors refer.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) path: PathBuf,
    pub(crate) text: Arc<str>,
}

impl Origin {
    /// Describes a problem with the part of the file at `place`.
    pub(crate) fn error(&self, place: &Range<usize>, what: impl Into<String>, way_out: impl Into<String>) -> Error {
        let error = Error::of_file(&self.path, redact::line(&what.into()), way_out);
        Error(Box::new(Details { spot: Some(self.spot(place)), ..*error.0 }))
    }

    fn spot(&self, place: &Range<usize>) -> Spot {
        let start = floor(&self.text, place.start);
        let begin = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[start..].find(['\n', '\r']).map_or(self.text.len(), |length| start + length);
        let line = &self.text[begin..end];
        let stop = floor(&self.text, place.end).clamp(start, end);
        let (_, caret) = redact::line_and_position(line, start - begin);
        let (shown, after) = redact::line_and_position(line, stop - begin);
        Spot {
            line: self.text[..begin].matches('\n').count() + 1,
            column: self.text[begin..start].chars().count() + 1,
            caret: width(&shown[..floor(&shown, caret)]),
            width: width(&shown[floor(&shown, caret)..floor(&shown, after.max(caret))]).max(1),
            text: shown.replace('\t', " "),
        }
    }

    /// Puts an error of the TOML library into our words.
    pub(crate) fn toml_error(&self, error: &toml::de::Error) -> Error {
        let place = error.span().unwrap_or(0..0);
        let (what, way_out) = translate(error.message());
        self.error(&place, what, way_out)
    }
}

fn width(text: &str) -> usize {
    console::measure_text_width(&text.replace('\t', " "))
}

/// Returns the last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Returns what is wrong and the way out, from a message of serde or of the TOML parser.
fn translate(message: &str) -> (String, String) {
    let first = message.lines().next().unwrap_or_default();
    let names: Vec<&str> = first.split('`').skip(1).step_by(2).collect();
    if first.starts_with("unknown field")
        && let Some((unknown, known)) = names.split_first()
    {
        return (format!("unknown key '{unknown}'"), suggestion(unknown, known.iter().copied()));
    }
    if let (true, Some(missing)) = (first.starts_with("missing field"), names.first()) {
        return (format!("the key '{missing}' is missing"), format!("add {missing} = …; docs/job-file.md says what it holds"));
    }
    if let Some((found, expected)) = first.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) {
        // The kind only: the value itself might be a secret.
        let kind = found.split([' ', '`', '"']).next().unwrap_or_default();
        let what = format!("wrong type: found {}, expected {}", in_toml(kind), in_toml(expected));
        return (what, "see docs/job-file.md for what each key holds".into());
    }
    (format!("not valid TOML: {first}"), "see https://toml.io for the syntax".into())
}

/// Returns TOML's word for one of serde's.
fn in_toml(kind: &str) -> &str {
    match kind {
        "sequence" | "a sequence" => "an array",
        "map" | "a map" => "a table",
        "string" => "a string",
        "integer" => "an integer",
        "boolean" => "a boolean",
        "floating" => "a float",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

/// Returns a sentence with the nearest of the `known` names, if one is near, and all of them.
pub(crate) fn suggestion<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let list = known.join(", ");
    match nearest(unknown, &known) {
        _ if known.is_empty() => "nothing of the kind is known here".into(),
        Some(near) => format!("did you mean '{near}'? Known here: {list}"),
        None => format!("known here: {list}"),
    }
}

/// Returns the name that was probably meant.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|name| (strsim::jaro_winkler(unknown, name), *name));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}
