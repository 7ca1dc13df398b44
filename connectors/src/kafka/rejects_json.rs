//! Late events and dead letters as JSON objects.

use freshet_model::{DeadLetter, LateEvent};

use crate::format::to_json::{write_text, write_time};

/// Writes a late event, with the event itself as an object.
pub(super) fn late_json(late: &LateEvent) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + late.event.len());
    out.push(b'{');
    text_field(&mut out, "view", &late.view);
    text_field(&mut out, "source", &late.source);
    raw_field(&mut out, "partition", late.partition.to_string().as_bytes());
    raw_field(&mut out, "offset", late.offset.to_string().as_bytes());
    for (name, time) in [
        ("window_start", late.window_start),
        ("window_end", late.window_end),
        ("event_time", late.event_time),
        ("watermark", late.watermark),
    ] {
        name_field(&mut out, name);
        write_time(&mut out, time.0);
    }
    raw_field(&mut out, "event", late.event.as_bytes());
    out.push(b'}');
    out
}

/// Writes a dead letter, with what can be read of the record as text.
pub(super) fn dead_json(dead: &DeadLetter) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + dead.payload.len());
    out.push(b'{');
    text_field(&mut out, "source", &dead.source);
    raw_field(&mut out, "partition", dead.partition.to_string().as_bytes());
    raw_field(&mut out, "offset", dead.offset.to_string().as_bytes());
    text_field(&mut out, "reason", dead.reason.code());
    text_field(&mut out, "detail", &dead.detail);
    text_field(&mut out, "payload", &String::from_utf8_lossy(&dead.payload));
    out.push(b'}');
    out
}

/// Writes a field's name, and the comma between it and the one before.
fn name_field(out: &mut Vec<u8>, name: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    write_text(out, name);
    out.push(b':');
}

fn text_field(out: &mut Vec<u8>, name: &str, text: &str) {
    name_field(out, name);
    write_text(out, text);
}

fn raw_field(out: &mut Vec<u8>, name: &str, json: &[u8]) {
    name_field(out, name);
    out.extend_from_slice(json);
}
