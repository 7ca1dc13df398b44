//! Writes one event as pipeline 1's producers do, to the space.

use freshet_model::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 9999-12-31T23:59:59.999999Z: the last time with a year of four digits.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// Appends the event as JSON. The texts must not need escaping.
pub(super) fn write_event(out: &mut Vec<u8>, time: Timestamp, user: u64, page: &str, kind: &str) {
    out.extend_from_slice(b"{\"event_time\": \"");
    write_time(out, time);
    out.extend_from_slice(b"\", \"user_id\": \"user_");
    write_number(out, user);
    out.extend_from_slice(b"\", \"page_url\": \"");
    out.extend_from_slice(page.as_bytes());
    out.extend_from_slice(b"\", \"event_type\": \"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Appends a time with milliseconds, `2026-01-29T09:31:03.027Z`; what lies outside the years 1970 to 9999 becomes their first or last moment.
fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    let micros = time.0.clamp(0, LAST_MICROS);
    let (year, month, day) = civil(micros / MICROS_PER_DAY);
    let millis = (micros % MICROS_PER_DAY) / 1000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], seconds / 3600);
    put(&mut text[14..16], seconds / 60 % 60);
    put(&mut text[17..19], seconds % 60);
    put(&mut text[20..23], millis);
    out.extend_from_slice(&text);
}

/// Writes a number into all of `digits`, with leading zeros.
fn put(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

/// Converts days since 1970-01-01, which are not negative, to year, month and day.
///
/// Counts from a first of March, so that a leap day is the last of its year, in cycles of 400 years, which all have as many days.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (cycle, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_jiff_writes_them() {
        let mut micros = 0;
        while micros < LAST_MICROS {
            let mut out = Vec::new();
            write_time(&mut out, Timestamp(micros));
            let expected = format!("{:.3}", jiff::Timestamp::from_microsecond(micros / 1000 * 1000).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            // A step of some 11 days that meets every time of day.
            micros += 987_654_321_987;
        }
    }

    #[test]
    fn times_outside_four_digit_years_are_cut() {
        for (micros, expected) in [(i64::MIN, "1970-01-01T00:00:00.000Z"), (i64::MAX, "9999-12-31T23:59:59.999Z")] {
            let mut out = Vec::new();
            write_time(&mut out, Timestamp(micros));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn an_event_is_spaced_like_the_producers_do() {
        let mut out = Vec::new();
        write_event(&mut out, Timestamp(1_769_679_063_027_000), 10, "/cart", "page_view");
        let expected =
            r#"{"event_time": "2026-01-29T09:31:03.027Z", "user_id": "user_10", "page_url": "/cart", "event_type": "page_view"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
