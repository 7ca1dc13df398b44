//! Messages of several schemas, written by the reference implementation in Rust.

use std::sync::Arc;

use apache_avro::Schema as Parsed;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use freshet_model::{Batch, Column, Progress, TableSchema};
use proptest::prelude::*;

use super::super::tests::{column, options, shown};
use super::super::{Decoder, Decoders, Encoding, FieldSpec, Format, Rows};
use super::write::{Writer, schema};
use crate::SourceOptions;
use crate::registry::{Registry, RegistryOptions};

/// Returns a record's message.
fn message(id: u32, schema: &str, fields: Vec<(&str, Value)>) -> Vec<u8> {
    let schema = Parsed::parse_str(schema).expect("a schema");
    let record = Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let datum = GenericDatumWriter::builder(&schema).build().expect("a writer").write_value_to_vec(record).expect("a record");
    framed(id, &datum)
}

fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

fn decoder(columns: Vec<(Column, FieldSpec)>, schemas: &[(u32, &str)]) -> Decoder {
    let (columns, fields): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let encoding = Encoding::Avro(RegistryOptions { url: "http://localhost".to_owned(), ..RegistryOptions::default() });
    let options = SourceOptions { format: Format { encoding, fields, ..Format::default() }, ..options(&columns) };
    Decoders::open(&options).expect("columns that fit").with_registry(Registry::known(schemas)).decoder()
}

fn decode(columns: Vec<(Column, FieldSpec)>, schemas: &[(u32, &str)], messages: &[Vec<u8>]) -> Batch {
    let mut decoder = decoder(columns, schemas);
    for (offset, message) in messages.iter().enumerate() {
        decoder.decode(offset as i64, Some(message));
    }
    decoder.finish(0, 0..messages.len() as i64, Progress::AtEnd)
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"Event","namespace":"shop","fields":[{fields}]}}"#)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

const DAY: i32 = 20_482; // 2026-01-29
const NINE: i64 = 1_769_679_063_027;

#[test]
fn each_type_becomes_the_column_that_takes_it() {
    let schema = record(
        r#"{"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":"long"},{"name":"f","type":"float"},
           {"name":"d","type":"double"},{"name":"s","type":"string"},{"name":"y","type":"bytes"},
           {"name":"e","type":{"type":"enum","name":"Kind","symbols":["CLICK","VIEW"]}},
           {"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
           {"name":"u","type":{"type":"string","logicalType":"uuid"}},
           {"name":"day","type":{"type":"int","logicalType":"date"}},
           {"name":"clock","type":{"type":"int","logicalType":"time-millis"}},
           {"name":"ms","type":{"type":"long","logicalType":"timestamp-millis"}},
           {"name":"us","type":{"type":"long","logicalType":"timestamp-micros"}},
           {"name":"maybe","type":["null","long"]}"#,
    );
    let values = |maybe: Value| {
        message(
            7,
            &schema,
            vec![
                ("b", Value::Boolean(true)),
                ("i", Value::Int(-5)),
                ("l", Value::Long(i64::MIN)),
                ("f", Value::Float(0.5)),
                ("d", Value::Double(-1.25)),
                ("s", text("é\"")),
                ("y", Value::Bytes(b"raw".to_vec())),
                ("e", Value::Enum(1, "VIEW".to_owned())),
                ("m", Value::Decimal(apache_avro::Decimal::from((-1250_i16).to_be_bytes()))),
                ("u", Value::Uuid(apache_avro::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))),
                ("day", Value::Date(DAY)),
                ("clock", Value::TimeMillis(34_263_027)),
                ("ms", Value::TimestampMillis(NINE)),
                ("us", Value::TimestampMicros(NINE * 1000 + 1)),
                ("maybe", maybe),
            ],
        )
    };
    let all = [
        ("b", "boolean"),
        ("i", "bigint"),
        ("l", "bigint"),
        ("f", "double"),
        ("d", "double"),
        ("s", "varchar(2)"),
        ("y", "text"),
        ("e", "text"),
        ("m", "decimal(10,3)"),
        ("u", "text"),
        ("day", "timestamp"),
        ("clock", "text"),
        ("ms", "timestamp"),
        ("us", "timestamp"),
        ("maybe", "bigint"),
        ("absent", "text"),
    ];
    let columns = all.iter().map(|(name, column_type)| column(name, column_type, &[])).collect();
    let messages = [values(Value::Union(1, Box::new(Value::Long(3)))), values(Value::Union(0, Box::new(Value::Null)))];
    let row = |maybe: &str| {
        format!(
            r#"{{"b":true,"i":-5,"l":-9223372036854775808,"f":0.5,"d":-1.25,"s":"é\"","y":"raw","e":"VIEW","m":-12.500,"u":"01234567-89ab-cdef-0123-456789abcdef","day":"2026-01-29T00:00:00Z","clock":"09:31:03.027","ms":"2026-01-29T09:31:03.027Z","us":"2026-01-29T09:31:03.027001Z","maybe":{maybe},"absent":null}}"#
        )
    };
    assert_eq!(shown(&decode(columns, &[(7, &schema)], &messages)), [row("3"), row("null")]);
    // The same record as other columns: numbers become wider ones, and days and times the integers or texts that they are written as.
    let others = [("i", "double"), ("l", "double"), ("i", "decimal(5,1)"), ("day", "text"), ("day", "bigint"), ("ms", "bigint")];
    for ((name, column_type), wanted) in
        others.into_iter().zip(["-5.0", "-9.223372036854776e+18", "-5.0", "\"2026-01-29\"", "20482", "1769679063027"])
    {
        let batch = decode(vec![column(name, column_type, &[])], &[(7, &schema)], &messages[..1]);
        assert_eq!(shown(&batch), [format!(r#"{{"{name}":{wanted}}}"#)], "{name} as {column_type}");
    }
}

#[test]
fn schemas_change_in_the_middle_of_a_batch() {
    let first = record(r#"{"name":"id","type":"int"},{"name":"amount","type":"float"},{"name":"note","type":"string"}"#);
    let wider =
        record(r#"{"name":"id","type":"long"},{"name":"amount","type":"double"},{"name":"note","type":["null","string"]}"#);
    let fewer = record(r#"{"name":"new","type":"string","default":"x"},{"name":"id","type":"long"}"#);
    let renamed = record(r#"{"name":"total","aliases":["amount"],"type":"double"},{"name":"id","type":"long"}"#);
    let moved = record(r#"{"name":"id","type":"long"},{"name":"comment","type":"string"},{"name":"amount","type":"int"}"#);
    let mut amount = column("amount", "double", &[]);
    amount.1.default = Some("-1".to_owned());
    let columns = || vec![column("id", "bigint", &[]), amount.clone(), column("note", "text", &["note", "comment"])];
    let messages = [
        message(1, &first, vec![("id", Value::Int(1)), ("amount", Value::Float(0.5)), ("note", text("a"))]),
        message(
            2,
            &wider,
            vec![("id", Value::Long(1 << 40)), ("amount", Value::Double(0.1)), ("note", Value::Union(0, Box::new(Value::Null)))],
        ),
        message(3, &fewer, vec![("new", text("y")), ("id", Value::Long(3))]),
        message(4, &renamed, vec![("total", Value::Double(4.5)), ("id", Value::Long(4))]),
        message(5, &moved, vec![("id", Value::Long(5)), ("comment", text("c")), ("amount", Value::Int(5))]),
        message(1, &first, vec![("id", Value::Int(6)), ("amount", Value::Float(6.0)), ("note", text("f"))]),
    ];
    let schemas = [(1, &*first), (2, &*wider), (3, &*fewer), (4, &*renamed), (5, &*moved)];
    let rows = [
        r#"{"id":1,"amount":0.5,"note":"a"}"#,
        r#"{"id":1099511627776,"amount":0.1,"note":null}"#,
        r#"{"id":3,"amount":-1.0,"note":null}"#,
        r#"{"id":4,"amount":4.5,"note":null}"#,
        r#"{"id":5,"amount":5.0,"note":"c"}"#,
        r#"{"id":6,"amount":6.0,"note":"f"}"#,
    ];
    assert_eq!(shown(&decode(columns(), &schemas, &messages)), rows);
    // A job that names the new field gets it.
    let new = vec![column("new", "text", &[])];
    assert_eq!(shown(&decode(new, &schemas, &messages[1..3])), [r#"{"new":null}"#, r#"{"new":"y"}"#]);
}

#[test]
fn a_schema_that_no_record_can_be_read_by_is_named() {
    let texts = record(r#"{"name":"id","type":"string"}"#);
    let parts = record(r#"{"name":"id","type":{"type":"array","items":"long"}}"#);
    let schemas = [(1, &*texts), (2, &*parts), (3, r#""long""#), (4, "{"), (5, r#"{"type":"record"}"#)];
    let messages: Vec<_> =
        (1..=6).map(|id| framed(id, &[2, b'x'])).chain([vec![1, 0, 0, 0, 1], vec![0, 0, 0], b"{}".to_vec()]).collect();
    let dead = shown(&decode(vec![column("id", "bigint", &[])], &schemas, &messages));
    let begins = [
        "incompatible_schema: schema 1: column 'id' is bigint, its field is a string",
        "incompatible_schema: schema 2: column 'id' is bigint, its field is an array",
        "incompatible_schema: schema 3: it is a long, not a record",
        "incompatible_schema: schema 4: no Avro schema: ",
        "incompatible_schema: schema 5: no Avro schema: ",
        "unknown_schema: the registry knows no schema 6",
        "malformed: not in Confluent's format",
        "malformed: not in Confluent's format",
        "malformed: not in Confluent's format",
    ];
    assert_eq!(dead.len(), begins.len());
    for (dead, begin) in dead.iter().zip(begins) {
        assert!(dead.starts_with(begin), "{dead}");
    }
}

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"customer","type":["null",{"type":"record","name":"Customer","fields":[
        {"name":"id","type":"string"},{"name":"tier","type":["null","int"]}]}]},
    {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
        {"name":"sku","type":"string"},{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}}},
    {"name":"tags","type":{"type":"map","values":["null","boolean"]}},
    {"name":"buyer","type":["null","Customer"]}]}"#;

fn order(customer: Option<&str>) -> Vec<u8> {
    let some = |id: &str| {
        let fields = vec![("id".to_owned(), text(id)), ("tier".to_owned(), Value::Union(1, Box::new(Value::Int(2))))];
        Value::Union(1, Box::new(Value::Record(fields)))
    };
    let none = || Value::Union(0, Box::new(Value::Null));
    let price = Value::Decimal(apache_avro::Decimal::from(1250_i16.to_be_bytes()));
    let item = Value::Record(vec![("sku".to_owned(), text("a\"b")), ("price".to_owned(), price)]);
    let tags = [("gift".to_owned(), Value::Union(1, Box::new(Value::Boolean(true))))].into_iter().collect();
    message(
        1,
        ORDER,
        vec![
            ("customer", customer.map_or_else(none, some)),
            ("items", Value::Array(vec![item.clone(), item])),
            ("tags", Value::Map(tags)),
            ("buyer", some("b")),
        ],
    )
}

#[test]
fn what_lies_inside_is_reached_by_its_path_or_taken_as_json() {
    let (mut items, mut tags) = (column("items", "text", &[]), column("tags", "text", &[]));
    (items.1.raw, tags.1.raw) = (true, true);
    let columns = vec![
        column("customer_id", "text", &["customer.id"]),
        column("tier", "double", &["customer.tier"]),
        items,
        tags,
        column("buyer_id", "text", &["buyer.id"]),
    ];
    let item = r#"{\"sku\":\"a\\\"b\",\"price\":12.50}"#;
    let rest = format!(r#""items":"[{item},{item}]","tags":"{{\"gift\":true}}","buyer_id":"b""#);
    let wanted = [format!(r#"{{"customer_id":"c","tier":2.0,{rest}}}"#), format!(r#"{{"customer_id":null,"tier":null,{rest}}}"#)];
    assert_eq!(shown(&decode(columns, &[(1, ORDER)], &[order(Some("c")), order(None)])), wanted);
}

#[test]
fn values_inside_of_values_have_a_bound() {
    let list = r#"{"type":"record","name":"List","fields":[{"name":"next","type":["null","List"]},{"name":"n","type":"long"}]}"#;
    let nested = |depth: usize| framed(1, &[vec![2; depth], vec![0], vec![4; depth + 1]].concat());
    let columns = || vec![column("n", "bigint", &[])];
    assert_eq!(shown(&decode(columns(), &[(1, list)], &[nested(50)])), [r#"{"n":2}"#]);
    let dead = decode(columns(), &[(1, list)], &[nested(64), nested(1000), nested(40_000)]).dead;
    assert!(dead.len() == 3 && dead.iter().all(|letter| letter.reason.code() == "too_deep"), "{dead:?}");
}

#[test]
fn damaged_records_are_refused_for_their_reason() {
    let cases: [(&str, &[u8], &str); 9] = [
        ("long", &[], "it ends too early"),
        ("long", &[0x80], "it ends too early"),
        ("long", &[2, 2], "it goes on behind its end"),
        ("long", &[0xff; 11], "a number beyond 64 bits"),
        ("int", &[0xfe, 0xff, 0xff, 0xff, 0xff, 0x01], "a number beyond 32 bits"),
        ("boolean", &[2], "a boolean that is neither 0 nor 1"),
        ("string", &[1], "a length below zero"),
        ("string", &[200, 1, b'x'], "it ends too early"),
        ("string", &[2, 0xff], "a text that is not UTF-8"),
    ];
    for (avro, bytes, what) in cases {
        let schema = record(&format!(r#"{{"name":"v","type":"{avro}"}}"#));
        let column_type = match avro {
            "boolean" => "boolean",
            "string" => "text",
            _ => "bigint",
        };
        let dead = shown(&decode(vec![column("v", column_type, &[])], &[(1, &schema)], &[framed(1, bytes)]));
        assert_eq!(dead, [format!("malformed: not Avro of its schema: {what} (schema 1)")]);
    }
    // Two bytes that claim more items than any memory holds, with nothing in any of them.
    let empty = record(r#"{"name":"v","type":{"type":"array","items":{"type":"record","name":"E","fields":[]}}}"#);
    let many = framed(1, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    let dead = shown(&decode(vec![column("x", "text", &[])], &[(1, &empty)], &[many]));
    assert_eq!(dead, ["malformed: not Avro of its schema: more items than bytes (schema 1)"]);
}

fn columns_of_all() -> Vec<(Column, FieldSpec)> {
    let mut items = column("items", "text", &[]);
    items.1.raw = true;
    vec![column("customer_id", "varchar(3)", &["customer.id"]), items, column("tier", "bigint", &["buyer.tier"])]
}

type Row = (Option<String>, Option<i64>, Option<f64>, Option<bool>, Option<i64>, Option<i128>);

fn table() -> TableSchema {
    let types = ["text", "bigint", "double", "boolean", "timestamp", "decimal(38,3)"];
    let columns = types.iter().enumerate().map(|(i, t)| column(&format!("c{i}"), t, &[]).0).collect();
    TableSchema { name: "v".to_owned(), columns, key: vec![], appends: false, time_column: None }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let decimals: Decimal128Array = rows.iter().map(|r| r.5).collect();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.3).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.4).collect::<TimestampMicrosecondArray>()),
        Arc::new(decimals.with_precision_and_scale(38, 3).expect("38 digits")),
    ];
    RecordBatch::try_new(table().arrow(), arrays).expect("arrays of the schema")
}

#[test]
fn names_that_avro_does_not_allow_are_refused() {
    let named = |table_name: &str, name: &str| {
        let columns = vec![column(name, "text", &[]).0];
        schema(&TableSchema { name: table_name.to_owned(), columns, ..table() })
    };
    assert!(named("v", "a_1").is_ok());
    for (table_name, name) in [("v", "a b"), ("v", "1a"), ("v", "é"), ("v-w", "a")] {
        assert!(named(table_name, name).is_err_and(|problem| problem.contains("cannot be a name in Avro")), "{name}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_by_us_and_by_the_reference(
        rows in proptest::collection::vec(
            (
                proptest::option::of("[^\u{0}]{0,9}"),
                proptest::option::of(any::<i64>()),
                proptest::option::of(any::<f64>().prop_filter("NaN is not equal to itself", |f| !f.is_nan())),
                proptest::option::of(any::<bool>()),
                proptest::option::of(any::<i64>()),
                proptest::option::of(-(10_i128.pow(38) - 1)..10_i128.pow(38)),
            ),
            0..8,
        ),
    ) {
        let (batch, mut written) = (batch(&rows), Rows::default());
        Writer::new(9).encode(&batch, &mut written);
        let schema = schema(&table()).expect("a schema");
        let messages: Vec<Vec<u8>> = written.iter().map(<[u8]>::to_vec).collect();
        let columns = table().columns.into_iter().map(|column| (column, FieldSpec::default())).collect();
        let back = decode(columns, &[(9, &schema)], &messages);
        prop_assert!(back.dead.is_empty(), "{:?}", back.dead);
        prop_assert_eq!(&back.columns, &batch);
        let parsed = Parsed::parse_str(&schema).expect("a schema");
        let reader = GenericDatumReader::builder(&parsed).build().expect("a reader");
        for (message, row) in messages.iter().zip(&rows) {
            let Value::Record(fields) = reader.read_value(&mut &message[5..]).expect("a record") else { panic!("a record") };
            let field = |at: usize| match &fields[at].1 {
                Value::Union(_, inner) if **inner != Value::Null => Some((**inner).clone()),
                _ => None,
            };
            prop_assert_eq!(field(0), row.0.clone().map(Value::String));
            prop_assert_eq!(field(1), row.1.map(Value::Long));
            prop_assert_eq!(field(2), row.2.map(Value::Double));
            prop_assert_eq!(field(3), row.3.map(Value::Boolean));
            prop_assert_eq!(field(4), row.4.map(Value::TimestampMicros));
        }
    }

    #[test]
    fn any_bytes_become_one_row_or_one_dead_letter(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..9)) {
        let messages: Vec<_> = payloads.iter().map(|payload| framed(1, payload)).collect();
        // What begins with a zero names a schema, about which nobody can be asked here.
        let bare = payloads.into_iter().filter(|payload| payload.first() != Some(&0));
        let messages: Vec<_> = messages.into_iter().chain(bare).collect();
        let batch = decode(columns_of_all(), &[(1, ORDER)], &messages);
        prop_assert_eq!(batch.offsets.len() + batch.dead.len(), messages.len());
    }

    #[test]
    fn damaged_records_become_one_row_or_one_dead_letter(at in 0_usize..90, byte in any::<u8>(), cut in 0_usize..90) {
        let good = order(Some("c"));
        let mut bad = good.clone();
        let at = 5 + at % (bad.len() - 5);
        bad[at] = byte;
        bad.truncate(cut.max(1));
        let batch = decode(columns_of_all(), &[(1, ORDER)], &[good.clone(), bad, good]);
        prop_assert_eq!(batch.offsets.len() + batch.dead.len(), 3);
        prop_assert!(batch.offsets.contains(&0) && batch.offsets.contains(&2));
    }
}
