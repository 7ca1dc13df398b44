//! What is written is JSON, and the decoder reads it back.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Date32Array, Int32Array, StringViewArray};
use arrow::datatypes::{DataType, Schema};
use freshet_model::{Column, Progress, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::SourceOptions;
use crate::format::Decoders;

fn column(name: &str, column_type: &str) -> Column {
    Column { name: name.to_owned(), column_type: column_type.parse().expect("a type") }
}

fn columns() -> Vec<Column> {
    let types = ["text", "bigint", "double", "boolean", "timestamp", "decimal(20,3)"];
    types.iter().enumerate().map(|(i, t)| column(&format!("c\"{i}"), t)).collect()
}

fn options(columns: Vec<Column>) -> SourceOptions {
    SourceOptions {
        name: "s".to_owned(),
        columns,
        format: Default::default(),
        time_column: None,
        max_future_skew: Duration::from_secs(300),
        max_record_bytes: 1 << 20,
        bounded: false,
        from_latest: false,
        identity: None,
        settings: Default::default(),
    }
}

type Record = (Option<String>, Option<i64>, Option<f64>, Option<bool>, Option<i64>, Option<i128>);

fn batch(records: &[Record]) -> RecordBatch {
    let schema =
        freshet_model::TableSchema { name: "v".to_owned(), columns: columns(), key: vec![], appends: false, time_column: None }
            .arrow();
    let decimals: Decimal128Array = records.iter().map(|r| r.5).collect();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(records.iter().map(|r| r.0.clone()).collect::<StringArray>()),
        Arc::new(records.iter().map(|r| r.1).collect::<Int64Array>()),
        Arc::new(records.iter().map(|r| r.2).collect::<Float64Array>()),
        Arc::new(records.iter().map(|r| r.3).collect::<BooleanArray>()),
        Arc::new(records.iter().map(|r| r.4).collect::<TimestampMicrosecondArray>()),
        Arc::new(decimals.with_precision_and_scale(20, 3).expect("20 digits")),
    ];
    RecordBatch::try_new(schema, arrays).expect("arrays of the schema")
}

fn read_back(rows: &Rows) -> RecordBatch {
    let mut decoder = Decoders::open(&options(columns())).expect("columns that fit").decoder();
    decoder.set_now(Timestamp::MAX);
    for (offset, row) in rows.iter().enumerate() {
        decoder.decode(offset as i64, Some(row));
    }
    let read = decoder.finish(0, 0..rows.len() as i64, Progress::AtEnd);
    assert!(read.dead.is_empty(), "{:?}", read.dead);
    read.columns
}

#[test]
fn a_row_is_an_object_in_the_columns_order() {
    let full = (Some("a\"\\\n\u{1}é".to_owned()), Some(-7), Some(0.5), Some(true), Some(1_769_679_063_027_000), Some(-12_005));
    let rows = rows(&batch(&[full, (None, None, Some(f64::NAN), None, None, None)]));
    let expected = concat!(
        r#"{"c\"0":"a\"\\\n\u0001é","c\"1":-7,"c\"2":0.5,"c\"3":true,"c\"4":"2026-01-29T09:31:03.027Z","c\"5":-12.005}"#,
        "\n",
        r#"{"c\"0":null,"c\"1":null,"c\"2":null,"c\"3":null,"c\"4":null,"c\"5":null}"#,
        "\n",
    );
    assert_eq!(String::from_utf8_lossy(rows.lines()), expected);
}

#[test]
fn the_memory_of_one_batch_serves_the_next() {
    let mut rows = rows(&batch(&[(None, Some(1), None, None, None, None)]));
    rows.encode(&batch(&[]));
    assert!(rows.is_empty() && rows.lines().is_empty());
}

#[test]
fn related_arrow_types_are_written_as_freshets() {
    let fields = vec![
        arrow::datatypes::Field::new("i", DataType::Int32, true),
        arrow::datatypes::Field::new("s", DataType::Utf8View, true),
        arrow::datatypes::Field::new("d", DataType::Date32, true),
    ];
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![5])),
        Arc::new(StringViewArray::from(vec!["x"])),
        Arc::new(Date32Array::from(vec![1])),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch");
    assert_eq!(rows(&batch).row(0), br#"{"i":5,"s":"x","d":"1970-01-02T00:00:00Z"}"#);
}

fn record() -> impl Strategy<Value = Record> {
    let text = "[a-z\"\\\\\u{1}-\u{1f}é🦀\u{7f}]{0,30}";
    let time = -62_135_596_800_000_000_i64..253_402_300_800_000_000;
    let decimal = -(10_i128.pow(20) - 1)..10_i128.pow(20);
    (
        proptest::option::of(text),
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<f64>().prop_filter("finite", |f| f.is_finite())),
        proptest::option::of(any::<bool>()),
        proptest::option::of(time),
        proptest::option::of(decimal),
    )
}

proptest! {
    #[test]
    fn the_decoder_reads_back_what_is_written(records in proptest::collection::vec(record(), 0..8)) {
        let written = batch(&records);
        let rows = rows(&written);
        for row in rows.iter() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(row).is_ok());
        }
        prop_assert_eq!(read_back(&rows), written);
    }
}
