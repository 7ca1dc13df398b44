//! Letters as people and programs read them.

use std::collections::BTreeSet;
use std::fmt::Write;

use freshet_connectors::letters::{Kind, Letter, Outcome, Place};
use freshet_model::Timestamp;
use serde_json::{Map, Value, json};

use crate::text::{self, elapsed, thousands};

/// Returns the lines of a list, cut to the width of the terminal, if it is one.
pub(super) fn table(kind: Kind, letters: &[Letter], replayed: &BTreeSet<Place>) -> Vec<String> {
    if letters.is_empty() {
        return Vec::new();
    }
    let heads: &[&str] = match kind {
        Kind::Dead => &["time", "place", "reason", "bytes", "replayed", "detail"],
        Kind::Late => &["time", "place", "view", "window", "late by", "event"],
    };
    let mut rows = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    rows.extend(letters.iter().map(|letter| match kind {
        Kind::Dead => dead(letter, replayed.contains(&letter.place)),
        Kind::Late => late(letter),
    }));
    let terminal = console::Term::stdout();
    let width = if terminal.is_term() { usize::from(terminal.size().1) } else { usize::MAX };
    text::table(&rows, heads.len()).iter().map(|line| console::truncate_str(line, width, "…").into_owned()).collect()
}

fn dead(letter: &Letter, replayed: bool) -> Vec<String> {
    vec![
        time(letter.time),
        letter.place.to_string(),
        letter.reason.clone(),
        size(letter),
        if replayed || letter.replayed_at.is_some() { "yes" } else { "-" }.to_owned(),
        visible(&letter.detail),
    ]
}

fn late(letter: &Letter) -> Vec<String> {
    let Some(late) = &letter.late else { return vec![time(letter.time), letter.place.to_string()] };
    let seconds = late.watermark.0.saturating_sub(late.window_end.0) / 1_000_000;
    let by = match late.watermark {
        Timestamp::MAX => "the end".to_owned(),
        _ => elapsed(std::time::Duration::from_secs(seconds.unsigned_abs())),
    };
    let event = visible(&String::from_utf8_lossy(&letter.payload));
    vec![time(letter.time), letter.place.to_string(), late.view.clone(), time(Some(late.window_start)), by, event]
}

fn time(time: Option<Timestamp>) -> String {
    let text = time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

fn size(letter: &Letter) -> String {
    let bytes = thousands(letter.bytes.unwrap_or(letter.payload.len() as u64));
    if letter.is_whole() { bytes } else { format!("{bytes} (cut)") }
}

/// Returns all that is known of a letter, for a person.
pub(super) fn whole(letter: &Letter, replayed: bool) -> String {
    let mut fields = vec![("place", letter.place.to_string()), ("job", letter.job.clone()), ("time", optional(letter.time))];
    match &letter.late {
        None => {
            let kept = if letter.is_whole() { String::new() } else { format!(", of which {} were kept", letter.payload.len()) };
            let bytes = letter.bytes.map_or_else(|| "not known".to_owned(), thousands);
            fields.extend([
                ("reason", letter.reason.clone()),
                ("detail", visible(&letter.detail)),
                ("bytes", bytes + &kept),
                (
                    "replayed",
                    letter.replayed_at.map_or_else(|| if replayed { "yes" } else { "no" }.to_owned(), |at| at.to_string()),
                ),
            ]);
        }
        Some(late) => fields.extend([
            ("view", late.view.clone()),
            ("window", format!("{} to {}", late.window_start, late.window_end)),
            ("event time", late.event_time.to_string()),
            ("watermark", late.watermark.to_string()),
        ]),
    }
    let rows: Vec<_> = fields.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut out = text::table(&rows, 2).join("\n");
    let _ = writeln!(out, "\n\n{}", payload(&letter.payload));
    out
}

fn optional(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "not known".to_owned(), |time| time.to_string())
}

/// Returns a payload as text, without what could move the cursor, or as hexadecimal digits, 32 bytes a line.
fn payload(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.split('\n').map(visible).collect::<Vec<_>>().join("\n"),
        Err(_) => bytes.chunks(32).map(hex).collect::<Vec<_>>().join("\n"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes out what could move the cursor: letters hold what strangers have sent.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '·' } else { c }).collect()
}

/// Returns a letter as one JSON object.
pub(super) fn json(letter: &Letter, replayed: bool) -> String {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("place", json!(letter.place.to_string()));
    put("source", json!(letter.place.source));
    put("partition", json!(letter.place.partition));
    put("offset", json!(letter.place.offset));
    put("job", json!(letter.job));
    put("epoch", json!(letter.epoch));
    put("time", json!(letter.time.map(|time| time.to_string())));
    match &letter.late {
        None => {
            put("reason", json!(letter.reason));
            put("detail", json!(letter.detail));
            put("bytes", json!(letter.bytes));
            put("truncated", json!(!letter.is_whole()));
            put("replayed", json!(replayed || letter.replayed_at.is_some()));
            put("replayed_at", json!(letter.replayed_at.map(|at| at.to_string())));
        }
        Some(late) => {
            put("view", json!(late.view));
            for (name, time) in [
                ("window_start", late.window_start),
                ("window_end", late.window_end),
                ("event_time", late.event_time),
                ("watermark", late.watermark),
            ] {
                put(name, json!(time.to_string()));
            }
        }
    }
    match std::str::from_utf8(&letter.payload) {
        Ok(text) => put("payload", json!(text)),
        Err(_) => put("payload_hex", json!(hex(&letter.payload))),
    };
    Value::Object(object).to_string()
}

/// Returns what a replay made of a letter as one JSON object.
pub(super) fn outcome(letter: &Letter, outcome: Outcome) -> String {
    let (word, reason) = match outcome {
        Outcome::Replayed => ("replayed", None),
        Outcome::Before => ("replayed_before", None),
        Outcome::Left(reason) => ("left", Some(reason)),
    };
    json!({ "place": letter.place.to_string(), "outcome": word, "reason": reason }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(payload: &[u8], bytes: u64) -> Letter {
        Letter {
            place: Place { source: "clicks".to_owned(), partition: 2, offset: 17 },
            job: "activity".to_owned(),
            epoch: Some(3),
            time: Some(Timestamp(1_769_679_063_027_000)),
            reason: "malformed".to_owned(),
            detail: "not JSON\u{1b}[2J".to_owned(),
            payload: payload.to_vec(),
            bytes: Some(bytes),
            replayed_at: None,
            late: None,
        }
    }

    #[test]
    fn a_list_is_a_table_without_what_strangers_could_do_to_a_terminal() {
        let lines = table(Kind::Dead, &[letter(b"{", 1), letter(b"{", 2000)], &BTreeSet::new());
        let expected = [
            "time                  place        reason     bytes        replayed  detail",
            "2026-01-29T09:31:03Z  clicks/2/17  malformed  1            -         not JSON·[2J",
            "2026-01-29T09:31:03Z  clicks/2/17  malformed  2,000 (cut)  -         not JSON·[2J",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn one_letter_is_shown_with_its_payload_as_text_or_in_hexadecimal_digits() {
        let text = whole(&letter(b"{\n\"a\x07\"", 6), true);
        assert!(
            text.contains("bytes     6\n") && text.contains("replayed  yes\n") && text.ends_with("\n\n{\n\"a·\"\n"),
            "{text}"
        );
        let text = whole(&letter(&[0xff; 40], 100), false);
        assert!(
            text.contains("bytes     100, of which 40 were kept") && text.ends_with(&format!("\n{}\n", "ff".repeat(8))),
            "{text}"
        );
    }

    #[test]
    fn programs_get_all_of_it() {
        let read: Value = serde_json::from_str(&json(&letter(b"x", 1), false)).expect("JSON");
        assert_eq!((&read["place"], &read["truncated"], &read["payload"]), (&json!("clicks/2/17"), &json!(false), &json!("x")));
    }
}
