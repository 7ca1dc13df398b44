//! Late events and dead letters as JSON lines.

use freshet_model::{DeadLetter, LateEvent, Rejects, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A dead letter as it is written: the payload as `payload` when it is text, else in hexadecimal digits as `payload_hex`. Where less of it is
/// there than `bytes` says, the rest was left out.
#[derive(Serialize, Deserialize)]
pub(super) struct DeadLine {
    pub(super) source: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) reason: String,
    pub(super) detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_hex: Option<String>,
    #[serde(default)]
    pub(super) bytes: Option<u64>,
    #[serde(default)]
    pub(super) epoch: Option<u64>,
    #[serde(default)]
    pub(super) time: Option<String>,
}

/// A late event as it is written: `event` is the event's object.
#[derive(Serialize, Deserialize)]
pub(super) struct LateLine {
    pub(super) view: String,
    pub(super) source: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) window_start: String,
    pub(super) window_end: String,
    pub(super) event_time: String,
    pub(super) watermark: String,
    pub(super) event: Box<RawValue>,
    #[serde(default)]
    pub(super) epoch: Option<u64>,
    #[serde(default)]
    pub(super) time: Option<String>,
}

/// Appends a dead letter as one line, with so much of its payload at most.
pub(super) fn write_dead(out: &mut Vec<u8>, part: &Rejects, letter: &DeadLetter, max_payload_bytes: usize) {
    let text = text(&letter.payload, max_payload_bytes);
    let kept = &letter.payload[..letter.payload.len().min(max_payload_bytes)];
    let line = DeadLine {
        source: letter.source.clone(),
        partition: letter.partition,
        offset: letter.offset,
        reason: letter.reason.code().to_owned(),
        detail: letter.detail.clone(),
        payload: text.map(str::to_owned),
        payload_hex: text.is_none().then(|| hex(kept)),
        bytes: Some(letter.payload.len() as u64),
        epoch: Some(part.epoch),
        time: Some(part.processing_time.to_string()),
    };
    write_line(out, &line);
}

/// Appends a late event as one line.
pub(super) fn write_late(out: &mut Vec<u8>, part: &Rejects, late: &LateEvent) {
    let time = |time: Timestamp| time.to_string();
    // What is no JSON is quoted: it is a text then.
    let Ok(event) = RawValue::from_string(late.event.clone()).or_else(|_| serde_json::value::to_raw_value(&late.event)) else {
        return;
    };
    let line = LateLine {
        view: late.view.clone(),
        source: late.source.clone(),
        partition: late.partition,
        offset: late.offset,
        window_start: time(late.window_start),
        window_end: time(late.window_end),
        event_time: time(late.event_time),
        watermark: time(late.watermark),
        event,
        epoch: Some(part.epoch),
        time: Some(time(part.processing_time)),
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

/// Returns the payload as text, if all of it is, without a character that the limit would cut.
fn text(payload: &[u8], max_payload_bytes: usize) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok()?;
    Some(&text[..text.floor_char_boundary(max_payload_bytes)])
}

/// Reads hexadecimal digits; `None` if they are none.
pub(super) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
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
    use serde_json::Value;

    use super::*;

    /// The bound of these tests.
    const MAX: usize = 100;

    fn part() -> Rejects {
        Rejects { epoch: 7, processing_time: Timestamp(0), late: Vec::new(), dead: Vec::new() }
    }

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
        write_dead(&mut out, &part(), &letter, MAX);
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
    fn what_the_limit_leaves_out_is_told_and_no_character_is_cut() {
        let line = dead(("x".repeat(MAX - 1) + "ä").into_bytes());
        assert_eq!((&line["payload"], &line["bytes"]), (&"x".repeat(MAX - 1).into(), &(MAX + 1).into()));
        let line = dead(vec![0xff; MAX + 5]);
        assert_eq!((&line["payload_hex"], &line["bytes"]), (&"ff".repeat(MAX).into(), &(MAX + 5).into()));
        assert_eq!((&line["epoch"], &line["time"]), (&7.into(), &"1970-01-01T00:00:00.000000Z".into()));
    }

    #[test]
    fn hexadecimal_digits_are_read_back() {
        assert_eq!(from_hex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert_eq!([from_hex("f"), from_hex("fg"), from_hex("")], [None, None, Some(Vec::new())]);
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
        write_late(&mut out, &part(), &late);
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&line["event"]["user_id"], &line["window_end"]), (&"user_1".into(), &"1970-01-01T00:01:00.000000Z".into()));
    }
}
