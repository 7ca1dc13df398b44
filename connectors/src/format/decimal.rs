//! Exact decimals as text: a number's digits to the integer that Arrow keeps, and back.

/// Why a text is not a value of a decimal column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The text is no number.
    NotANumber,
    /// The number has digits beyond the column's scale.
    TooFine,
    /// The number has more digits before the point than the column has room for.
    TooLarge,
}

/// Reads a number as JSON writes it, or with a leading `+` or zeros, as `value * 10^scale`; never rounds.
pub(super) fn parse(text: &str, precision: u8, scale: i8) -> Result<i128, Misfit> {
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
        Some(at) if at > 0 && at + 1 < mantissa.len() => (&mantissa[..at], &mantissa[at + 1..]),
        Some(_) => return Err(Misfit::NotANumber),
        None => (mantissa, &[][..]),
    };
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(Misfit::NotANumber);
    }
    let shift = i64::from(scale) + exponent - fraction.len() as i64;
    let value = scaled(whole.iter().chain(fraction), shift, precision)?;
    Ok(if negative { -value } else { value })
}

/// Reads a sign and digits; what no column could hold stops at a bound that still is too large or too fine for each.
fn parse_exponent(text: &[u8]) -> Result<i64, Misfit> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Misfit::NotANumber);
    }
    let size = digits.iter().fold(0_i64, |n, b| (n * 10 + i64::from(b - b'0')).min(1 << 40));
    Ok(if negative { -size } else { size })
}

/// Returns the digits as an integer, times `10^shift`.
fn scaled<'a>(digits: impl DoubleEndedIterator<Item = &'a u8> + Clone, shift: i64, precision: u8) -> Result<i128, Misfit> {
    let cut = usize::try_from(-shift).unwrap_or(0);
    if digits.clone().rev().take(cut).any(|&b| b != b'0') {
        return Err(Misfit::TooFine);
    }
    let limit = 10_i128.pow(u32::from(precision));
    let count = digits.clone().count();
    let mut value = 0_i128;
    for digit in digits.take(count.saturating_sub(cut)) {
        value = value * 10 + i128::from(digit - b'0');
        if value >= limit {
            return Err(Misfit::TooLarge);
        }
    }
    for _ in 0..if value == 0 { 0 } else { shift.max(0) } {
        value *= 10;
        if value >= limit {
            return Err(Misfit::TooLarge);
        }
    }
    Ok(value)
}

/// Writes the number that Arrow keeps as `value`.
pub(super) fn write(out: &mut Vec<u8>, value: i128, scale: i8) {
    if value < 0 {
        out.push(b'-');
    }
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_taken_exactly() {
        let cases = [
            ("0", 0),
            ("-0.00", 0),
            ("12.5", 1250),
            ("12.50", 1250),
            ("12.5000", 1250),
            ("-0.01", -1),
            ("1e2", 10_000),
            ("1.25E+1", 1250),
            ("125e-1", 1250),
            ("+7", 700),
            ("007", 700),
            ("0e999999999999999999999", 0),
            ("99999999.99", 9_999_999_999),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text, 10, 2), Ok(value), "{text}");
        }
        assert_eq!(
            parse("0.1234567890123456789012345678901234567", 38, 37),
            Ok(1_234_567_890_123_456_789_012_345_678_901_234_567)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use Misfit::{NotANumber, TooFine, TooLarge};
        let cases = [
            ("", NotANumber),
            ("-", NotANumber),
            (".5", NotANumber),
            ("5.", NotANumber),
            ("1e", NotANumber),
            ("1e+", NotANumber),
            ("NaN", NotANumber),
            ("1 ", NotANumber),
            ("0x10", NotANumber),
            ("1.2.3", NotANumber),
            ("--1", NotANumber),
            ("\u{661}", NotANumber),
            ("0.001", TooFine),
            ("1e-9999999999999999999", TooFine),
            ("100000000", TooLarge),
            ("1e999999999999", TooLarge),
            ("1e39", TooLarge),
        ];
        for (text, misfit) in cases {
            assert_eq!(parse(text, 10, 2), Err(misfit), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_i8..=38) {
            let mut out = Vec::new();
            write(&mut out, value, scale);
            let text = String::from_utf8(out).expect("ASCII");
            prop_assert_eq!(parse(&text, 38, scale), Ok(value), "{}", text);
        }

        #[test]
        fn never_panics(text in "[-+0-9.eE]{0,60}") {
            let _ = parse(&text, 38, 10);
        }
    }
}
