//! Messages of several schemas, written by the reference implementation in Rust, and what it would never write.

mod reference;

use freshet_model::{Batch, Column, Progress};
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::super::tests::{column, options, shown};
use super::super::{Decoder, Decoders, Encoding, FieldSpec, Format};
use super::schema::Schema;
use crate::SourceOptions;
use crate::registry::{Reference, Registry, RegistryOptions};

/// Returns the type of a schema's first message.
fn descriptor(schema: &str) -> MessageDescriptor {
    Schema::parse(schema, &[]).and_then(|schema| schema.message(&[0])).expect("a schema")
}

/// Returns the message of a record that is described in Protobuf's text format.
fn message(id: u32, schema: &str, text: &str) -> Vec<u8> {
    let message = DynamicMessage::parse_text_format(descriptor(schema), text).expect("a message");
    framed(id, &[0], &message.encode_to_vec())
}

fn framed(id: u32, place: &[u8], message: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], place, message].concat()
}

fn decoder(columns: Vec<(Column, FieldSpec)>, schemas: &[(u32, &str)]) -> Decoder {
    let (columns, fields): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let encoding = Encoding::Protobuf(RegistryOptions { url: "http://localhost".to_owned(), ..RegistryOptions::default() });
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

/// Reads one record of a schema and shows what became of it.
fn one(columns: &[(&str, &str)], schema: &str, record: &[u8]) -> String {
    let columns = columns.iter().map(|(name, column_type)| column(name, column_type, &[])).collect();
    shown(&decode(columns, &[(1, schema)], &[framed(1, &[0], record)])).concat()
}

/// A column with the JSON text of a field.
fn json(name: &str) -> (Column, FieldSpec) {
    let mut json = column(name, "text", &[]);
    json.1.raw = true;
    json
}

/// Returns the JSON text that a record's field becomes.
fn as_json(field: &str, schema: &str, record: &[u8]) -> String {
    let row = shown(&decode(vec![json(field)], &[(1, schema)], &[framed(1, &[0], record)])).concat();
    let Ok(row) = serde_json::from_str::<serde_json::Value>(&row) else { return row };
    row[field].as_str().unwrap_or("NULL").to_owned()
}

fn proto3(rest: &str) -> String {
    format!("syntax = \"proto3\"; {rest}")
}

/// A field in pieces of a few bytes each, as no serializer writes it.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, value.len() as u8], value].concat()
}

const ALL: &str = r#"syntax = "proto3";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    enum Kind { NONE = 0; VIEW = 1; }
    message All {
        bool b = 1; int32 i32 = 2; int64 i64 = 3; uint32 u32 = 4; uint64 u64 = 5; sint32 s32 = 6; sint64 s64 = 7;
        fixed32 f32 = 8; fixed64 f64 = 9; sfixed32 sf32 = 10; sfixed64 sf64 = 11; float fl = 12; double d = 13;
        string s = 14; bytes y = 15; Kind e = 16; google.protobuf.Timestamp t = 17; string st = 18; int64 it = 19;
        google.protobuf.StringValue ws = 20; google.protobuf.Int64Value wi = 21; string dec = 22; google.protobuf.BoolValue wb = 23;
        google.protobuf.DoubleValue wd = 24; google.protobuf.StringValue wt = 25;
    }"#;

const VALUES: &str = r#"b: true i32: -5 i64: -9223372036854775808 u32: 4294967295 u64: 9223372036854775807 s32: -7 s64: -8
    f32: 4294967295 f64: 9 sf32: -10 sf64: -11 fl: 0.5 d: -1.25 s: "é\"" y: "raw" e: VIEW t { seconds: 1769679063 nanos: 27001999 }
    st: "2026-01-29T09:31:03Z" it: 1769679063027 ws { value: "w" } wi { value: -3 } dec: "12.5" wb { value: true } wd {} wt { value: "" }"#;

#[test]
fn each_type_becomes_the_column_that_takes_it() {
    let all = [
        ("b", "boolean", "true"),
        ("i32", "bigint", "-5"),
        ("i64", "bigint", "-9223372036854775808"),
        ("u32", "bigint", "4294967295"),
        ("u64", "bigint", "9223372036854775807"),
        ("s32", "bigint", "-7"),
        ("s64", "bigint", "-8"),
        ("f32", "bigint", "4294967295"),
        ("f64", "bigint", "9"),
        ("sf32", "bigint", "-10"),
        ("sf64", "bigint", "-11"),
        ("fl", "double", "0.5"),
        ("d", "double", "-1.25"),
        ("s", "varchar(2)", r#""é\"""#),
        ("y", "text", r#""raw""#),
        ("e", "text", r#""VIEW""#),
        ("t", "timestamp", r#""2026-01-29T09:31:03.027001Z""#),
        ("st", "timestamp", r#""2026-01-29T09:31:03Z""#),
        ("it", "timestamp", r#""2026-01-29T09:31:03.027Z""#),
        ("ws", "text", r#""w""#),
        ("wi", "bigint", "-3"),
        ("dec", "decimal(5,2)", "12.50"),
        ("wb", "boolean", "true"),
        ("wd", "double", "0.0"),
        ("wt", "text", r#""""#),
        ("absent", "text", "null"),
    ];
    let columns = all.iter().map(|(name, column_type, _)| column(name, column_type, &[])).collect();
    let row: Vec<_> = all.iter().map(|(name, _, value)| format!("\"{name}\":{value}")).collect();
    let messages = [message(7, ALL, VALUES)];
    assert_eq!(shown(&decode(columns, &[(7, ALL)], &messages)), [format!("{{{}}}", row.join(","))]);
    // The same record as other columns.
    let others = [
        ("i32", "double", "-5.0"),
        ("i32", "decimal(5,1)", "-5.0"),
        ("u64", "double", "9.223372036854776e+18"),
        ("e", "bigint", "1"),
        ("s64", "timestamp", r#""1969-12-31T23:59:52Z""#),
        ("dec", "text", r#""12.5""#),
        ("wi", "double", "-3.0"),
        ("wt", "timestamp", "null"),
    ];
    for (name, column_type, wanted) in others {
        let batch = decode(vec![column(name, column_type, &[])], &[(7, ALL)], &messages);
        assert_eq!(shown(&batch), [format!(r#"{{"{name}":{wanted}}}"#)], "{name} as {column_type}");
    }
}

#[test]
fn values_that_do_not_fit_are_dead_letters_of_their_own() {
    let large = message(1, ALL, r#"u64: 18446744073709551615 y: "\xff" s: "longer" e: 77 st: "soon""#);
    let shown = |name: &str, column_type: &str| {
        shown(&decode(vec![column(name, column_type, &[])], &[(1, ALL)], std::slice::from_ref(&large))).concat()
    };
    assert_eq!(shown("u64", "double"), r#"{"u64":1.8446744073709552e+19}"#);
    assert_eq!(shown("u64", "decimal(20,0)"), r#"{"u64":18446744073709551615}"#);
    assert_eq!(shown("u64", "bigint"), "wrong_type: column 'u64' is bigint, the record holds a number beyond 63 bits");
    assert_eq!(
        shown("u64", "timestamp"),
        "wrong_type: column 'u64' is timestamp, the record holds a number too large for a time"
    );
    assert_eq!(shown("y", "text"), "wrong_type: column 'y' is text, the record holds bytes that are no text");
    assert_eq!(shown("s", "varchar(3)"), "too_long: column 's' is varchar(3), the record holds a longer text");
    assert_eq!(shown("st", "timestamp"), "wrong_type: column 'st' is timestamp, the record holds a text that is no time");
    assert_eq!(shown("e", "text"), r#"{"e":"77"}"#, "the number of a value that the enum does not have");
}

#[test]
fn what_is_absent_is_null_or_the_default_if_the_schema_can_tell_and_else_the_zero_value() {
    let schema = proto3(
        r#"import "google/protobuf/wrappers.proto"; import "google/protobuf/timestamp.proto"; enum Kind { NONE = 0; }
        message M { int32 i = 1; optional int32 oi = 2; string s = 3; Kind k = 4; Inner inner = 5; google.protobuf.Int32Value w = 6;
                    oneof o { int32 x = 7; } double d = 8; string time = 9; google.protobuf.Timestamp t = 10; int64 unix = 11; bool b = 12; }
        message Inner { int32 n = 1; optional int32 m = 2; }"#,
    );
    let with_default = |name: &str, path: &[&str]| {
        let mut column = column(name, "bigint", path);
        column.1.default = Some("7".to_owned());
        column
    };
    let columns = || {
        vec![
            with_default("i", &[]),
            with_default("oi", &[]),
            column("s", "text", &[]),
            column("k", "text", &[]),
            with_default("n", &["inner.n"]),
            with_default("m", &["inner.m"]),
            with_default("w", &[]),
            column("x", "bigint", &[]),
            column("d", "double", &[]),
            column("b", "boolean", &[]),
            column("time", "timestamp", &[]),
            column("t", "timestamp", &[]),
            column("unix", "timestamp", &[]),
        ]
    };
    let rest = r#""x":null,"d":0.0,"b":false,"time":null,"t":null,"unix":"1970-01-01T00:00:00Z"}"#;
    let wanted = [
        format!(r#"{{"i":0,"oi":7,"s":"","k":"NONE","n":7,"m":7,"w":7,{rest}"#),
        format!(r#"{{"i":0,"oi":0,"s":"","k":"NONE","n":0,"m":7,"w":0,{rest}"#),
    ];
    let messages = [message(1, &schema, ""), message(1, &schema, "oi: 0 inner {} w {}")];
    assert_eq!(shown(&decode(columns(), &[(1, &schema)], &messages)), wanted);
    // Of proto2 every absence can be told.
    let schema = "message M { optional int32 a = 1; required string b = 2; optional int32 c = 3 [default = 5]; }";
    assert_eq!(one(&[("a", "bigint"), ("b", "text"), ("c", "bigint")], schema, &[]), r#"{"a":null,"b":null,"c":null}"#);
}

#[test]
fn a_field_is_found_by_its_name_or_its_name_in_json() {
    let schema = proto3(
        r#"message M { string user_id = 1; int32 n = 2 [json_name = "count"]; Inner the_inner = 3; int32 a = 4 [json_name = "b"]; int32 b = 5 [json_name = "c"]; }
        message Inner { int32 deep_down = 1; }"#,
    );
    let columns = vec![
        column("userId", "text", &[]),
        column("total", "bigint", &["sum", "count"]),
        column("deep", "bigint", &["theInner.deepDown"]),
        column("b", "bigint", &[]),
    ];
    let record = message(1, &schema, r#"user_id: "u" n: 3 the_inner { deep_down: 4 } a: 5 b: 6"#);
    assert_eq!(shown(&decode(columns, &[(1, &schema)], &[record])), [r#"{"userId":"u","total":3,"deep":4,"b":6}"#]);
}

#[test]
fn of_several_values_the_last_counts_and_messages_in_pieces_are_merged() {
    let schema = proto3(
        r#"import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
        message M { int32 n = 1; Inner inner = 2; google.protobuf.Timestamp t = 3; google.protobuf.Int32Value w = 4; }
        message Inner { int32 a = 1; int32 b = 2; }"#,
    );
    assert_eq!(one(&[("n", "bigint")], &schema, &[8, 1, 8, 2]), r#"{"n":2}"#);
    let columns = || vec![column("a", "bigint", &["inner.a"]), column("b", "bigint", &["inner.b"])];
    let read = |record: Vec<u8>| shown(&decode(columns(), &[(1, &schema)], &[framed(1, &[0], &record)])).concat();
    assert_eq!(read([field(2, &[8, 1, 16, 2]), field(2, &[8, 3])].concat()), r#"{"a":3,"b":2}"#);
    assert_eq!(read([field(2, &[8, 1]), field(2, &[])].concat()), r#"{"a":1,"b":0}"#);
    // Seconds and nanoseconds in pieces, and a value of which the second piece says nothing.
    let time = one(&[("t", "timestamp")], &schema, &[field(3, &[8, 60]), field(3, &[16, 0x80, 0x89, 0x7a])].concat());
    assert_eq!(time, r#"{"t":"1970-01-01T00:01:00.002Z"}"#);
    assert_eq!(one(&[("w", "bigint")], &schema, &[field(4, &[8, 5]), field(4, &[])].concat()), r#"{"w":5}"#);
    let pieces = [field(2, &[8, 1, 16, 2]), field(2, &[8, 3])].concat();
    assert_eq!(as_json("inner", &schema, &pieces), r#"{"a":3,"b":2}"#);
}

#[test]
fn a_member_of_a_oneof_ends_the_others() {
    let schema = proto3(
        "message M { oneof o { int32 a = 1; string b = 2; Inner c = 3; int32 nobody = 4; } Inner d = 5; }
        message Inner { int32 x = 1; oneof p { int32 y = 2; int32 z = 3; } }",
    );
    let columns = || vec![column("a", "bigint", &[]), column("b", "text", &[]), column("x", "bigint", &["c.x"]), json("d")];
    let read = |record: &[u8]| shown(&decode(columns(), &[(1, &schema)], &[framed(1, &[0], record)])).concat();
    let rest = r#","d":null}"#;
    assert_eq!(read(&[8, 1]), format!(r#"{{"a":1,"b":null,"x":null{rest}"#));
    assert_eq!(read(&[8, 1, 18, 1, b'b']), format!(r#"{{"a":null,"b":"b","x":null{rest}"#));
    assert_eq!(read(&[8, 1, 32, 1]), format!(r#"{{"a":null,"b":null,"x":null{rest}"#));
    assert_eq!(read(&[26, 2, 8, 9, 8, 0]), format!(r#"{{"a":0,"b":null,"x":null{rest}"#));
    assert_eq!(read(&[26, 2, 8, 9, 8, 1, 26, 0]), format!(r#"{{"a":null,"b":null,"x":0{rest}"#));
    assert_eq!(as_json("d", &schema, &field(5, &[16, 1, 24, 0])), r#"{"z":0}"#);
    assert_eq!(as_json("c", &schema, &[26, 2, 8, 9, 8, 1]), "NULL");
    assert_eq!(as_json("c", &schema, &[26, 2, 8, 9, 8, 1, 26, 2, 16, 1]), r#"{"y":1}"#);
}

#[test]
fn schemas_change_in_the_middle_of_a_batch() {
    let first = proto3("message E { int32 id = 1; float amount = 2; string note = 3; }");
    let wider = proto3("message E { int64 id = 1; double amount = 2; optional string note = 3; string new = 4; }");
    let fewer = proto3("message E { sint64 id = 7; reserved 2; optional string note = 9; }");
    let renamed = proto3("message E { optional double total = 2; int64 id = 1; string comment = 3; }");
    let mut amount = column("amount", "double", &["amount", "total"]);
    amount.1.default = Some("-1".to_owned());
    let columns = vec![column("id", "bigint", &[]), amount, column("note", "text", &["note", "comment"])];
    let messages = [
        message(1, &first, r#"id: 1 amount: 0.5 note: "a""#),
        message(2, &wider, r#"id: 1099511627776 amount: 0.1 new: "x""#),
        message(3, &fewer, "id: -3"),
        message(4, &renamed, r#"id: 4 total: 4.5 comment: "c""#),
        message(1, &first, r#"id: 6 amount: 6 note: "f""#),
    ];
    let rows = [
        r#"{"id":1,"amount":0.5,"note":"a"}"#,
        r#"{"id":1099511627776,"amount":0.1,"note":null}"#,
        r#"{"id":-3,"amount":-1.0,"note":null}"#,
        r#"{"id":4,"amount":4.5,"note":"c"}"#,
        r#"{"id":6,"amount":6.0,"note":"f"}"#,
    ];
    let schemas = [(1, &*first), (2, &*wider), (3, &*fewer), (4, &*renamed)];
    assert_eq!(shown(&decode(columns, &schemas, &messages)), rows);
}

#[test]
fn a_schema_that_no_record_can_be_read_by_is_named() {
    let schemas = [
        "message E { optional string id = 1; }",
        "message E { repeated int64 id = 1; }",
        "message E { map<string, int64> id = 1; }",
        "message E { optional E id = 1; }",
        "message E { optional group Id = 1 { } optional int64 x = 2; }",
        "message E {",
        "import 'gone.proto'; message E { }",
        "enum E { A = 0; }",
    ];
    let schemas: Vec<(u32, &str)> = (1..).zip(schemas).collect();
    let mut messages: Vec<_> = (1..=9).map(|id| framed(id, &[0], &[8, 1])).collect();
    messages.extend([
        framed(1, &[2, 2], &[]),
        framed(1, &[4, 0, 0], &[]),
        vec![1, 0, 0, 0, 1],
        vec![0, 0, 0],
        framed(1, &[1], &[]),
        framed(1, &[], &[]),
    ]);
    let dead = shown(&decode(vec![column("id", "bigint", &["id", "Id"])], &schemas, &messages));
    let begins = [
        "incompatible_schema: schema 1: column 'id' is bigint, its field is a string",
        "incompatible_schema: schema 2: column 'id' is bigint, its field is a list",
        "incompatible_schema: schema 3: column 'id' is bigint, its field is a map",
        "incompatible_schema: schema 4: column 'id' is bigint, its field is a message",
        "incompatible_schema: schema 5: column 'id' is bigint, its field is a group",
        "incompatible_schema: schema 6: no Protobuf schema: ",
        "incompatible_schema: schema 7: no Protobuf schema: ",
        "incompatible_schema: schema 8: it has no message at [0]",
        "unknown_schema: the registry knows no schema 9",
        "incompatible_schema: schema 1: it has no message at [1]",
        "incompatible_schema: schema 1: it has no message at [0, 0]",
        "malformed: not in Confluent's format",
        "malformed: not in Confluent's format",
        "malformed: not Protobuf of its schema: it does not say which message it is (schema 1)",
        "malformed: not Protobuf of its schema: it ends too early (schema 1)",
    ];
    assert_eq!(dead.len(), begins.len(), "{dead:?}");
    for (dead, begin) in dead.iter().zip(begins) {
        assert!(dead.starts_with(begin), "{dead}");
    }
    let path = decode(vec![column("x", "bigint", &["id.x"])], &schemas, &messages[..1]);
    assert_eq!(shown(&path), ["incompatible_schema: schema 1: column 'x' lies in a message, which here is a string"]);
}

#[test]
fn the_message_is_found_by_its_place_in_the_schema() {
    let schema = proto3(
        "message A { int32 n = 1; map<string, A> all = 2; message B { int32 n = 2; message C { int32 n = 3; } } }
        message D { int32 n = 4; }",
    );
    let at = |place: &[u8], number: u8| framed(1, place, &[number << 3, number]);
    let messages = [at(&[0], 1), at(&[2, 0], 1), at(&[4, 0, 0], 2), at(&[6, 0, 0, 0], 3), at(&[2, 2], 4), at(&[4, 0, 2], 2)];
    let wanted = [
        r#"{"n":1}"#,
        r#"{"n":1}"#,
        r#"{"n":2}"#,
        r#"{"n":3}"#,
        r#"{"n":4}"#,
        "incompatible_schema: schema 1: it has no message at [0, 1]",
    ];
    assert_eq!(shown(&decode(vec![column("n", "bigint", &[])], &[(1, &schema)], &messages)), wanted);
}

#[test]
fn what_a_schema_imports_comes_from_its_references_or_is_known() {
    let text = proto3(
        r#"import "shop/item.proto"; import "google/protobuf/duration.proto"; import "confluent/meta.proto"; import "confluent/type/decimal.proto";
        message Order { shop.Item item = 1; google.protobuf.Duration d = 2; confluent.type.Decimal p = 3 [(confluent.field_meta).doc = "x"]; }"#,
    );
    let reference = |name: &str, text: &str| Reference { name: name.to_owned(), text: proto3(text) };
    let unit = reference("unit.proto", "package shop; enum Unit { PIECE = 0; }");
    let item = reference("shop/item.proto", r#"package shop; import "unit.proto"; message Item { Unit unit = 1; }"#);
    let order = Schema::parse(&text, &[unit, item.clone()]).and_then(|schema| schema.message(&[0])).expect("a schema");
    assert_eq!(order.fields().len(), 3);
    let missing = Schema::parse(&text, &[item]).expect_err("a file that nobody knows");
    assert!(missing.starts_with("no Protobuf schema: ") && missing.contains("unit.proto"), "{missing}");
    let deep = format!("message M {{ optional int32 n = 1 [(x) = {}", "{ a ".repeat(100_000));
    assert!(Schema::parse(&deep, &[]).is_err_and(|problem| problem.contains("brackets inside of brackets")));
    let round = reference("round.proto", r#"import "round.proto";"#);
    assert!(Schema::parse(&proto3(r#"import "round.proto"; message M {}"#), &[round]).is_err());
}

#[test]
fn anything_becomes_json_as_protobuf_maps_it() {
    let schema = proto3(
        r#"import "google/protobuf/struct.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
        enum Kind { NONE = 0; ONE = 1; }
        message M { repeated int32 packed = 1; repeated int32 plain = 2 [packed = false]; map<string, int64> map = 3; map<bool, Inner> inners = 4;
                    Inner inner = 5; google.protobuf.Struct free = 6; google.protobuf.Duration d = 7; repeated google.protobuf.Timestamp t = 8;
                    google.protobuf.UInt64Value w = 9; repeated Kind kinds = 10; bytes b = 11; float f = 12; double inf = 13; int32 n = 14; string s = 15; }
        message Inner { uint64 large_one = 1; optional int32 told = 2; int32 untold = 3; repeated Inner more = 4; repeated string texts = 5; }"#,
    );
    let text = r#"packed: [1, -2] plain: [3, 4] map { key: "b" value: 2 } map { key: "a" value: -1 } map { key: "b" value: 3 }
        inners { key: true value { told: 0 } } inner { large_one: 18446744073709551615 told: 0 more { texts: "a\"" texts: "" } more {} }
        free { fields { key: "k" value { list_value { values { number_value: 1.5 } values { null_value: NULL_VALUE } values { bool_value: true }
        values { string_value: "x" } } } } } d { seconds: -1 nanos: -500000000 } t { seconds: 1769679063 } t { nanos: 5000000 } w { value: 7 }
        kinds: ONE kinds: 9 b: "\xff\x00" f: 0.1 inf: inf n: 5"#;
    let record = &message(1, &schema, text)[6..];
    let wanted = [
        ("packed", "[1,-2]"),
        ("plain", "[3,4]"),
        ("map", r#"{"a":"-1","b":"3"}"#),
        ("inners", r#"{"true":{"told":0}}"#),
        ("inner", r#"{"largeOne":"18446744073709551615","told":0,"more":[{"texts":["a\"",""]},{}]}"#),
        ("free", r#"{"k":[1.5,null,true,"x"]}"#),
        ("d", r#""-1.5s""#),
        ("t", r#"["2026-01-29T09:31:03Z","1970-01-01T00:00:00.005Z"]"#),
        ("w", r#""7""#),
        ("kinds", r#"["ONE",9]"#),
        ("b", r#""/wA=""#),
        ("f", "0.1"),
        ("inf", r#""Infinity""#),
        ("n", "5"),
        ("s", r#""""#),
    ];
    for (field, wanted) in wanted {
        assert_eq!(as_json(field, &schema, record), wanted, "{field}");
    }
    let empty = [("packed", "[]"), ("map", "{}"), ("inner", "NULL"), ("w", "NULL"), ("n", "0")];
    for (field, wanted) in empty {
        assert_eq!(as_json(field, &schema, &[]), wanted, "{field}");
    }
    // A list in either way of writing it, whatever the schema says, and in pieces.
    assert_eq!(as_json("packed", &schema, &[8, 1, 10, 2, 2, 3, 10, 0, 8, 4]), "[1,2,3,4]");
    assert_eq!(as_json("plain", &schema, &[16, 1, 18, 2, 2, 3]), "[1,2,3]");
    assert_eq!(
        as_json("packed", &schema, &[10, 2, 1, 0x80]),
        "malformed: not Protobuf of its schema: it ends too early (schema 1)"
    );
}

#[test]
fn values_inside_of_values_have_a_bound() {
    let schema = "message L { optional L next = 1; optional int32 n = 2; }";
    let nested = |depth: usize| {
        (0..depth).fold(Vec::new(), |inner, _| {
            let mut outer = vec![10];
            prost_reflect::prost::encode_length_delimiter(inner.len(), &mut outer).expect("room");
            outer.extend(inner);
            outer
        })
    };
    assert!(as_json("next", schema, &nested(100)).starts_with(r#"{"next":{"next":"#));
    for depth in [200, 3000] {
        assert_eq!(as_json("next", schema, &nested(depth)), "too_deep: the record is nested more than 127 deep (schema 1)");
        assert_eq!(one(&[("n", "bigint")], schema, &nested(depth)), r#"{"n":null}"#, "nobody looks inside");
    }
}

#[test]
fn damaged_records_are_refused_for_their_reason() {
    let schema = proto3("message M { int64 n = 1; string s = 2; Inner i = 3; fixed32 f = 4; } message Inner { int32 n = 1; }");
    let cases: [(&[u8], &str); 15] = [
        (&[8], "it ends too early"),
        (&[8, 0x80], "it ends too early"),
        (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "a number beyond 64 bits"),
        (&[8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], "a number beyond 64 bits"),
        (&[9, 0, 0, 0, 0, 0, 0, 0, 0], "a value in another form than its field's"),
        (&[10, 1, 5], "a value in another form than its field's"),
        (&[16, 1], "a value in another form than its field's"),
        (&[18, 2, b'x'], "it ends too early"),
        (&[18, 1, 0xff], "a text that is not UTF-8"),
        (&[18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "it ends too early"),
        (&[26, 3, 8, 1], "it ends too early"),
        (&[26, 1, 8], "it ends too early"),
        (&[83, 84], "a group, which is not read"),
        (&[86, 1], "a form of values that there is not"),
        (&[0, 1], "a field number that there is not"),
    ];
    let columns = || vec![column("n", "bigint", &[]), column("s", "text", &[]), column("m", "bigint", &["i.n"])];
    for (record, what) in cases {
        let dead = shown(&decode(columns(), &[(1, &schema)], &[framed(1, &[0], record)]));
        assert_eq!(dead, [format!("malformed: not Protobuf of its schema: {what} (schema 1)")], "{record:?}");
    }
    let unknown = [80, 1, 89, 0, 0, 0, 0, 0, 0, 0, 0, 98, 1, 7, 109, 0, 0, 0, 0, 8, 3];
    assert_eq!(one(&[("n", "bigint")], &schema, &unknown), r#"{"n":3}"#, "fields that the schema does not have are passed over");
}
