//! Single values of a job file: variables replaced, parsed, checked, and named in errors by their place.
//!
//! An error shows a value as it was written, never what a variable put into it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::forms::Setting;
use super::variables::{self, Lookup, Unresolved};
use super::written::{Named, Text};
use super::{Error, Origin, suggestion, units};

/// A PostgreSQL identifier is cut at this length, and two cut names could meet.
pub(super) const MAX_NAME_BYTES: usize = 63;

/// Parses a text, or says what is wrong without showing it.
type Parse<T> = fn(&str) -> Result<T, &'static str>;

/// What every step needs: the file, for errors, and the environment.
pub(crate) struct Context<'a> {
    origin: &'a Origin,
    lookup: Lookup<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(origin: &'a Origin, lookup: Lookup<'a>) -> Context<'a> {
        Context { origin, lookup }
    }

    pub(crate) fn error(&self, at: &Text, what: impl Into<String>, way_out: impl Into<String>) -> Error {
        self.origin.error(&at.span(), what, way_out)
    }

    pub(super) fn error_at(&self, place: &Range<usize>, what: impl Into<String>, way_out: impl Into<String>) -> Error {
        self.origin.error(place, what, way_out)
    }

    /// Returns a text with its variables replaced; `key` names it in errors.
    pub(crate) fn value(&self, key: &str, text: &Text) -> Result<String, Error> {
        self.expanded(key, text.get_ref(), &text.span())
    }

    fn expanded(&self, key: &str, text: &str, place: &Range<usize>) -> Result<String, Error> {
        variables::expand(text, self.lookup).map_err(|error| {
            let way_out = match &error {
                Unresolved::Missing(name) => format!("set it, or write ${{{name}:-default}}"),
                Unresolved::Unclosed | Unresolved::BadName(_) => {
                    "write ${NAME}, ${NAME:-default}, or $$ for a dollar sign".to_owned()
                }
            };
            self.origin.error(place, format!("{error}; '{key}' needs it"), way_out)
        })
    }

    /// Returns a parsed text, or `default` when there is none.
    fn parsed<T>(&self, key: &str, text: Option<&Text>, default: T, parse: Parse<T>) -> Result<T, Error> {
        let Some(text) = text else { return Ok(default) };
        let way_out = if key.ends_with("bytes") {
            "write it like 128MB, 64MiB or 500KB"
        } else {
            "write it like 250ms, 30s, 5m, 1h30m or 2d"
        };
        let problem = |problem| self.error(text, format!("'{}' {problem}, in '{key}'", text.get_ref()), way_out);
        parse(&self.value(key, text)?).map_err(problem)
    }

    /// As [`parsed`](Self::parsed), for a duration.
    pub(super) fn duration(&self, key: &str, text: Option<&Text>, default: Duration) -> Result<Duration, Error> {
        self.parsed(key, text, default, units::duration)
    }

    /// As [`duration`](Self::duration), for one that may not be zero.
    pub(crate) fn positive(&self, key: &str, text: Option<&Text>, default: Duration) -> Result<Duration, Error> {
        match (self.duration(key, text, default)?, text) {
            (Duration::ZERO, Some(text)) => Err(self.error(text, format!("'{key}' is zero"), "give a duration above zero")),
            (duration, _) => Ok(duration),
        }
    }

    /// As [`parsed`](Self::parsed), for a size that may not be zero.
    pub(super) fn positive_size(&self, key: &str, text: Option<&Text>, default: u64) -> Result<u64, Error> {
        match (self.parsed(key, text, default, units::size)?, text) {
            (0, Some(text)) => Err(self.error(text, format!("'{key}' is zero"), "give a size above zero")),
            (size, _) => Ok(size),
        }
    }

    /// Returns the index of one of a few words.
    pub(super) fn choice(&self, key: &str, text: Option<&Text>, words: &[&str]) -> Result<usize, Error> {
        let Some(text) = text else { return Ok(0) };
        let value = self.value(key, text)?;
        let found = words.iter().position(|word| *word == value);
        found.ok_or_else(|| {
            let what = format!("'{}' is not a value of '{key}'", text.get_ref());
            self.error(text, what, suggestion(text.get_ref(), words.iter().copied()))
        })
    }

    /// Refuses names that SQL would need quotes for, or that a database would cut.
    pub(super) fn checked_name(&self, kind: &str, at: &Text, name: &str) -> Result<String, Error> {
        let fits =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || (c == '-' && matches!(kind, "sink" | "job"));
        let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        if first && name.len() <= MAX_NAME_BYTES && name.chars().all(fits) {
            return Ok(name.to_owned());
        }
        let way_out = format!("use lower-case letters, digits and _, a letter first, {MAX_NAME_BYTES} at most");
        Err(self.error(at, format!("'{}' cannot be the name of a {kind}", at.get_ref()), way_out))
    }

    /// Returns a URL whose scheme is one of `schemes`.
    pub(super) fn url(&self, key: &str, text: &Text, schemes: &[&str]) -> Result<String, Error> {
        let url = self.value(key, text)?;
        let is_scheme = |scheme: &str| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
        let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            return Err(self.error(text, format!("'{key}' is not a URL"), format!("begin it with one of {}", list(schemes))));
        };
        if !schemes.contains(&scheme) {
            let what = format!("unknown scheme '{scheme}' in '{key}'");
            return Err(self.error(text, what, suggestion(scheme, schemes.iter().copied())));
        }
        let topic = rest.split(['?', '#']).next().and_then(|path| path.split_once('/')).map_or("", |(_, topic)| topic);
        if scheme == "kafka" && (topic.is_empty() || topic.contains('/') || rest.starts_with('/')) {
            return Err(self.error(text, format!("no topic in '{key}'"), "write kafka://host:port,host:port/topic"));
        }
        Ok(url)
    }

    pub(super) fn settings(&self, key: &str, settings: Named<toml::Spanned<Setting>>) -> Result<BTreeMap<String, String>, Error> {
        let mut out = BTreeMap::new();
        for (name, setting) in settings {
            let value = self.expanded(&format!("{key}.{}", name.get_ref()), &setting.get_ref().0, &setting.span())?;
            out.insert(name.into_inner(), value);
        }
        Ok(out)
    }
}

fn list(schemes: &[&str]) -> String {
    schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
}
