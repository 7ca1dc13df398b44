//! Numbers, durations and tables as people read them.

use std::time::Duration;

/// Writes an integer with a comma between thousands.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a rate, rounded to an integer from ten on.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}/s") } else { format!("{}/s", thousands(per_second.round() as u64)) }
}

/// Writes a time that passes: `1h02m03s`, `4m05s`, `6s`.
#[must_use]
pub fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds:02}s"),
        _ => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

/// Writes a short time in the unit that suits it: `4.2 ms`, `1.5 s`; `-` when there is none.
#[must_use]
pub fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 0.01 => format!("{:.1} ms", seconds * 1000.0),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

/// Aligns the cells of some rows in columns, the first `left` of them to the left and the others to the right.
#[must_use]
pub fn table(rows: &[Vec<String>], left: usize) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| console::measure_text_width(cell)).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let alignment = if column < left { console::Alignment::Left } else { console::Alignment::Right };
            console::pad_str(cell, *width, alignment, None).into_owned()
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn times_take_the_unit_that_suits_them() {
        assert_eq!(elapsed(Duration::from_secs(3723)), "1h02m03s");
        assert_eq!(elapsed(Duration::from_secs(245)), "4m05s");
        assert_eq!([None, Some(0.0042), Some(0.12), Some(1.5)].map(latency), ["-", "4.2 ms", "120 ms", "1.5 s"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["VIEW".into(), "ROWS".into()], vec!["hits".into(), "1,000".into()]];
        assert_eq!(table(&rows, 1), ["VIEW   ROWS", "hits  1,000"]);
    }
}
