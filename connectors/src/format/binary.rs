//! What the binary formats have in common.

use freshet_model::Reason;

use super::depth::MAX_DEPTH;

/// A record that does not follow its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// What is wrong, for a person.
    Malformed(&'static str),
    /// Values inside of values inside of values.
    TooDeep,
}

/// Bytes are missing.
pub(super) const TOO_SHORT: Broken = Broken::Malformed("it ends too early");

impl Broken {
    /// Says why a record in this language is a dead letter.
    pub(super) fn letter(self, language: &str) -> (Reason, String) {
        match self {
            Broken::Malformed(what) => (Reason::Malformed, format!("not {language} of its schema: {what}")),
            Broken::TooDeep => (Reason::TooDeep, format!("the record is nested more than {MAX_DEPTH} deep")),
        }
    }
}

/// Reads an integer of seven bits a byte, the lowest first; returns what follows it too.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Broken> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            if at == 9 && byte > 1 {
                break;
            }
            return Ok((value, &bytes[at + 1..]));
        }
    }
    Err(if bytes.len() < 10 { TOO_SHORT } else { Broken::Malformed("a number beyond 64 bits") })
}

/// Takes the sign out of the lowest bit.
pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
