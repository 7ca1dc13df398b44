//! Producers in Protobuf, their schemas in several files, that change them while the topic is read.

use freshet_harness::registry::Registry;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use protox::file::File;

use super::*;

const ITEM: &str = r#"syntax = "proto3"; package shop; message Item { string sku = 1; int32 count = 2; }"#;

/// Returns the schema of an event with these fields.
fn event(fields: &str) -> String {
    let imports =
        r#"import "shop/item.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";"#;
    format!(r#"syntax = "proto3"; package shop; {imports} message Other {{}} message Event {{ {fields} }}"#)
}

/// Returns the message of an event that is described in Protobuf's text format.
fn written(id: u32, schema: &str, text: &str) -> Option<Vec<u8>> {
    let mut pool = DescriptorPool::global();
    for (name, text) in [("shop/item.proto", ITEM), ("event.proto", schema)] {
        let file = File::from_source(name, text).expect("a schema");
        pool.add_file_descriptor_proto(file.into()).expect("a schema whose imports are there");
    }
    let event = pool.get_message_by_name("shop.Event").expect("a message");
    let message = DynamicMessage::parse_text_format(event, text).expect("a message").encode_to_vec();
    // The second message of the file.
    Some([&[0], &id.to_be_bytes()[..], &[2, 2], &message].concat())
}

fn options_of(columns: &[(&str, &str)], paths: &[&str]) -> SourceOptions {
    let registry = RegistryOptions { url: Registry::shared().url(), ..RegistryOptions::default() };
    let mut options = options(&registry.url, columns);
    options.format.encoding = Encoding::Protobuf(registry);
    let field = |path: &&str| FieldSpec { names: vec![path.split('.').map(str::to_owned).collect()], ..FieldSpec::default() };
    options.format.fields = paths.iter().map(field).collect();
    options
}

#[test]
fn schemas_with_imports_change_and_reading_goes_on() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "protobuf_evolution");
    kafka.create(topic, 1);
    registry.register_protobuf("shop-item", ITEM, &[]).expect("a schema");
    let register = |fields: &str| {
        let imports = [("shop/item.proto", "shop-item")];
        let id = registry.register_protobuf("protobuf_evolution-value", &event(fields), &imports).expect("compatible");
        (id, event(fields))
    };
    let (one, first) =
        register("int32 id = 1; Item item = 2; google.protobuf.Timestamp at = 3; google.protobuf.StringValue note = 4;");
    let columns = [("id", "bigint"), ("sku", "text"), ("at", "timestamp"), ("note", "text")];
    let mut reader = reader(topic, options_of(&columns, &["id", "item.sku", "at", "note"]));
    let first = written(one, &first, r#"id: 1 item { sku: "a" } at { seconds: 1769679063 } note { value: "n" }"#);
    kafka.produce(topic, 0, std::slice::from_ref(&first));
    let row = r#"{"id":1,"sku":"a","at":"2026-01-29T09:31:03Z","note":"n"}"#;
    assert_eq!(shown(&read(&mut *reader, 1)), [row]);

    // A wider number, a field more and two fewer; the old schema in between, and one that does not fit.
    let (two, second) = register("int64 id = 1; Item item = 2; string kind = 5; reserved 3, 4;");
    let second = written(two, &second, r#"id: 1099511627776 item { count: 2 } kind: "x""#);
    registry.set_compatibility("protobuf_evolution-value", "NONE");
    let (three, third) = register("string id = 1;");
    let third = written(three, &third, r#"id: "x""#);
    kafka.produce(topic, 0, &[second, first, third]);
    let wanted = [
        r#"{"id":1099511627776,"sku":"","at":null,"note":null}"#.to_owned(),
        row.to_owned(),
        format!("incompatible_schema: schema {three}: column 'id' is bigint, its field is a string"),
    ];
    assert_eq!(shown(&read(&mut *reader, 3)), wanted);
}

#[test]
fn a_schema_of_the_other_language_is_of_no_use() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "languages");
    kafka.create(topic, 1);
    let avro = registry.register("languages-avro", &record(r#"{"name":"id","type":"int"}"#)).expect("a schema");
    let protobuf = registry.register_protobuf("languages-protobuf", ITEM, &[]).expect("a schema");
    let message = |id: u32| Some([&[0], &id.to_be_bytes()[..], &[0]].concat());
    kafka.produce(topic, 0, &[message(avro), message(protobuf)]);
    let columns = [("id", "bigint")];
    let read = |options: SourceOptions| shown(&read(&mut *reader(topic, options), 2));
    let wrong = format!("incompatible_schema: schema {avro}: it is AVRO, not Protobuf");
    assert_eq!(read(options_of(&columns, &[])), [r#"{"id":null}"#.to_owned(), wrong]);
    let wrong = format!("incompatible_schema: schema {protobuf}: it is PROTOBUF, not Avro");
    assert_eq!(read(options(&registry.url(), &columns)), [r#"{"id":0}"#.to_owned(), wrong]);
}

#[test]
fn bad_payloads_are_one_dead_letter_each_and_the_next_record_counts() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "bad_protobuf");
    kafka.create(topic, 1);
    let id = registry.register_protobuf("bad_protobuf-value", ITEM, &[]).expect("a schema");
    let framed = |message: &[u8]| Some([&[0], &id.to_be_bytes()[..], &[0], message].concat());
    let good = framed(&[10, 1, b'a', 16, 2]);
    let bad = [framed(&[10, 9]), framed(&[16]), framed(&[8, 1]), framed(&[19, 20]), framed(&[0, 0]), Some(vec![0, 0]), None];
    let records: Vec<_> = bad.iter().flat_map(|bad| [bad.clone(), good.clone()]).collect();
    kafka.produce(topic, 0, &records);
    let mut reader = reader(topic, options_of(&[("sku", "text"), ("count", "bigint")], &[]));
    let batches = read(&mut *reader, records.len());
    let offsets: Vec<i64> = batches.iter().flat_map(|batch| batch.offsets.clone()).collect();
    let good_ones: Vec<i64> = (0..records.len() as i64).filter(|offset| offset % 2 == 1).collect();
    assert_eq!(offsets, good_ones);
}
