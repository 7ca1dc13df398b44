//! Producers that change their schema while the topic is read.

use super::*;
use freshet_harness::registry::Registry;

const FIRST: &str = r#"{"name":"id","type":"int"},{"name":"amount","type":"float"}"#;

#[test]
fn the_writer_changes_its_schema_and_reading_goes_on() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "evolution");
    kafka.create(topic, 1);
    let subject = "evolution-value";
    let register = |fields: &str| (registry.register(subject, &record(fields)).expect("compatible"), record(fields));
    let (one, first) = register(FIRST);
    registry.set_compatibility(subject, "BACKWARD");
    let mut reader = reader(topic, options(&registry.url(), &[("id", "bigint"), ("amount", "double"), ("kind", "text")]));
    let first = |id: i32| message(one, &first, vec![("id", Value::Int(id)), ("amount", Value::Float(0.5))]);
    kafka.produce(topic, 0, &[first(1)]);
    assert_eq!(shown(&read(&mut *reader, 1)), [r#"{"id":1,"amount":0.5,"kind":null}"#]);

    // A new field with a default, and wider numbers.
    let (two, second) = register(
        r#"{"name":"id","type":"long"},{"name":"amount","type":"double"},{"name":"kind","type":"string","default":"sale"},
           {"name":"unheard_of","type":["null","string"],"default":null}"#,
    );
    let second = message(
        two,
        &second,
        vec![
            ("id", Value::Long(1 << 40)),
            ("amount", Value::Double(0.1)),
            ("kind", text("gift")),
            ("unheard_of", Value::Union(1, Box::new(text("x")))),
        ],
    );
    // A field less, another under a new name, and the old schema in between.
    let (three, third) = register(r#"{"name":"sum","aliases":["amount"],"type":"double"},{"name":"id","type":"long"}"#);
    let third = message(three, &third, vec![("sum", Value::Double(3.5)), ("id", Value::Long(3))]);
    kafka.produce(topic, 0, &[first(2), second, first(4), third]);
    let rows = [
        r#"{"id":2,"amount":0.5,"kind":null}"#,
        r#"{"id":1099511627776,"amount":0.1,"kind":"gift"}"#,
        r#"{"id":4,"amount":0.5,"kind":null}"#,
        r#"{"id":3,"amount":3.5,"kind":null}"#,
    ];
    assert_eq!(shown(&read(&mut *reader, 4)), rows);
}

#[test]
fn a_schema_that_does_not_fit_makes_dead_letters_that_name_it() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "incompatible");
    kafka.create(topic, 1);
    let one = registry.register("incompatible-value", &record(FIRST)).expect("the first");
    registry.set_compatibility("incompatible-value", "BACKWARD");
    let other = r#"{"name":"id","type":"string"},{"name":"amount","type":"float"}"#;
    assert_eq!(registry.register("incompatible-value", &record(other)).expect_err("refused by the registry").0, 409);
    registry.set_compatibility("incompatible-value", "NONE");
    let two = registry.register("incompatible-value", &record(other)).expect("anything goes");
    let good = message(one, &record(FIRST), vec![("id", Value::Int(1)), ("amount", Value::Float(0.5))]);
    let bad = message(two, &record(other), vec![("id", text("x")), ("amount", Value::Float(0.5))]);
    let unknown = Some([&[0], &7_000_000_u32.to_be_bytes()[..], &[2, 2]].concat());
    kafka.produce(topic, 0, &[good.clone(), bad, unknown, good]);
    let mut reader = reader(topic, options(&registry.url(), &[("id", "bigint")]));
    let wanted = [
        r#"{"id":1}"#.to_owned(),
        r#"{"id":1}"#.to_owned(),
        format!("incompatible_schema: schema {two}: column 'id' is bigint, its field is a string"),
        "unknown_schema: the registry knows no schema 7000000".to_owned(),
    ];
    assert_eq!(shown(&read(&mut *reader, 4)), wanted);
}

#[test]
fn bad_payloads_are_one_dead_letter_each_and_the_next_record_counts() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "bad_payloads");
    kafka.create(topic, 1);
    let schema = record(r#"{"name":"id","type":"string"},{"name":"tags","type":{"type":"array","items":"long"}}"#);
    let id = registry.register("bad_payloads-value", &schema).expect("a schema");
    let tags = Value::Array(vec![Value::Long(1), Value::Long(-70_000)]);
    let good = message(id, &schema, vec![("id", text("user_1")), ("tags", tags)]).expect("a message");
    // Every beginning of a record, every byte of it turned over, and noise.
    let mut bad: Vec<Option<Vec<u8>>> = (0..good.len()).map(|length| Some(good[..length].to_vec())).collect();
    bad.extend((5..good.len()).map(|at| Some(good.iter().enumerate().map(|(i, &b)| if i == at { !b } else { b }).collect())));
    bad.extend((1..40_u8).map(|n| Some((0..n).map(|i| i.wrapping_mul(n).wrapping_add(1) | 1).collect())));
    bad.push(None);
    let records: Vec<_> = bad.iter().flat_map(|bad| [bad.clone(), Some(good.clone())]).collect();
    kafka.produce(topic, 0, &records);
    let mut reader = reader(topic, options(&registry.url(), &[("id", "text")]));
    let batches = read(&mut *reader, records.len());
    let offsets: Vec<i64> = batches.iter().flat_map(|batch| batch.offsets.clone()).collect();
    let good_ones = (0..records.len() as i64).filter(|offset| offset % 2 == 1);
    assert!(good_ones.clone().all(|offset| offsets.contains(&offset)), "a good record is lost");
    // A changed byte of a text or of a number may leave a record that is as good as any.
    let dead = taken(&batches) - offsets.len();
    assert!(dead >= good.len() + 40 && dead <= bad.len(), "{dead} of {}", bad.len());
}

#[test]
fn a_topic_of_dead_letters_stops_the_job() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "all_dead");
    kafka.create(topic, 1);
    let schema = record(r#"{"name":"id","type":"string"}"#);
    let id = registry.register("all_dead-value", &schema).expect("a schema");
    let records: Vec<_> = (0..1500).map(|n| message(id, &schema, vec![("id", text(&n.to_string()))])).collect();
    kafka.produce(topic, 0, &records);
    let mut reader = reader(topic, options(&registry.url(), &[("id", "bigint")]));
    let (mut batches, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let error = loop {
        assert!(Instant::now() < deadline && !is_at_end(&batches), "no error, but {} records", taken(&batches));
        if let Err(error) = reader.read(10_000, Duration::from_millis(50), &mut batches) {
            break error.to_string();
        }
    };
    let words = format!("schema {id}: column 'id' is bigint, its field is a string (incompatible_schema); correct the columns");
    assert!(error.contains("records in a row are dead letters") && error.contains(&words), "{error}");
}
