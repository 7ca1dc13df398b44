//! What a job may rely on: every kind is JSON with its fields, and the stories that events tell hang together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::super::{Payloads, Settings};
use super::*;

const NOW: Timestamp = Timestamp(1_769_679_063_027_000);
/// Parameters without what blurs a story.
const CLEAN: &str = "late=0&malformed=0&repeated=0&disorder=0s&partitions=4";

fn payloads(query: &str) -> Payloads {
    Payloads::new(Settings::from_url(&format!("generator://local/{query}")).expect("sound parameters"), NOW)
}

fn record(payloads: &Payloads, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    payloads.write(number % payloads.partitions(), number / payloads.partitions(), &mut out);
    out
}

fn events(query: &str, count: u64) -> Vec<Value> {
    let payloads = payloads(query);
    (0..count).map(|number| serde_json::from_slice(&record(&payloads, number)).expect("JSON")).collect()
}

fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    event[name].as_str().unwrap_or_else(|| panic!("no text in {name} of {event}"))
}

fn number(event: &Value, name: &str) -> f64 {
    event[name].as_f64().unwrap_or_else(|| panic!("no number in {name} of {event}"))
}

fn seconds(event: &Value, name: &str) -> f64 {
    text(event, name).parse::<jiff::Timestamp>().expect("a time").as_microsecond() as f64 / 1e6
}

#[test]
fn records_of_every_kind_do_not_depend_on_those_before_them() {
    for (name, _, _) in KINDS {
        let (a, b) = (payloads(&format!("{name}?seed=7")), payloads(&format!("{name}?seed=7")));
        let forwards: Vec<_> = (0..4000).map(|number| record(&a, number)).collect();
        let backwards: Vec<_> = (0..4000).rev().map(|number| record(&b, number)).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()), "{name}");
        assert_ne!(record(&a, 0), record(&payloads(&format!("{name}?seed=8")), 0), "{name}");
    }
}

#[test]
fn the_fields_of_a_shape_are_there() {
    for (name, kind, _) in KINDS {
        let shape = kind.shape();
        for event in events(&format!("{name}?{CLEAN}"), 2000) {
            let lag = NOW.0 as f64 / 1e6 + 2000.0 - seconds(&event, shape.time);
            assert!((0.0..2020.0).contains(&lag), "{name}: {event}");
            assert!(event[shape.text].is_string() || event[shape.text].is_null() && kind == Kind::Clickstream, "{name}: {event}");
            assert!(event[shape.other].is_string(), "{name}: {event}");
        }
    }
}

#[test]
fn a_finalizer_of_every_kind_is_ahead_of_the_clock() {
    for (name, kind, _) in KINDS.iter().filter(|(_, kind, _)| *kind != Kind::Logins) {
        let event = &events(&format!("{name}?profile=finalizer"), 1)[0];
        assert_eq!(text(event, kind.shape().time), "2026-01-29T09:35:33.027Z", "{name}");
    }
}

#[test]
fn a_share_of_the_records_repeats_others_of_the_last_minute() {
    let payloads = payloads("clickstream?rate=100&repeated=0.05&malformed=0");
    let mut seen: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut repeated = 0;
    for number in 0..200_000 {
        if let Some(first) = seen.insert(record(&payloads, number), number) {
            assert!(number - first <= 6_000 && number % 4 == first % 4, "{number} repeats {first}");
            repeated += 1;
        }
    }
    assert!((9_000..=10_500).contains(&repeated), "{repeated} of 10000 repeated");
}

#[test]
fn a_visit_comes_from_the_page_that_it_left() {
    let events = events(&format!("clickstream?{CLEAN}&users=1000000000&rate=100"), 100_000);
    let mut pages: HashMap<&str, &str> = HashMap::new();
    let (mut followed, mut starts) = (0, 0);
    for event in &events {
        let Some(user) = event["user_id"].as_str() else { continue };
        let url = text(event, "url").split(['?', '#']).next().unwrap_or_default();
        match pages.insert(user, url) {
            Some(before) if text(event, "referrer").starts_with('/') => {
                followed += usize::from(before == text(event, "referrer") || before.is_empty());
            }
            _ => starts += 1,
        }
    }
    // Each event that names nobody leaves a hole in its visit.
    assert!(starts > 15_000 && followed > 60_000 && starts + followed > 99_000, "{starts} visits, {followed} pages after");
}

#[test]
fn a_purchase_costs_what_the_visit_put_into_its_basket() {
    let events = events(&format!("streaming-events?{CLEAN}&rate=100"), 200_000);
    // Visits that had begun before the first record lack their beginnings.
    let begun: BTreeSet<&str> = events[..32_000].iter().map(|event| text(event, "session_id")).collect();
    let mut visits: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let whole = events.iter().filter(|event| !begun.contains(text(event, "session_id")));
    whole.for_each(|event| visits.entry(text(event, "session_id")).or_default().push(event));
    let mut furthest = [0; 3];
    for visit in visits.values() {
        let has = |kind: &str| visit.iter().any(|event| event["event_type"] == kind);
        let reached = [has("page_view") || has("item_click"), has("cart_add"), has("purchase")];
        (0..3).for_each(|step| furthest[step] += usize::from(reached[step]));
        assert_eq!(visit.iter().map(|event| text(event, "user_id")).collect::<BTreeSet<_>>().len(), 1, "one user a visit");
        if let Some(at) = visit.iter().position(|event| event["event_type"] == "purchase") {
            let added = visit[..at].iter().filter(|event| event["event_type"] == "cart_add");
            let sum: f64 = added.clone().map(|event| number(event, "price") * number(event, "quantity")).sum();
            assert!((number(visit[at], "amount") - sum).abs() < 0.01, "{} of {sum}", visit[at]);
            assert_eq!(visit[at]["items"].as_array().map(Vec::len), Some(added.count()));
        }
    }
    let [looked, added, bought] = furthest;
    assert!(
        looked > 25_000 && added * 10 > looked && added * 3 < looked * 2 && bought * 5 > added && bought < added,
        "{furthest:?}"
    );
}

#[test]
fn services_have_bad_minutes() {
    let errors = |query: &str| {
        let events = events(&format!("events?{CLEAN}&rate=100&{query}"), 60_000);
        let logs: Vec<_> = events.iter().filter(|event| event["event_type"] == "log").collect();
        assert!((35_000..37_000).contains(&logs.len()));
        logs.iter().filter(|event| event["level"] == "ERROR").count()
    };
    let (calm, bad) = (errors("incidents=0"), errors("incidents=0.5"));
    assert!((300..420).contains(&calm) && bad > 10 * calm, "{calm} {bad}");
}

#[test]
fn who_pays_has_logged_in_just_before_and_fraud_looks_like_fraud() {
    let query = format!("?{CLEAN}&rate=100&users=1000000000&incidents=0.02");
    let (payments, logins) = (events(&format!("payments{query}"), 100_000), events(&format!("logins{query}"), 100_000));
    // The users of the smallest numbers come up several times.
    let is_rare = |event: &&Value| text(event, "user_id").len() > "user_99999".len();
    let mut by_user: HashMap<&str, Vec<&Value>> = HashMap::new();
    logins.iter().filter(is_rare).for_each(|login| by_user.entry(text(login, "user_id")).or_default().push(login));
    let mut paid: HashMap<&str, Vec<&Value>> = HashMap::new();
    payments
        .iter()
        .skip(16_000)
        .filter(is_rare)
        .for_each(|payment| paid.entry(text(payment, "user_id")).or_default().push(payment));
    let [mut usual, mut bursts, mut travels, mut stolen, mut odd] = [0; 5];
    for (user, payments) in &paid {
        let first = payments[0];
        odd += usize::from(number(first, "amount") > 1500.0);
        let Some(logins) = by_user.get(user) else {
            stolen += 1;
            continue;
        };
        let before = seconds(first, "event_time") - seconds(logins[0], "event_time");
        if payments.len() > 5 {
            assert!(logins.iter().filter(|login| login["success"] == false).count() >= 3, "{user}");
            bursts += 1;
        } else if logins[0]["city"] != first["city"] {
            travels += 1;
        } else if (2.0..=10.0).contains(&before) {
            usual += 1;
        }
    }
    assert!(usual * 100 > paid.len() * 95, "{usual} of {} as usual", paid.len());
    for (count, what) in [(bursts, "bursts"), (travels, "travels"), (stolen, "stolen"), (odd, "odd amounts")] {
        assert!(count * 1000 > paid.len() && count * 50 < paid.len(), "{count} {what} of {}", paid.len());
    }
}

#[test]
fn sensors_fall_silent_drift_and_stick() {
    let gaps = |query: &str| {
        let mut last: HashMap<String, f64> = HashMap::new();
        let mut gaps = 0;
        for event in events(&format!("sensors?{CLEAN}&rate=100&users=50&{query}"), 100_000) {
            let time = seconds(&event, "reading_time");
            gaps +=
                usize::from(last.insert(text(&event, "sensor_id").to_owned(), time).is_some_and(|before| time - before > 5.0));
        }
        gaps
    };
    assert_eq!(gaps("incidents=0"), 0);
    assert!(gaps("incidents=0.1") > 20);
}
