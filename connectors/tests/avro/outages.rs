//! A registry that is away is waited for; nothing is lost, and nothing is taken for a dead letter.

use super::proxy::Proxy;
use super::*;
use freshet_harness::registry::Registry;

fn events(id: u32, schema: &str, numbers: std::ops::Range<i64>) -> Vec<Option<Vec<u8>>> {
    numbers.map(|n| message(id, schema, vec![("n", Value::Long(n))])).collect()
}

fn numbers(batches: &[Batch]) -> Vec<String> {
    let rows = shown(batches);
    rows.iter().map(|row| row.trim_start_matches(r#"{"n":"#).trim_end_matches('}').to_owned()).collect()
}

fn wanted(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

#[test]
fn records_wait_for_a_registry_that_is_away() {
    let (kafka, registry, topic) = (Kafka::shared(), Registry::shared(), "outages");
    kafka.create(topic, 1);
    let (first, second) =
        (record(r#"{"name":"n","type":"long"}"#), record(r#"{"name":"n","type":"long"},{"name":"m","type":"long","default":0}"#));
    let one = registry.register("outages-value", &first).expect("a schema");
    kafka.produce(topic, 0, &events(one, &first, 0..100));

    // Away from the start: nothing is said of the partition but that it is behind.
    let proxy = Proxy::start(registry.port(), false);
    let mut source = source(topic, options(&proxy.url(), &[("n", "bigint")]));
    let (circuit, gauge) = circuit("registry of source 'in'");
    source.guard(&circuit);
    let mut reader = source.reader(&[0]).expect("a reader");
    let (mut batches, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < Duration::from_millis(1500) {
        let call = Instant::now();
        reader.read(1000, Duration::from_millis(50), &mut batches).expect("it is waited for");
        assert!(call.elapsed() < Duration::from_secs(10), "a read comes back");
    }
    assert_eq!(taken(&batches), 0);
    assert!(batches.iter().all(|batch| matches!(batch.progress, Progress::Behind(_)) && batch.range.is_empty()), "{batches:?}");
    assert_eq!((gauge.state(), gauge.opened.load(Ordering::Relaxed)), (State::Open, 1));
    proxy.set_open(true);
    assert_eq!(numbers(&read(&mut *reader, 100)), wanted(0..100));
    assert_eq!(gauge.state(), State::Closed);

    // Away in the middle: what is known goes on, what comes behind a new schema waits, in order.
    proxy.set_open(false);
    kafka.produce(topic, 0, &events(one, &first, 100..110));
    assert_eq!(numbers(&read(&mut *reader, 10)), wanted(100..110));
    let two = registry.register("outages-value", &second).expect("a schema");
    let new = |n: i64| message(two, &second, vec![("n", Value::Long(n)), ("m", Value::Long(1))]);
    kafka.produce(topic, 0, &[new(110), new(111)]);
    kafka.produce(topic, 0, &events(one, &first, 112..150));
    let (mut batches, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < Duration::from_millis(1000) {
        reader.read(1000, Duration::from_millis(50), &mut batches).expect("it is waited for");
    }
    assert_eq!(taken(&batches), 0);
    let last = batches.last().expect("the partition is no longer at its end");
    assert!(matches!(last.progress, Progress::Behind(_)) && last.range == (110..110), "{batches:?}");
    assert_eq!((gauge.state(), gauge.opened.load(Ordering::Relaxed)), (State::Open, 2));
    proxy.set_open(true);
    assert_eq!(numbers(&read(&mut *reader, 40)), wanted(110..150));
    assert!(gauge.state() == State::Closed && gauge.retries.load(Ordering::Relaxed) >= 6);
}
