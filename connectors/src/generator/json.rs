//! Writes one event as a JSON object, spaced as pipeline 1's producers do it.

use freshet_model::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 9999-12-31T23:59:59.999999Z: the last time with a year of four digits.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// An event that is being written, field by field. Names and texts must not need escaping.
pub(super) struct Event<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Event<'a> {
    /// Begins an object at the end of `out`.
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Event<'a> {
        out.push(b'{');
        Event { out }
    }

    /// Ends the object.
    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    pub(super) fn time(mut self, name: &str, time: Timestamp) -> Self {
        self.name(name);
        self.out.push(b'"');
        write_time(self.out, time);
        self.out.push(b'"');
        self
    }

    /// A text in one or more parts.
    pub(super) fn text(mut self, name: &str, parts: &[&str]) -> Self {
        self.name(name);
        self.out.push(b'"');
        parts.iter().for_each(|part| self.out.extend_from_slice(part.as_bytes()));
        self.out.push(b'"');
        self
    }

    /// A text that ends with a number, such as `user_17`.
    pub(super) fn numbered(mut self, name: &str, prefix: &str, number: u64) -> Self {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(prefix.as_bytes());
        write_number(self.out, number);
        self.out.push(b'"');
        self
    }

    /// A UUID made of 128 bits, of which six are overwritten by its version.
    pub(super) fn uuid(mut self, name: &str, high: u64, low: u64) -> Self {
        self.name(name);
        self.out.push(b'"');
        write_uuid(self.out, high, low);
        self.out.push(b'"');
        self
    }

    pub(super) fn integer(mut self, name: &str, number: u64) -> Self {
        self.name(name);
        write_number(self.out, number);
        self
    }

    /// A number with two decimals, given in hundredths.
    pub(super) fn hundredths(mut self, name: &str, number: i64) -> Self {
        self.name(name);
        write_decimal(self.out, number, 2);
        self
    }

    /// A number with four decimals, given in ten-thousandths.
    pub(super) fn ten_thousandths(mut self, name: &str, number: i64) -> Self {
        self.name(name);
        write_decimal(self.out, number, 4);
        self
    }

    pub(super) fn boolean(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    pub(super) fn null(mut self, name: &str) -> Self {
        self.name(name);
        self.out.extend_from_slice(b"null");
        self
    }

    /// An IPv4 address.
    pub(super) fn address(mut self, name: &str, bytes: [u8; 4]) -> Self {
        self.name(name);
        for (byte, before) in bytes.into_iter().zip(*b"\"...") {
            self.out.push(before);
            write_number(self.out, byte.into());
        }
        self.out.push(b'"');
        self
    }

    /// An array of objects, each written by one call of `each`.
    pub(super) fn objects<T>(mut self, name: &str, items: impl Iterator<Item = T>, each: fn(Event<'_>, T) -> Event<'_>) -> Self {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            each(Event::begin(self.out), item).end();
        }
        self.out.push(b']');
        self
    }

    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.extend_from_slice(b", ");
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\": ");
    }
}

/// Appends a UUID of version 4.
fn write_uuid(out: &mut Vec<u8>, high: u64, low: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| ![8, 13, 18, 23].contains(place));
    let digits = (0..32).map(|digit| if digit < 16 { high >> (60 - 4 * digit) } else { low >> (124 - 4 * digit) });
    for (place, digit) in places.zip(digits) {
        text[place] = HEX[(digit & 15) as usize];
    }
    out.extend_from_slice(&text);
}

/// Appends a number of so many units of its last decimal.
fn write_decimal(out: &mut Vec<u8>, number: i64, decimals: u32) {
    if number < 0 {
        out.push(b'-');
    }
    let unit = 10u64.pow(decimals);
    write_number(out, number.unsigned_abs() / unit);
    out.push(b'.');
    let begin = out.len();
    out.resize(begin + decimals as usize, b'0');
    put(&mut out[begin..], (number.unsigned_abs() % unit).cast_signed());
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
    fn every_kind_of_value_is_json() {
        let mut out = Vec::new();
        fn item(event: Event<'_>, number: u64) -> Event<'_> {
            event.integer("n", number)
        }
        Event::begin(&mut out)
            .uuid("id", 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210)
            .numbered("user", "user_", 17)
            .text("url", &["/a", "?b"])
            .null("none")
            .hundredths("amount", -1205)
            .ten_thousandths("lat", 525_200)
            .boolean("ok", true)
            .address("ip", [10, 0, 255, 7])
            .objects("items", [1, 2].into_iter(), item)
            .objects("nothing", std::iter::empty(), item)
            .end();
        let expected = concat!(
            r#"{"id": "01234567-89ab-4def-bedc-ba9876543210", "user": "user_17", "url": "/a?b", "none": null, "#,
            r#""amount": -12.05, "lat": 52.5200, "ok": true, "ip": "10.0.255.7", "items": [{"n": 1}, {"n": 2}], "nothing": []}"#
        );
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
    }
}
