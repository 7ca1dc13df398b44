//! Lists of values as text: `array_agg` as a JSON array, `string_agg` with a delimiter.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::datatypes::DataType;
use freshet_model::Timestamp;

use crate::plan::{Aggregate, Function};
use crate::state::{Choice, Value};

/// Stands behind a JSON array that leaves values out: no value has this form.
const MORE_ELEMENTS: &str = "{\"more\":true}";

/// Stands behind a text that leaves values out.
const MORE_TEXT: &str = "…";

/// Returns the list of a group's values; `None` if there are none.
pub(super) fn result(aggregate: &Aggregate, values: &BTreeMap<Value, i64>) -> Option<Value> {
    if values.is_empty() {
        return None;
    }
    let text = match &aggregate.function {
        Function::Array(choice) => {
            let data_type = aggregate.argument.as_ref().map_or(&DataType::Utf8, |argument| &argument.data_type);
            let (listed, has_more) = listed(*choice, values);
            let elements = listed.into_iter().map(|value| element(value, data_type));
            let elements = elements.chain(has_more.then(|| MORE_ELEMENTS.to_owned()));
            format!("[{}]", elements.collect::<Vec<_>>().join(","))
        }
        Function::Text(choice, delimiter) => {
            let (listed, has_more) = listed(*choice, values);
            let texts = listed.into_iter().filter_map(|value| if let Value::Text(text) = value { Some(&**text) } else { None });
            texts.chain(has_more.then_some(MORE_TEXT)).collect::<Vec<_>>().join(delimiter)
        }
        function => panic!("invariant: {function:?} is no list"),
    };
    Some(Value::Text(text.into()))
}

/// Returns the values of a list in its order, and whether it leaves some out.
fn listed(choice: Choice, values: &BTreeMap<Value, i64>) -> (Vec<&Value>, bool) {
    let most = choice.most as usize;
    let mut listed = Vec::new();
    let all: Box<dyn Iterator<Item = (&Value, &i64)>> =
        if choice.greatest { Box::new(values.iter().rev()) } else { Box::new(values.iter()) };
    for (value, &weight) in all {
        let times = if choice.distinct { 1 } else { usize::try_from(weight).unwrap_or(0) };
        let room = most - listed.len();
        listed.extend(std::iter::repeat_n(behind(value), times.min(room)));
        if times > room {
            return (listed, true);
        }
    }
    (listed, false)
}

/// A value without what it was ordered by.
fn behind(value: &Value) -> &Value {
    if let Value::Pair(pair) = value { &pair.1 } else { value }
}

/// Writes a value of a column of this type as JSON.
fn element(value: &Value, data_type: &DataType) -> String {
    match (value, data_type) {
        (Value::Boolean(value), _) => value.to_string(),
        (Value::Integer(micros), DataType::Timestamp(_, _)) => format!("\"{}\"", Timestamp(*micros)),
        (Value::Integer(value), _) => value.to_string(),
        (Value::Decimal(value), DataType::Decimal128(_, scale)) => decimal((*value).into(), *scale),
        (Value::Decimal(value), _) => i128::from(*value).to_string(),
        // JSON has no numbers for these.
        (Value::Float(value), _) if !value.is_finite() => format!("\"{value}\""),
        (Value::Float(value), _) => format!("{value:?}"),
        (Value::Text(text), _) => quoted(text),
        (Value::Null, _) => "null".to_owned(),
        (Value::Pair(pair), _) => element(&pair.1, data_type),
    }
}

/// Writes unscaled digits with their point.
fn decimal(digits: i128, scale: i8) -> String {
    let Ok(scale @ 1..) = usize::try_from(scale) else { return digits.to_string() };
    let sign = if digits < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{part}")
}

/// Writes a text as a JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            other if other.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(most: u32, greatest: bool, distinct: bool) -> Choice {
        Choice { most, greatest, distinct }
    }

    fn list(function: Function, values: &[(Value, i64)]) -> Option<String> {
        let aggregate =
            Aggregate { function, argument: None, order: None, filter: None, data_type: DataType::Utf8, name: "x".to_owned() };
        result(&aggregate, &values.iter().cloned().collect()).map(|value| match value {
            Value::Text(text) => text.into(),
            other => panic!("a list is text, not {other:?}"),
        })
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_list_says_that_it_leaves_values_out() {
        let values = [(text("a"), 2), (text("b"), 1), (Value::Null, 1)];
        let array = |choice| list(Function::Array(choice), &values).expect("values");
        assert_eq!(array(choice(4, false, false)), r#"["a","a","b",null]"#);
        assert_eq!(array(choice(3, false, false)), r#"["a","a","b",{"more":true}]"#);
        assert_eq!(array(choice(1, false, false)), r#"["a",{"more":true}]"#);
        assert_eq!(array(choice(2, true, false)), r#"[null,"b",{"more":true}]"#);
        assert_eq!(array(choice(3, false, true)), r#"["a","b",null]"#);
        let joined = |most| list(Function::Text(choice(most, false, false), ", ".to_owned()), &values[..2]).expect("values");
        assert_eq!((joined(3), joined(2)), ("a, a, b".to_owned(), "a, a, …".to_owned()));
        assert_eq!(list(Function::Array(choice(1, false, false)), &[]), None);
    }

    #[test]
    fn elements_are_json() {
        for (value, data_type, json) in [
            (
                Value::Integer(0),
                DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
                "\"1970-01-01T00:00:00.000000Z\"",
            ),
            (Value::Integer(-7), DataType::Int64, "-7"),
            (Value::Decimal((-5i128).into()), DataType::Decimal128(5, 2), "-0.05"),
            (Value::Decimal(1250i128.into()), DataType::Decimal128(5, 2), "12.50"),
            (Value::Decimal(7i128.into()), DataType::Decimal128(5, 0), "7"),
            (Value::Float(0.1), DataType::Float64, "0.1"),
            (Value::Float(1e300), DataType::Float64, "1e300"),
            (Value::Float(f64::NAN), DataType::Float64, "\"NaN\""),
            (text("a\"\\\n\u{1}ä"), DataType::Utf8, r#""a\"\\\n\u0001ä""#),
        ] {
            assert_eq!(element(&value, &data_type), json);
        }
    }
}
