//! What was lost or repeated in the end: tables, lake and topic against the oracle of all that was produced.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use freshet_harness::oracle::{self, Contents, Late, Topic, fingerprint};

use crate::report::Report;
use crate::stage::{ENRICHED, Stage, TOPIC};

/// Compares everything, and blames the faults for it.
pub(crate) fn audit(stage: &Stage, report: &mut Report) {
    let topic = Topic::read(&stage.kafka, TOPIC);
    report.place("events produced", format!("{} and {} malformed", topic.events.len(), topic.bad.len()));
    tables(stage, &topic, report);
    let lake = stage.data().join("lake");
    if let Some(found) = attempt("the lake", report, || oracle::lake_contents(&lake)) {
        events("the lake", &found, &topic, report);
    }
    if let Some(found) = attempt("the enriched topic", report, || oracle::topic_contents(&stage.kafka, ENRICHED)) {
        events("the enriched topic", &found, &topic, report);
    }
}

/// The oracle panics when it finds what cannot be, which is a finding like any other here.
fn attempt<T>(what: &str, report: &mut Report, check: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(check));
    outcome
        .map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default();
            report.fail(format!("{what}: {text}"));
        })
        .ok()
}

fn tables(stage: &Stage, topic: &Topic, report: &mut Report) {
    let mut client = stage.database.connect();
    let Some(late) = attempt("freshet.late_events", report, || Late::read(&mut client, topic)) else { return };
    report.place("late", format!("{} events, each for a window", late.len()));
    for (table, difference) in
        attempt("the tables", report, || oracle::compare_tables(&mut client, topic, &late)).unwrap_or_default()
    {
        match difference {
            None => report.place(table, "every row as the oracle's".to_owned()),
            Some(difference) => {
                let first = difference.examples.first().cloned().unwrap_or_default();
                report.fail(format!("{table}: {} rows missing, {} too many: {first}", difference.missing, difference.surplus));
            }
        }
    }
    let _ = attempt("freshet.ledger", report, || oracle::check_ledger(&mut client, topic, &late));
    let _ = attempt("freshet.dead_letters", report, || oracle::check_dead_letters(&mut client, topic));
}

/// Finds each event that is missing or there too often. What was produced before a fault was over, and after the one before it, is that
/// fault's.
fn events(place: &'static str, found: &Contents, topic: &Topic, report: &mut Report) {
    let expected = topic.contents();
    let (lost, repeated) = found.compare(&expected);
    let mut seen = HashSet::new();
    let mut blamed = 0;
    for event in &topic.events {
        let key = fingerprint(event.time, &event.user, &event.page, &event.kind);
        let (is, shall) = (found.count(key), expected.count(key));
        if is != shall && seen.insert(key) {
            // A late event's own time does not tell when it was produced, that of those before it does.
            report.blame(event.time.max(event.before), shall.saturating_sub(is).into(), is.saturating_sub(shall).into());
            blamed += u64::from(is.saturating_sub(shall));
        }
    }
    report.place(place, format!("{lost} events lost, {repeated} repeated, {} of those never produced", repeated - blamed));
    if lost + repeated > 0 {
        report.fail(format!("{place}: {lost} events lost, {repeated} repeated"));
    }
}
