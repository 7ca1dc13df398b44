//! How deeply a JSON text is nested.
//!
//! serde_json bounds the depth only where it recurses, and skips undeclared fields without recursion. So that a record is accepted
//! or refused whatever the columns are, the depth is found beforehand. Nearly every record is spared even that: one of less than
//! the limit's bytes cannot be too deep, nor can one with fewer opening brackets.

/// A record may be nested so deeply, itself included: the limit of serde_json's own trees.
pub(super) const MAX_DEPTH: usize = 127;

/// Tells whether a JSON text is nested more deeply than [`MAX_DEPTH`]. Of a text that is not JSON it may say either.
pub(super) fn is_too_deep(text: &[u8]) -> bool {
    let opening = |b: &&u8| matches!(**b, b'[' | b'{');
    text.len() > MAX_DEPTH && text.iter().filter(opening).count() > MAX_DEPTH && deepest(text) > MAX_DEPTH
}

/// Returns the greatest number of brackets that are open at once, outside of strings.
fn deepest(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_serde_json() {
        for depth in [1, 126, 127, 128, 129, 100_000] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let refused = serde_json::from_str::<serde_json::Value>(&text).is_err();
            assert_eq!(is_too_deep(text.as_bytes()), refused, "{depth}");
        }
    }

    #[test]
    fn brackets_in_strings_and_side_by_side_do_not_count() {
        assert!(!is_too_deep(format!("[\"\\\"{}\"]", "[".repeat(500)).as_bytes()));
        assert!(!is_too_deep(format!("[{}1]", "[],".repeat(500)).as_bytes()));
    }
}
