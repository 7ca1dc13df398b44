//! Durations (`1h30m`, `250ms`) and sizes (`128MB`, `64MiB`) as people write them.

use std::time::Duration;

/// The units of a duration, the longest first, in milliseconds.
const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The units of a size.
const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Longest duration that is accepted: a thousand years would overflow the clock's arithmetic.
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Parses a duration: numbers with the units `d`, `h`, `m`, `s`, `ms`, from the longest to the shortest, each at most once.
///
/// # Errors
/// A sentence that names the text and shows the form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration");
    let mut rest = text.trim();
    let mut units = DURATIONS.iter();
    let mut millis = 0_u64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, unit, tail) = number_and_unit(rest).ok_or_else(wrong)?;
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        millis = number.checked_mul(*factor).and_then(|part| millis.checked_add(part)).ok_or_else(wrong)?;
        rest = tail;
    }
    let duration = Duration::from_millis(millis);
    if duration > MAX_DURATION { Err(format!("'{text}' is longer than a hundred years")) } else { Ok(duration) }
}

/// Parses a size: a number with one of the units `B`, `KB`, `MB`, `GB` (thousands), `KiB`, `MiB`, `GiB` (1024).
///
/// # Errors
/// A sentence that names the text and shows the form.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size");
    let (number, unit, tail) = number_and_unit(text.trim()).ok_or_else(wrong)?;
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    if !tail.is_empty() {
        return Err(wrong());
    }
    number.checked_mul(*factor).ok_or_else(wrong)
}

/// Writes a duration as a job file would: `1h30m`, `0s`. Parts of a millisecond are left out.
#[must_use]
pub fn write_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, factor) in DURATIONS {
        if millis >= factor {
            out.push_str(&format!("{}{name}", millis / factor));
            millis %= factor;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// Splits `30s5ms` into 30, `s` and `5ms`.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((number, &rest[..letters], rest[letters..].trim_start()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_of_every_form() {
        for (text, millis) in
            [("5m", 300_000), ("30s", 30_000), ("250ms", 250), ("1h30m", 5_400_000), ("2d", 172_800_000), ("1m 5s", 65_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn sizes_of_every_form() {
        for (text, bytes) in [("128MB", 128_000_000), ("64MiB", 64 << 20), ("10 kB", 10_000), ("1GiB", 1 << 30), ("7B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "5", "m", "5x", "-5s", "1.5h", "5s1h", "5s5s", "99999999999999999999s", "40000d", "5m!", "５s"] {
            duration(text).expect_err(text);
        }
        for text in ["", "5", "MB", "5 XB", "-5MB", "1.5GB", "5MB5KB", "99999999999999999999B", "20000000000GiB"] {
            size(text).expect_err(text);
        }
    }

    proptest! {
        #[test]
        fn a_duration_is_read_back_as_it_is_written(millis in 0_u64..3_000_000_000_000) {
            let written = Duration::from_millis(millis);
            prop_assert_eq!(duration(&write_duration(written)), Ok(written));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
