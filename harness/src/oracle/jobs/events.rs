//! `events`: logs, clicks and transactions, minute by minute.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client;

use super::super::MINUTE;
use super::super::rows::{Rows, check_rows, decimal, read};
use super::super::stream::{Declared, Fact, Stream};
use super::super::windows::{Cells, Window, Windowed};
use crate::cells;

/// What the job declares of its topic.
pub const DECLARED: Declared = Declared {
    time: "event_time",
    delay_minutes: 1,
    texts: &[
        ("event_id", 36),
        ("event_type", 20),
        ("level", 10),
        ("service", 50),
        ("user_id", 50),
        ("url", 255),
        ("currency", 3),
    ],
    numbers: &["duration_ms", "amount"],
};

type Group<'a> = ((i64, i64, Cells), Vec<&'a Fact>);

/// Fails unless the job's tables are right.
pub fn check(client: &mut Client, topic: &Stream) {
    let stream = &topic.distinct("event_id", false);
    let mut minutes = |view: &str, kind: Option<&str>, key: &[&str]| -> Vec<Group<'_>> {
        let windows = Windowed::new(client, view, stream, Window::Hop(MINUTE, MINUTE));
        let is_kind = |event: &Fact| kind.is_none_or(|kind| event.is("event_type", kind));
        let key = |event: &Fact| is_kind(event).then(|| key.iter().map(|name| event.expect(name)).collect());
        windows.groups(key).into_iter().collect()
    };
    let kinds = minutes("events_per_minute", None, &["event_type"]);
    let services = minutes("services_per_minute", Some("log"), &["service"]);
    let clicks = minutes("clicks_per_minute", Some("click"), &["url"]);
    let transactions = minutes("transactions_per_minute", Some("transaction"), &["currency", "status"]);

    let rows = kinds.iter().map(|((start, end, key), events)| (cells![start, key[0]], cells![end, events.len(), true]));
    // How old the events were depends on the run, so it only has to be possible.
    let values = ["window_end", "events", "(mean_delay_ms BETWEEN 0 AND max_delay_ms + 1)"];
    check_rows(client, "events_per_minute", &["window_start", "event_type"], &values, &rows.collect());

    services_and_bad_minutes(client, &services);
    hours(client, &services);
    percentiles(client, &services);

    let rows = clicks.iter().map(|((start, _, key), events)| {
        let users: BTreeSet<_> = events.iter().map(|event| event.expect("user_id")).collect();
        (cells![start, key[0]], cells![events.len(), users.len()])
    });
    check_rows(client, "clicks_per_minute", &["window_start", "url"], &["clicks", "users"], &rows.collect());

    let rows = transactions.iter().map(|((start, _, key), events)| {
        let amount = events.iter().filter_map(|event| event.hundredths("amount")).sum();
        (cells![start, key[0], key[1]], cells![events.len(), decimal(amount)])
    });
    let key = ["window_start", "currency", "status"];
    check_rows(client, "transactions_per_minute", &key, &["transactions", "amount"], &rows.collect());
}

fn services_and_bad_minutes(client: &mut Client, services: &[Group<'_>]) {
    let (mut all, mut bad) = (Rows::new(), Rows::new());
    for ((start, _, key), events) in services {
        let (errors, rate, is_bad) = errors(events);
        let durations: Vec<f64> = events.iter().filter_map(|event| event.number("duration_ms")).collect();
        let (sum, max) = (durations.iter().sum::<f64>(), durations.iter().copied().fold(0.0, f64::max));
        let key = cells![start, key[0]];
        all.insert(key.clone(), cells![events.len(), errors, rate, sum / durations.len() as f64, max]);
        if is_bad {
            bad.insert(key, cells![events.len(), errors, rate]);
        }
    }
    let key = ["window_start", "service"];
    check_rows(client, "services_per_minute", &key, &["logs", "errors", "error_rate", "mean_ms", "max_ms"], &all);
    check_rows(client, "bad_minutes", &key, &["logs", "errors", "error_rate"], &bad);
}

/// Counts the errors among a minute's logs; returns their share too, and whether that makes the minute a bad one.
fn errors(logs: &[&Fact]) -> (usize, f64, bool) {
    let errors = logs.iter().filter(|event| event.is("level", "ERROR")).count();
    let rate = errors as f64 / logs.len() as f64;
    (errors, rate, rate > 0.1 && logs.len() >= 10)
}

/// The hours are sums over the rows of their minutes.
fn hours(client: &mut Client, services: &[Group<'_>]) {
    // Logs, errors, bad minutes, and the worst rate.
    let mut hours: BTreeMap<(i64, String), (usize, usize, usize, f64)> = BTreeMap::new();
    for ((start, _, key), events) in services {
        let (errors, rate, is_bad) = errors(events);
        let hour = hours.entry((start - start.rem_euclid(60 * MINUTE), key[0].clone())).or_default();
        hour.0 += events.len();
        hour.1 += errors;
        hour.2 += usize::from(is_bad);
        hour.3 = hour.3.max(rate);
    }
    let rows = hours
        .into_iter()
        .map(|((start, service), (logs, errors, bad, worst))| (cells![start, service], cells![logs, errors, bad, worst]));
    let values = ["logs", "errors", "bad_minutes", "worst_rate"];
    check_rows(client, "services_per_hour", &["window_start", "service"], &values, &rows.collect());
}

/// The percentiles are within a hundredth of the value of their rank.
fn percentiles(client: &mut Client, services: &[Group<'_>]) {
    let found = read(client, "services_per_minute", &["window_start", "service"], &["p50_ms", "p99_ms"]);
    for ((start, _, key), events) in services {
        let mut durations: Vec<f64> = events.iter().filter_map(|event| event.number("duration_ms")).collect();
        durations.sort_by(f64::total_cmp);
        let row = &found[&cells![start, key[0]]];
        for (cell, quantile) in row.iter().zip([0.5, 0.99]) {
            let exact = durations[(quantile * (durations.len() - 1) as f64) as usize];
            let value: f64 = cell.parse().expect("a number");
            assert!((value - exact).abs() <= 0.011 * exact, "{start} {key:?}: {value} for {exact}, of {durations:?}");
        }
    }
}
