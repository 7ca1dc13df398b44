//! Hostile records, and serde_json's own trees as the oracle.

use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use freshet_model::{Batch, Column, ColumnType, MAX_DEAD_PAYLOAD_BYTES, Progress, Reason, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::SourceOptions;
use crate::format::{Decoder, Decoders};

/// 2026-01-29T09:31:03.027Z
const TIME: i64 = 1_769_679_063_027_000;

fn options() -> SourceOptions {
    let columns = [
        ("at", "timestamp"),
        ("user", "text"),
        ("page", "varchar(5)"),
        ("hits", "bigint"),
        ("score", "double"),
        ("ok", "boolean"),
        ("price", "decimal(10,2)"),
    ];
    SourceOptions {
        name: "clicks".to_owned(),
        columns: columns.iter().map(|(n, t)| Column { name: (*n).to_owned(), column_type: t.parse().expect("a type") }).collect(),
        format: Default::default(),
        time_column: Some(0),
        max_future_skew: Duration::from_secs(300),
        max_record_bytes: 100_000,
        bounded: false,
        from_latest: false,
        identity: None,
        settings: Default::default(),
    }
}

fn decode(payloads: &[&[u8]]) -> Batch {
    let mut decoder = Decoders::open(&options()).expect("columns that fit").decoder();
    decoder.set_now(Timestamp(TIME));
    for (offset, payload) in payloads.iter().enumerate() {
        decoder.decode(offset as i64, Some(payload));
    }
    assert_eq!(decoder.len(), payloads.len());
    let mut batch = decoder.finish(3, 0..payloads.len() as i64, Progress::AtEnd);
    batch.judge_early(Timestamp(TIME), Some(0));
    batch
}

/// Decodes a record with a good time and these further fields.
fn with(fields: &str) -> Batch {
    decode(&[format!(r#"{{"at":"2026-01-29T09:31:03.027Z",{fields}}}"#).as_bytes()])
}

#[test]
fn each_type_is_taken() {
    let batch = with(r#""user":"u\u00e9\n","page":"/cart","hits":-5,"score":1,"ok":true,"price":"12.50""#);
    assert!(batch.dead.is_empty(), "{:?}", batch.dead);
    let columns = &batch.columns;
    assert_eq!(columns.column(0).as_primitive::<TimestampMicrosecondType>().value(0), TIME);
    assert_eq!(columns.column(1).as_string::<i32>().value(0), "ué\n");
    assert_eq!(columns.column(2).as_string::<i32>().value(0), "/cart");
    assert_eq!(columns.column(3).as_primitive::<Int64Type>().value(0), -5);
    assert_eq!(columns.column(4).as_primitive::<Float64Type>().value(0), 1.0);
    assert!(columns.column(5).as_boolean().value(0));
    assert_eq!(columns.column(6).as_primitive::<Decimal128Type>().value(0), 1250);
    assert_eq!((batch.max_event_time, batch.offsets), (Some(Timestamp(TIME)), vec![0]));
}

#[test]
fn absent_and_null_are_null_and_the_last_of_several_wins() {
    let batch = with(r#""user":null,"hits":"no","hits":[],"hits":7,"ok":true,"ok":null,"zzz":{"user":"inner"}"#);
    assert!(batch.dead.is_empty(), "{:?}", batch.dead);
    assert_eq!(batch.columns.column(3).as_primitive::<Int64Type>().value(0), 7);
    assert!([1, 2, 4, 5, 6].iter().all(|&column| batch.columns.column(column).is_null(0)));
}

#[test]
fn varchar_counts_characters_not_bytes() {
    assert!(with(r#""page":"ééééé""#).dead.is_empty());
    assert_eq!(with(r#""page":"éééééé""#).dead[0].reason, Reason::TooLong);
    assert_eq!(with(r#""page":"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9""#).dead[0].reason, Reason::TooLong);
}

#[test]
fn hostile_fields_are_refused_for_their_reason() {
    use Reason::{Malformed, MissingColumn, NulCharacter, TimeOutOfRange, WrongType};
    let cases = [
        (r#""user":5"#, WrongType),
        (r#""user":true"#, WrongType),
        (r#""user":["a"]"#, WrongType),
        (r#""user":{"a":{"b":[]}}"#, WrongType),
        (r#""user":"a\u0000b""#, NulCharacter),
        (r#""user":"\ud800""#, Malformed),
        (r#""user":"\x""#, Malformed),
        ("\"user\":\"tab\there\"", Malformed),
        (r#""hits":"5""#, WrongType),
        (r#""hits":1.0"#, WrongType),
        (r#""hits":9223372036854775808"#, WrongType),
        (r#""hits":123456789012345678901234567890"#, WrongType),
        (r#""hits":01"#, Malformed),
        (r#""hits":+1"#, Malformed),
        (r#""hits":NaN"#, Malformed),
        (r#""score":"1.5""#, WrongType),
        (r#""score":1e999"#, WrongType),
        (r#""ok":"true""#, WrongType),
        (r#""ok":0"#, WrongType),
        (r#""price":"1.2x""#, WrongType),
        (r#""price":1.234"#, WrongType),
        (r#""price":123456789.00"#, WrongType),
        (r#""price":1e999999999999"#, WrongType),
        (r#""price":true"#, WrongType),
        (r#""price":[1]"#, WrongType),
        (r#""at":null"#, MissingColumn),
        (r#""at":"9999-01-01T00:00:00Z""#, TimeOutOfRange),
        (r#""at":"2026-01-29T09:36:03.028Z""#, TimeOutOfRange),
        (r#""at":"1969-12-31T23:59:59Z""#, TimeOutOfRange),
        (r#""at":-1"#, TimeOutOfRange),
        (r#""at":"yesterday""#, WrongType),
        (r#""at":1769679063.5"#, WrongType),
        (r#""at":9223372036854775807"#, WrongType),
    ];
    for (fields, reason) in cases {
        let batch = with(fields);
        assert_eq!(batch.dead.first().map(|letter| letter.reason), Some(reason), "{fields}");
        assert_eq!((batch.columns.num_rows(), batch.offsets.len(), batch.max_event_time), (0, 0, None), "{fields}");
    }
}

#[test]
fn hostile_records_are_refused_for_their_reason() {
    use Reason::{EmptyPayload, Malformed, MissingColumn, Oversized, TooDeep};
    let deep = format!(r#"{{"at":"2026-01-29T09:31:03Z","x":{}1{}}}"#, "[".repeat(127), "]".repeat(127));
    let unclosed = "[".repeat(90_000);
    let large = format!(r#"{{"user":"{}"}}"#, "x".repeat(100_000));
    let cases: [(&[u8], Reason); 16] = [
        (b"", EmptyPayload),
        (b" ", Malformed),
        (b"null", Malformed),
        (b"[]", Malformed),
        (b"5", Malformed),
        (b"\"text\"", Malformed),
        (b"{", Malformed),
        (b"{\"at\":", Malformed),
        (b"{} {}", Malformed),
        (b"{}x", Malformed),
        (b"{}", MissingColumn),
        (b"\xff\xfe{}", Malformed),
        (b"{\"zzz\":\"\xc3\x28\"}", Malformed),
        (deep.as_bytes(), TooDeep),
        (unclosed.as_bytes(), TooDeep),
        (large.as_bytes(), Oversized),
    ];
    for (payload, reason) in cases {
        let batch = decode(&[payload]);
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
        assert_eq!(batch.dead.first().map(|letter| letter.reason), Some(reason), "{shown}");
        assert!(batch.dead[0].payload.len() <= MAX_DEAD_PAYLOAD_BYTES);
        assert_eq!((batch.bytes, batch.dead[0].partition, &*batch.dead[0].source), (payload.len(), 3, "clicks"));
    }
    let mut decoder = Decoders::open(&options()).expect("columns that fit").decoder();
    decoder.decode(0, None);
    assert_eq!(decoder.finish(0, 0..1, Progress::AtEnd).dead[0].reason, EmptyPayload);
}

#[test]
fn the_deepest_record_that_is_taken() {
    let deep = format!(r#""x":{}1{}"#, "[".repeat(126), "]".repeat(126));
    assert!(with(&deep).dead.is_empty());
}

#[test]
fn a_detail_names_column_and_type_but_no_value() {
    let details = |fields: &str| with(fields).dead.remove(0).detail;
    assert_eq!(details(r#""hits":"secret""#), "column 'hits' is bigint, the record holds a text");
    assert_eq!(
        details(r#""price":1.999"#),
        "column 'price' is decimal(10,2), the record holds a number with more digits after the point"
    );
    assert_eq!(details(r#""at":"secret""#), "column 'at' is timestamp, the record holds a text that is no time");
    assert_eq!(decode(&[b"\"secret\""]).dead[0].detail, "the record is not a JSON object");
    assert!(!decode(&[b"{\"at\":secret}"]).dead[0].detail.contains("secret"));
}

#[test]
fn a_row_that_may_be_too_far_ahead_is_marked_with_the_time_from_which_it_is_accepted() {
    let mut decoder = Decoders::open(&options()).expect("columns that fit").decoder();
    let early = |decoder: &mut Decoder| {
        for (offset, time) in [TIME, TIME + 300_000_000, TIME + 300_000_001].into_iter().enumerate() {
            decoder.decode(offset as i64, Some(json!({ "at": Timestamp(time).to_string() }).to_string().as_bytes()));
        }
        let batch = decoder.finish(3, 0..3, Progress::AtEnd);
        assert_eq!((batch.dead.len(), batch.offsets.len()), (0, 3), "{:?}", batch.dead);
        batch.early.into_iter().map(|early| (early.letter.partition, early.letter.offset, early.since.0)).collect::<Vec<_>>()
    };
    let since =
        [TIME - 300_000_000, TIME, TIME + 1].into_iter().zip(0..).map(|(since, offset)| (3, offset, since)).collect::<Vec<_>>();
    assert_eq!(early(&mut decoder), since, "nothing is sure without a time");
    decoder.set_now(Timestamp(TIME));
    assert_eq!(early(&mut decoder), since[2..]);
    decoder.set_now(Timestamp(TIME + 1));
    assert_eq!(early(&mut decoder), []);
}

#[test]
fn a_bad_record_leaves_no_trace_among_good_ones() {
    let good: &[u8] = br#"{"at":1769679063027,"user":"\u0075","hits":1}"#;
    let batch = decode(&[good, br#"{"at":1769679063028,"user":"bad","hits":"x"}"#, good]);
    assert_eq!((batch.offsets.as_slice(), batch.dead[0].offset, batch.dead.len()), ([0, 2].as_slice(), 1, 1));
    assert_eq!(batch.max_event_time, Some(Timestamp(TIME)));
    assert_eq!(batch.columns.column(1).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["u", "u"]);
}

#[test]
fn a_source_without_columns_counts_rows() {
    let mut decoder =
        Decoders::open(&SourceOptions { columns: vec![], time_column: None, ..options() }).expect("columns that fit").decoder();
    decoder.decode(0, Some(b"{\"a\":1}"));
    assert_eq!(decoder.finish(0, 0..1, Progress::AtEnd).columns.num_rows(), 1);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-é\"\\\\\n]{0,8}".prop_map(Value::from),
        Just(json!("2026-01-29T09:31:03.027Z")),
        Just(json!("12.5")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// What the rules say of a value: `Some` of its text, `None` for null, or the reason of refusal.
fn oracle(column: &Column, value: &Value) -> Result<Option<String>, Reason> {
    let shown = match (column.column_type, value) {
        (_, Value::Null) => return Ok(None),
        (ColumnType::Text(Some(n)), Value::String(s)) if s.chars().count() > n as usize => return Err(Reason::TooLong),
        (ColumnType::Text(_), Value::String(s)) => Some(s.clone()),
        (ColumnType::BigInt, Value::Number(n)) => n.as_i64().map(|n| n.to_string()),
        (ColumnType::Double, Value::Number(n)) => n.as_f64().map(|n| n.to_string()),
        (ColumnType::Boolean, Value::Bool(b)) => Some(b.to_string()),
        (ColumnType::Timestamp, Value::String(s)) => s.parse::<jiff::Timestamp>().ok().map(|t| t.as_microsecond().to_string()),
        _ => None,
    };
    shown.map(Some).ok_or(Reason::WrongType)
}

fn shown(column: &dyn Array, column_type: ColumnType) -> Option<String> {
    (!column.is_null(0)).then(|| match column_type {
        ColumnType::Text(_) => column.as_string::<i32>().value(0).to_owned(),
        ColumnType::BigInt => column.as_primitive::<Int64Type>().value(0).to_string(),
        ColumnType::Double => column.as_primitive::<Float64Type>().value(0).to_string(),
        ColumnType::Boolean => column.as_boolean().value(0).to_string(),
        ColumnType::Timestamp => column.as_primitive::<TimestampMicrosecondType>().value(0).to_string(),
        ColumnType::Decimal(..) => column.as_primitive::<Decimal128Type>().value(0).to_string(),
    })
}

proptest! {
    #[test]
    fn agrees_with_trees_of_serde_json(index in 1_usize..6, value in value(), extra in value()) {
        let column = &options().columns[index];
        let record = json!({"extra": extra, column.name.as_str(): value, "at": "2026-01-29T09:31:03.027Z"}).to_string();
        let batch = decode(&[record.as_bytes()]);
        let found = match batch.dead.first() {
            Some(letter) => Err(letter.reason),
            None => Ok(shown(batch.columns.column(index), column.column_type)),
        };
        prop_assert_eq!(found, oracle(column, &value), "{}", record);
    }

    #[test]
    fn any_bytes_become_a_row_or_a_dead_letter(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode(&[&payload]);
    }

    #[test]
    fn damaged_records_become_a_row_or_a_dead_letter(at in 0_usize..110, byte in any::<u8>(), cut in 0_usize..120) {
        let mut record = br#"{"at":"2026-01-29T09:31:03.027Z","user":"user_1\n","page":"/cart","price":12.5,"hits":123,"ok":true,"x":[1]}"#.to_vec();
        let at = at.min(record.len() - 1);
        record[at] = byte;
        record.truncate(cut.max(1));
        decode(&[&record]);
    }
}
