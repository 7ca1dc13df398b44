//! The ways in which a record can be no valid event; each becomes a dead letter.

use super::dice::Dice;

/// A way to spoil the record that begins at an index of the buffer.
type Spoiler = fn(&mut Vec<u8>, usize, &mut Dice);

const SPOILERS: [Spoiler; 9] =
    [cut, empty, not_json, not_utf8, without_time, time_in_9999, time_of_nonsense, object_for_text, nul_character];

/// Makes a dead letter of the valid event at the end of `out`; never writes a line break.
pub(super) fn spoil(out: &mut Vec<u8>, begin: usize, dice: &mut Dice) {
    SPOILERS[dice.below(SPOILERS.len() as u64) as usize](out, begin, dice);
}

fn cut(out: &mut Vec<u8>, begin: usize, dice: &mut Dice) {
    let length = (out.len() - begin) as u64;
    out.truncate(begin + 1 + dice.below(length - 1) as usize);
}

fn empty(out: &mut Vec<u8>, begin: usize, _: &mut Dice) {
    out.truncate(begin);
}

fn not_json(out: &mut Vec<u8>, begin: usize, _: &mut Dice) {
    replace(out, begin, b"<event><type>page_view</type></event>");
}

fn not_utf8(out: &mut Vec<u8>, begin: usize, dice: &mut Dice) {
    let length = (out.len() - begin) as u64;
    out.insert(begin + dice.below(length) as usize, 0xff);
}

fn without_time(out: &mut Vec<u8>, begin: usize, _: &mut Dice) {
    replace(out, begin, br#"{"user_id": "user_1", "page_url": "/cart", "event_type": "page_view"}"#);
}

fn time_in_9999(out: &mut Vec<u8>, begin: usize, _: &mut Dice) {
    set_time(out, begin, br#""9999-06-30T12:00:00.000Z""#);
}

fn time_of_nonsense(out: &mut Vec<u8>, begin: usize, _: &mut Dice) {
    set_time(out, begin, br#""yesterday""#);
}

fn object_for_text(out: &mut Vec<u8>, begin: usize, _: &mut Dice) {
    let user = out[begin..].windows(11).position(|window| window == b"\"user_id\": ").map(|at| begin + at + 11);
    let end = user.and_then(|at| out[at..].iter().position(|&byte| byte == b',').map(|length| at + length));
    if let (Some(from), Some(to)) = (user, end) {
        out.splice(from..to, *b"{\"id\": 17}");
    }
}

fn nul_character(out: &mut Vec<u8>, begin: usize, _: &mut Dice) {
    let page = out[begin..].windows(2).position(|window| window == b"\"/").map(|at| begin + at + 2);
    if let Some(at) = page {
        out.splice(at..at, *b"\\u0000");
    }
}

fn replace(out: &mut Vec<u8>, begin: usize, record: &[u8]) {
    out.truncate(begin);
    out.extend_from_slice(record);
}

/// Replaces the value of the first field, the event time with its quotes.
fn set_time(out: &mut Vec<u8>, begin: usize, value: &[u8]) {
    let from = begin + b"{\"event_time\": ".len();
    let to = from + b"\"2026-01-29T09:31:03.027Z\"".len();
    out.splice(from..to, value.iter().copied());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::event::write_event;
    use super::*;

    #[test]
    fn every_spoiler_keeps_what_is_before_and_leaves_one_line_that_differs() {
        let mut event = Vec::new();
        write_event(&mut event, freshet_model::Timestamp(0), 3, "/", "click");
        for (kind, spoiler) in SPOILERS.iter().enumerate() {
            for roll in 0..50 {
                let mut out = b"before".to_vec();
                out.extend_from_slice(&event);
                spoiler(&mut out, 6, &mut Dice::at(roll, 0, 0));
                assert!(out.starts_with(b"before") && out[6..] != event[..] && !out.contains(&b'\n'), "spoiler {kind}");
            }
        }
    }

    #[test]
    fn the_spoiled_values_are_still_json_where_they_are_meant_to_be() {
        let spoilers: [Spoiler; 5] = [without_time, time_in_9999, time_of_nonsense, object_for_text, nul_character];
        for spoiler in spoilers {
            let mut out = Vec::new();
            write_event(&mut out, freshet_model::Timestamp(0), 3, "/", "click");
            spoiler(&mut out, 0, &mut Dice::at(0, 0, 0));
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        }
    }
}
