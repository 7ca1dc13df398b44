//! Late events and dead letters as JSON lines.

use freshet_model::{DeadLetter, LateEvent, MAX_DEAD_PAYLOAD_BYTES, Timestamp};
use serde::Serialize;
use serde_json::Value;

/// A dead letter as it is written: the payload as `payload` when it is text, else in hexadecimal digits as `payload_hex`.
#[derive(Serialize)]
struct DeadLine<'a> {
    source: &'a str,
    partition: i32,
    offset: i64,
    reason: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

/// A late event as it is written: `event` is the event's object.
#[derive(Serialize)]
struct LateLine<'a> {
    view: &'a str,
    source: &'a str,
    partition: i32,
    offset: i64,
    window_start: String,
    window_end: String,
    event_time: String,
    watermark: String,
    event: Value,
}

/// Appends a dead letter as one line.
pub(super) fn write_dead(out: &mut Vec<u8>, letter: &DeadLetter) {
    let text = text(&letter.payload);
    let line = DeadLine {
        source: &letter.source,
        partition: letter.partition,
        offset: letter.offset,
        reason: letter.reason.code(),
        detail: &letter.detail,
        payload: text,
        payload_hex: text.is_none().then(|| hex(&letter.payload)),
    };
    write_line(out, &line);
}

/// Appends a late event as one line.
pub(super) fn write_late(out: &mut Vec<u8>, late: &LateEvent) {
    let time = |time: Timestamp| time.to_string();
    let line = LateLine {
        view: &late.view,
        source: &late.source,
        partition: late.partition,
        offset: late.offset,
        window_start: time(late.window_start),
        window_end: time(late.window_end),
        event_time: time(late.event_time),
        watermark: time(late.watermark),
        event: serde_json::from_str(&late.event).unwrap_or_else(|_| Value::String(late.event.clone())),
    };
    write_line(out, &line);
}

fn write_line(out: &mut Vec<u8>, line: &impl Serialize) {
    let begin = out.len();
    match serde_json::to_writer(&mut *out, line) {
        Ok(()) => out.push(b'\n'),
        // Texts and numbers always serialise; half a line must not remain if that should ever change.
        Err(_) => out.truncate(begin),
    }
}

/// Returns the payload as text; a character that was cut because the payload is cut there does not count against it.
fn text(payload: &[u8]) -> Option<&str> {
    match std::str::from_utf8(payload) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && payload.len() == MAX_DEAD_PAYLOAD_BYTES => {
            std::str::from_utf8(&payload[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use freshet_model::Reason;

    use super::*;

    fn dead(payload: Vec<u8>) -> Value {
        let letter = DeadLetter {
            source: "clicks".to_owned(),
            partition: 3,
            offset: 17,
            reason: Reason::Malformed,
            detail: "no \"JSON\"".to_owned(),
            payload,
        };
        let mut out = Vec::new();
        write_dead(&mut out, &letter);
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_payload_is_text_where_it_can_be_and_hexadecimal_otherwise() {
        let line = dead(b"a\n\"b\"".to_vec());
        assert_eq!((&line["payload"], &line["offset"], &line["reason"]), (&"a\n\"b\"".into(), &17.into(), &"malformed".into()));
        assert_eq!(dead(b"a\xff".to_vec())["payload_hex"], "61ff");
        assert!(dead(b"a\xff".to_vec()).get("payload").is_none());
    }

    #[test]
    fn a_character_cut_by_the_limit_is_left_out() {
        let mut payload = vec![b'x'; MAX_DEAD_PAYLOAD_BYTES - 1];
        payload.push("ä".as_bytes()[0]);
        assert_eq!(dead(payload)["payload"], "x".repeat(MAX_DEAD_PAYLOAD_BYTES - 1));
        assert_eq!(dead("ä".as_bytes()[..1].to_vec())["payload_hex"], "c3");
    }

    #[test]
    fn a_late_event_holds_the_event_as_an_object() {
        let late = LateEvent {
            view: "v".to_owned(),
            source: "clicks".to_owned(),
            partition: 0,
            offset: 1,
            window_start: Timestamp(0),
            window_end: Timestamp(60_000_000),
            event_time: Timestamp(1),
            watermark: Timestamp(70_000_000),
            event: "{\"user_id\": \"user_1\"}".to_owned(),
        };
        let mut out = Vec::new();
        write_late(&mut out, &late);
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&line["event"]["user_id"], &line["window_end"]), (&"user_1".into(), &"1970-01-01T00:01:00.000000Z".into()));
    }
}
