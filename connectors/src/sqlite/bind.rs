//! Arrow columns as parameters of SQLite statements.

use std::ops::{Deref, Range};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array};
use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Float64Type, Int64Type, TimestampMicrosecondType};
use rusqlite::Statement;
use rusqlite::types::Null;

/// The values of one column.
enum Values<'a> {
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Integer(&'a Int64Array),
    Real(&'a Float64Array),
    Bool(&'a BooleanArray),
    Time(&'a TimestampMicrosecondArray),
    Decimal(&'a Decimal128Array),
}

/// The columns of a batch, ready to be bound row by row.
pub(super) struct Rows<'a> {
    columns: Vec<(&'a dyn Array, Values<'a>)>,
}

impl<'a> Rows<'a> {
    /// Reads the columns of a batch.
    pub(super) fn of(rows: &'a RecordBatch) -> Rows<'a> {
        Rows { columns: rows.columns().iter().map(|array| (&**array, values(array))).collect() }
    }

    /// Executes a statement with the values of a row as its parameters.
    pub(super) fn execute(&self, row: usize, statement: &mut Statement<'_>) -> rusqlite::Result<usize> {
        for (i, (array, values)) in self.columns.iter().enumerate() {
            let parameter = i + 1;
            if array.is_null(row) {
                statement.raw_bind_parameter(parameter, Null)?;
                continue;
            }
            match values {
                Values::Text(array) => statement.raw_bind_parameter(parameter, array.value(row))?,
                Values::Bytes(array) => statement.raw_bind_parameter(parameter, array.value(row))?,
                Values::Integer(array) => statement.raw_bind_parameter(parameter, array.value(row))?,
                Values::Real(array) => statement.raw_bind_parameter(parameter, array.value(row))?,
                Values::Bool(array) => statement.raw_bind_parameter(parameter, array.value(row))?,
                Values::Time(array) => statement.raw_bind_parameter(parameter, &*time_text(array.value(row)))?,
                Values::Decimal(array) => {
                    let text = Decimal128Type::format_decimal(array.value(row), array.precision(), array.scale());
                    statement.raw_bind_parameter(parameter, text)?;
                }
            }
        }
        statement.raw_execute()
    }
}

fn values(array: &ArrayRef) -> Values<'_> {
    match array.data_type() {
        DataType::Binary => Values::Bytes(array.as_binary()),
        DataType::Int64 => Values::Integer(array.as_primitive::<Int64Type>()),
        DataType::Float64 => Values::Real(array.as_primitive::<Float64Type>()),
        DataType::Boolean => Values::Bool(array.as_boolean()),
        DataType::Timestamp(..) => Values::Time(array.as_primitive::<TimestampMicrosecondType>()),
        DataType::Decimal128(..) => Values::Decimal(array.as_primitive::<Decimal128Type>()),
        // All that is left of the types that a column can have.
        _ => Values::Text(array.as_string()),
    }
}

/// A time as text of fixed width, made where it is used: a column of times is bound without allocating.
pub(super) struct TimeText {
    bytes: [u8; 26],
    length: usize,
}

/// Writes a time as text; what lies outside the years 0 to 9999 is infinite.
pub(super) fn time_text(micros: i64) -> TimeText {
    const DAY: i64 = 86_400_000_000;
    let mut text = TimeText { bytes: *b"0000-00-00 00:00:00.000000", length: 26 };
    let (year @ 0..=9999, month, day) = date(micros.div_euclid(DAY)) else {
        text.set(if micros < 0 { "-infinity" } else { "infinity" });
        return text;
    };
    let rest = micros.rem_euclid(DAY);
    let fields = [(0..4, year), (5..7, month), (8..10, day), (11..13, rest / 3_600_000_000), (14..16, rest / 60_000_000 % 60)];
    fields.into_iter().for_each(|(places, number)| text.digits(places, number));
    text.digits(17..19, rest / 1_000_000 % 60);
    text.digits(20..26, rest % 1_000_000);
    text
}

/// Returns year, month and day of a day since 1970 (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn date(days_since_1970: i64) -> (i64, i64, i64) {
    // Days are counted from a first of March, so that a leap day is a year's last, in eras of 400 years.
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl TimeText {
    fn digits(&mut self, places: Range<usize>, mut number: i64) {
        for place in places.rev() {
            self.bytes[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    fn set(&mut self, text: &str) {
        self.bytes[..text.len()].copy_from_slice(text.as_bytes());
        self.length = text.len();
    }
}

impl Deref for TimeText {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).expect("digits are ASCII")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_width_and_sort_as_text() {
        let times = [i64::MIN, -62_167_219_200_000_000, -1, 0, 1_769_679_063_027_000, 253_402_300_799_999_999, i64::MAX];
        let texts: Vec<String> = times.iter().map(|&micros| time_text(micros).to_owned()).collect();
        assert_eq!(
            texts,
            [
                "-infinity",
                "0000-01-01 00:00:00.000000",
                "1969-12-31 23:59:59.999999",
                "1970-01-01 00:00:00.000000",
                "2026-01-29 09:31:03.027000",
                "9999-12-31 23:59:59.999999",
                "infinity"
            ]
        );
        assert!(texts.is_sorted());
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for day in (-719_528..2_932_896).step_by(97) {
            let expected = arrow::temporal_conversions::date32_to_datetime(day).unwrap().to_string();
            assert_eq!(expected[..10], time_text(i64::from(day) * 86_400_000_000)[..10]);
        }
    }
}
