//! Reads JSON records: one object each, in UTF-8.

mod fields;
mod record;

use freshet_model::Reason;
use serde::de::DeserializeSeed;

pub(super) use self::fields::Fields;
use self::record::Record;
use super::decoder::as_text;
use super::depth::{MAX_DEPTH, is_too_deep};
use super::layout::Values;

/// Reads a record into the slots; returns it as text, in which the slots of texts lie.
pub(super) fn read<'p>(payload: &'p [u8], fields: &Fields, values: &mut Values) -> Result<&'p str, (Reason, String)> {
    let text = as_text(payload)?;
    if is_too_deep(payload) {
        return Err((Reason::TooDeep, format!("the record is nested more than {MAX_DEPTH} deep")));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    Record { fields, values, text }.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| describe(&error))?;
    Ok(text)
}

/// Sorts a parser's error. Its own words for a syntax error name a place; those for a wrong type would quote the value.
fn describe(error: &serde_json::Error) -> (Reason, String) {
    if error.is_data() {
        return (Reason::Malformed, "the record is not a JSON object".to_owned());
    }
    let words = error.to_string();
    match words.starts_with("number out of range") {
        true => (Reason::WrongType, format!("a {words}")),
        false => (Reason::Malformed, format!("not JSON: {words}")),
    }
}

#[cfg(test)]
mod tests;
