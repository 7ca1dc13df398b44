//! Lengths of time, written as `INTERVAL '5 minutes'`.

use datafusion_common::ScalarValue;
use datafusion_expr::Expr;

use super::error::{Planned, Refusal};

const DAY: i64 = 86_400_000_000;

/// The way out of most refusals here.
const EXAMPLE: &str = "write a fixed length such as INTERVAL '5 minutes'";

/// Returns the length in microseconds of an interval literal; `what` is its role, for the message.
///
/// # Errors
/// Refuses what is not an interval literal, has no fixed length (months), is not a whole number of microseconds, or is not
/// positive.
pub(super) fn micros(expr: &Expr, what: &str) -> Planned<i64> {
    match signed_micros(expr, what)? {
        micros if micros > 0 => Ok(micros),
        _ => Err(Refusal::new(format!("{what} is not positive"), EXAMPLE)),
    }
}

/// The same for a length that may be zero or negative.
pub(super) fn signed_micros(expr: &Expr, what: &str) -> Planned<i64> {
    let Expr::Literal(value, _) = expr else {
        return Err(Refusal::new(format!("{what} is not an interval but '{expr}'"), EXAMPLE));
    };
    let (months, days, nanos) = match value {
        ScalarValue::IntervalMonthDayNano(Some(i)) => (i.months, i.days, i128::from(i.nanoseconds)),
        ScalarValue::IntervalDayTime(Some(i)) => (0, i.days, i128::from(i.milliseconds) * 1_000_000),
        ScalarValue::IntervalYearMonth(Some(months)) => (*months, 0, 0),
        _ => return Err(Refusal::new(format!("{what} is not an interval but {value}"), EXAMPLE)),
    };
    if months != 0 {
        let remedy = "write it in days, such as INTERVAL '30 days'";
        return Err(Refusal::new(format!("{what} is given in months or years, which have no fixed length"), remedy));
    }
    if nanos % 1000 != 0 {
        return Err(Refusal::new(format!("{what} is finer than a microsecond"), "times are kept in microseconds"));
    }
    let micros = i128::from(days) * i128::from(DAY) + nanos / 1000;
    i64::try_from(micros).map_err(|_| Refusal::new(format!("{what} is too long"), "the longest is about 292,000 years"))
}

/// Tells whether an expression is an interval literal.
pub(super) fn is_interval(expr: &Expr) -> bool {
    use ScalarValue::{IntervalDayTime, IntervalMonthDayNano, IntervalYearMonth};
    matches!(expr, Expr::Literal(IntervalMonthDayNano(_) | IntervalDayTime(_) | IntervalYearMonth(_), _))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(months: i32, days: i32, nanos: i64) -> Expr {
        Expr::Literal(ScalarValue::new_interval_mdn(months, days, nanos), None)
    }

    #[test]
    fn days_and_parts_of_seconds_add_up() {
        assert_eq!(micros(&interval(0, 1, 1_500_000), "size"), Ok(DAY + 1500));
    }

    #[test]
    fn lengths_that_are_none_are_refused() {
        for (expr, word) in [
            (interval(1, 0, 0), "months"),
            (interval(0, 0, 0), "not positive"),
            (interval(0, -1, 0), "not positive"),
            (interval(0, 0, 1), "microsecond"),
            (datafusion_expr::lit(5_i64), "not an interval"),
        ] {
            let refusal = micros(&expr, "the size").expect_err(word).to_string();
            assert!(refusal.contains(word) && refusal.contains("the size"), "{refusal}");
        }
    }
}
