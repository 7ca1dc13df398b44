//! The ways in which a record can be no valid event; each becomes a dead letter.

use super::dice::Dice;

/// The names of the fields that are spoiled: those that every event of a kind has and every job reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The event time.
    pub(super) time: &'static str,
    /// A text.
    pub(super) text: &'static str,
    /// Another text.
    pub(super) other: &'static str,
}

/// A way to spoil the record that begins at an index of the buffer.
type Spoiler = fn(&mut Vec<u8>, usize, Shape, &mut Dice);

const SPOILERS: [Spoiler; 9] =
    [cut, empty, not_json, not_utf8, without_time, time_in_9999, time_of_nonsense, object_for_text, nul_character];

/// Makes a dead letter of the valid event at the end of `out`; never writes a line break.
pub(super) fn spoil(out: &mut Vec<u8>, begin: usize, shape: Shape, dice: &mut Dice) {
    SPOILERS[dice.below(SPOILERS.len() as u64) as usize](out, begin, shape, dice);
}

fn cut(out: &mut Vec<u8>, begin: usize, _: Shape, dice: &mut Dice) {
    let length = (out.len() - begin) as u64;
    out.truncate(begin + 1 + dice.below(length - 1) as usize);
}

fn empty(out: &mut Vec<u8>, begin: usize, _: Shape, _: &mut Dice) {
    out.truncate(begin);
}

fn not_json(out: &mut Vec<u8>, begin: usize, _: Shape, _: &mut Dice) {
    out.truncate(begin);
    out.extend_from_slice(b"<event><type>page_view</type></event>");
}

fn not_utf8(out: &mut Vec<u8>, begin: usize, _: Shape, dice: &mut Dice) {
    let length = (out.len() - begin) as u64;
    out.insert(begin + dice.below(length) as usize, 0xff);
}

fn without_time(out: &mut Vec<u8>, begin: usize, shape: Shape, _: &mut Dice) {
    set(out, begin, shape.time, b"null");
}

fn time_in_9999(out: &mut Vec<u8>, begin: usize, shape: Shape, _: &mut Dice) {
    set(out, begin, shape.time, br#""9999-06-30T12:00:00.000Z""#);
}

fn time_of_nonsense(out: &mut Vec<u8>, begin: usize, shape: Shape, _: &mut Dice) {
    set(out, begin, shape.time, br#""yesterday""#);
}

fn object_for_text(out: &mut Vec<u8>, begin: usize, shape: Shape, _: &mut Dice) {
    set(out, begin, shape.text, b"{\"id\": 17}");
}

fn nul_character(out: &mut Vec<u8>, begin: usize, shape: Shape, _: &mut Dice) {
    set(out, begin, shape.other, b"\"\\u0000\"");
}

/// Replaces the value of a field, which is a text or null.
fn set(out: &mut Vec<u8>, begin: usize, field: &str, value: &[u8]) {
    let name = format!("\"{field}\": ");
    let from = out[begin..].windows(name.len()).position(|window| window == name.as_bytes()).map(|at| begin + at + name.len());
    let to = from.and_then(|from| {
        let ends = |&byte: &u8| byte == b',' || byte == b'}';
        out[from..].iter().position(ends).map(|length| from + length)
    });
    if let (Some(from), Some(to)) = (from, to) {
        out.splice(from..to, value.iter().copied());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use freshet_model::Timestamp;

    use super::super::kinds::KINDS;
    use super::super::{Payloads, Settings};
    use super::*;

    /// A valid event of each kind.
    fn events() -> Vec<(Shape, Vec<u8>)> {
        let event = |name: &str| {
            let url = format!("generator://local/{name}?malformed=0");
            let mut event = Vec::new();
            Payloads::new(Settings::from_url(&url).unwrap(), Timestamp(1_769_679_063_027_000)).write(0, 5, &mut event);
            event
        };
        KINDS.iter().map(|(name, kind, _)| (kind.shape(), event(name))).collect()
    }

    #[test]
    fn every_spoiler_keeps_what_is_before_and_leaves_one_line_that_differs() {
        for (shape, event) in events() {
            for (kind, spoiler) in SPOILERS.iter().enumerate() {
                for roll in 0..50 {
                    let mut out = b"before".to_vec();
                    out.extend_from_slice(&event);
                    spoiler(&mut out, 6, shape, &mut Dice::at(roll, 0, 0));
                    assert!(out.starts_with(b"before") && out[6..] != event[..] && !out.contains(&b'\n'), "spoiler {kind}");
                }
            }
        }
    }

    #[test]
    fn the_spoiled_values_are_still_json_where_they_are_meant_to_be() {
        let spoilers: [Spoiler; 5] = [without_time, time_in_9999, time_of_nonsense, object_for_text, nul_character];
        for (shape, event) in events() {
            for spoiler in spoilers {
                let mut out = event.clone();
                spoiler(&mut out, 0, shape, &mut Dice::at(0, 0, 0));
                serde_json::from_slice::<serde_json::Value>(&out).unwrap();
            }
        }
    }
}
