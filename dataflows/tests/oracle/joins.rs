//! Joins of two streams and of views over them against nested loops over all events.

use std::collections::BTreeMap;

use freshet_dataflows::epochs::EpochRecord;
use freshet_dataflows::plan::{Emit, LatePolicy};
use freshet_model::{Epoch, Timestamp};
use proptest::prelude::*;

use crate::events;
use crate::feed::id;
use crate::harness::{Event, Late, MINUTE, Manner, Outcome, Run, Stream, Table, crash, run_streams, run_streams_with_crashes};
use crate::naive::{Met, met};

const VIEWS: &[(&str, &str)] = &[
    (
        "inner_join by l, r",
        "SELECT a.id AS l, b.id AS r, a.amount + b.amount AS total FROM events a JOIN others b ON a.user_id = b.user_id \
         AND b.time BETWEEN a.time - INTERVAL '1 minute' AND a.time + INTERVAL '3 minutes' WHERE a.kind = 'view' AND a.amount < b.amount",
    ),
    (
        "left_join by l, r",
        "SELECT a.id AS l, b.id AS r FROM events a LEFT JOIN (SELECT * FROM others WHERE kind = 'view') b \
         ON CASE WHEN a.amount > 0 THEN a.user_id END = b.user_id AND b.time >= a.time AND b.time < a.time + INTERVAL '2 minutes'",
    ),
    (
        "full_join by l, r",
        "SELECT a.id AS l, b.id AS r FROM events a FULL JOIN others b ON CASE WHEN a.amount > 0 THEN a.user_id END \
         = CASE WHEN b.amount > 0 THEN b.user_id END AND a.time BETWEEN b.time - INTERVAL '2 minutes' AND b.time",
    ),
    (
        "answered by id",
        "SELECT a.id, a.page FROM events a WHERE EXISTS (SELECT 1 FROM others b WHERE b.user_id = a.user_id AND b.page = a.page \
         AND b.time BETWEEN a.time AND a.time + INTERVAL '4 minutes')",
    ),
    (
        "unanswered by id",
        "SELECT a.id, a.page FROM events a WHERE NOT EXISTS (SELECT 1 FROM others b WHERE b.user_id = a.user_id AND b.page = a.page \
         AND b.time BETWEEN a.time AND a.time + INTERVAL '4 minutes')",
    ),
    (
        "per_user",
        "SELECT a.user_id, count(*) AS pairs, sum(b.amount) AS total FROM events a JOIN others b ON a.user_id = b.user_id \
         AND a.time - b.time BETWEEN INTERVAL '0 seconds' AND INTERVAL '1 minute' GROUP BY a.user_id",
    ),
    (
        "seen",
        "SELECT window_start, window_end, page, count(*) AS n FROM tumble(events, INTERVAL '1 minute') GROUP BY window_start, window_end, page",
    ),
    (
        "both",
        "SELECT seen.window_start, seen.page, seen.n AS seen, o.n AS others FROM seen LEFT JOIN (SELECT window_end, page, count(*) AS n \
         FROM tumble(others, INTERVAL '1 minute') GROUP BY window_end, page HAVING count(*) > 1) AS o \
         ON seen.window_end = o.window_end AND seen.page = o.page",
    ),
];

/// The same as two of these, with the time by which their rows are settled.
const ONCE: &[(&str, &str)] = &[
    (
        "left_join by l, r",
        "SELECT a.id AS l, b.id AS r, a.time AS asked FROM events a LEFT JOIN (SELECT * FROM others WHERE kind = 'view') b \
         ON CASE WHEN a.amount > 0 THEN a.user_id END = b.user_id AND b.time >= a.time AND b.time < a.time + INTERVAL '2 minutes'",
    ),
    (
        "unanswered by id",
        "SELECT a.id, a.page, a.time AS asked FROM events a WHERE NOT EXISTS (SELECT 1 FROM others b WHERE b.user_id = a.user_id \
         AND b.page = a.page AND b.time BETWEEN a.time AND a.time + INTERVAL '4 minutes')",
    ),
];

/// What the tables must hold, and which events are late.
struct Expected {
    /// The least watermark of all sources in each epoch.
    least: BTreeMap<Epoch, Timestamp>,
    tables: BTreeMap<&'static str, Table>,
    late: Vec<Late>,
}

impl Expected {
    /// Returns the events of both sides that are not late for a join of two streams, and takes down the others.
    fn on_time<'a>(&mut self, view: &str, both: [Vec<&'a Met>; 2], (low, high): (i64, i64)) -> [Vec<&'a Met>; 2] {
        let [left, right] = both;
        let mut split = |all: Vec<&'a Met>, reach: i64| {
            let is_late = |met: &&Met| met.event.time + reach <= self.least[&met.epoch].0;
            let (late, good): (Vec<&Met>, Vec<&Met>) = all.into_iter().partition(is_late);
            self.late.extend(late.iter().map(|met| late_row(view, met)));
            good
        };
        [split(left, high.max(0)), split(right, (-low).max(0))]
    }

    fn add(&mut self, view: &'static str, key: String, row: String) {
        assert!(self.tables.entry(view).or_default().insert(key, row).is_none(), "two rows of {view} have one key");
    }
}

fn late_row(view: &str, met: &Met) -> Late {
    let place = (i32::try_from(met.partition).expect("small"), i64::try_from(met.offset).expect("small"));
    (view.to_owned(), place.0, place.1, met.event.time)
}

fn ids(left: Option<&Met>, right: Option<&Met>) -> String {
    let text = |met: Option<&Met>| met.map_or("NULL".to_owned(), |met| id(met.partition, met.offset).to_string());
    format!("{}|{}", text(left), text(right))
}

/// The rows of a join: pairs, and rows of the sides that are to be shown without a partner.
fn nested_loop<'a>(
    [left, right]: [&[&'a Met]; 2],
    outer: [bool; 2],
    is_pair: impl Fn(&Event, &Event) -> bool,
) -> Vec<(Option<&'a Met>, Option<&'a Met>)> {
    let mut rows = Vec::new();
    for l in left {
        let partners: Vec<_> = right.iter().filter(|r| is_pair(&l.event, &r.event)).collect();
        rows.extend(partners.iter().map(|r| (Some(*l), Some(**r))));
        rows.extend((outer[0] && partners.is_empty()).then_some((Some(*l), None)));
    }
    let alone = right.iter().filter(|r| outer[1] && !left.iter().any(|l| is_pair(&l.event, &r.event)));
    rows.extend(alone.map(|r| (None, Some(*r))));
    rows
}

fn expected(streams: &[Stream], outcome: &Outcome) -> Expected {
    let met = [0, 1].map(|source| met((source, &streams[source]), &outcome.records, i64::MAX, &mut Vec::new()));
    let both = [&met[0][..], &met[1][..]];
    let mut expected = Expected { least: least(&outcome.records), tables: BTreeMap::new(), late: Vec::new() };
    add_pairs(&mut expected, both);
    add_answers(&mut expected, both);
    add_windows(&mut expected, both);
    expected.late.sort();
    expected
}

/// Returns the least watermark of all sources in each epoch: each record has those of the next one.
fn least(records: &[EpochRecord]) -> BTreeMap<Epoch, Timestamp> {
    let after = |record: &EpochRecord| *record.seal.watermarks.iter().min().expect("a source");
    let next = records.iter().map(|record| (record.epoch + 1, after(record)));
    std::iter::once((0, Timestamp::MIN)).chain(next).collect()
}

fn add_pairs(expected: &mut Expected, both: [&[Met]; 2]) {
    let within = |a: &Event, b: &Event, low: i64, high: i64| {
        let distance = b.time - a.time;
        a.user == b.user && low <= distance && distance <= high
    };
    let [left, right] = expected.on_time("inner_join", events_of(both, [true, false]), (-MINUTE, 3 * MINUTE));
    for (l, r) in nested_loop([&left, &right], [false, false], |a, b| within(a, b, -MINUTE, 3 * MINUTE) && a.amount < b.amount) {
        let total = l.zip(r).map(|(l, r)| l.event.amount + r.event.amount).expect("a pair");
        expected.add("inner_join", ids(l, r), format!("{}|{total}", ids(l, r)));
    }
    let band = (0, 2 * MINUTE - 1);
    let [left, right] = expected.on_time("left_join", events_of(both, [false, true]), band);
    for (l, r) in nested_loop([&left, &right], [true, false], |a, b| a.amount > 0 && within(a, b, band.0, band.1)) {
        expected.add("left_join", ids(l, r), ids(l, r));
    }
    let [left, right] = expected.on_time("full_join", events_of(both, [false, false]), (0, 2 * MINUTE));
    for (l, r) in nested_loop([&left, &right], [true, true], |a, b| a.amount > 0 && b.amount > 0 && within(a, b, 0, 2 * MINUTE)) {
        expected.add("full_join", ids(l, r), ids(l, r));
    }
    let [left, right] = expected.on_time("per_user", events_of(both, [false, false]), (-MINUTE, 0));
    let mut totals: BTreeMap<u8, (usize, i64)> = BTreeMap::new();
    for (l, r) in nested_loop([&left, &right], [false, false], |a, b| within(a, b, -MINUTE, 0)) {
        let (l, r) = l.zip(r).expect("a pair");
        let total = totals.entry(l.event.user).or_default();
        *total = (total.0 + 1, total.1 + r.event.amount);
    }
    for (user, (pairs, total)) in totals {
        expected.add("per_user", format!("u{user}"), format!("u{user}|{pairs}|{total}"));
    }
}

/// All events of both sides, or those of kind 0: a record that a filter leaves out is not late.
fn events_of(both: [&[Met]; 2], only_views: [bool; 2]) -> [Vec<&Met>; 2] {
    [0, 1].map(|side| both[side].iter().filter(|met| !only_views[side] || met.event.kind == 0).collect())
}

fn add_answers(expected: &mut Expected, both: [&[Met]; 2]) {
    for view in ["answered", "unanswered"] {
        let [left, right] = expected.on_time(view, events_of(both, [false, false]), (0, 4 * MINUTE));
        for l in left {
            let answers = |r: &&Met| {
                let distance = r.event.time - l.event.time;
                r.event.user == l.event.user && r.event.page == l.event.page && (0..=4 * MINUTE).contains(&distance)
            };
            if right.iter().any(answers) == (view == "answered") {
                let key = id(l.partition, l.offset).to_string();
                expected.add(view, key.clone(), format!("{key}|/{}", l.event.page));
            }
        }
    }
}

/// Counts the events of each minute and page that are not late for a view's window.
fn counts(expected: &mut Expected, view: &str, all: &[Met]) -> BTreeMap<(i64, u8), usize> {
    let mut counts = BTreeMap::new();
    for met in all {
        let start = met.event.time.div_euclid(MINUTE) * MINUTE;
        if start + MINUTE <= met.watermark.0 {
            let (_, partition, offset, _) = late_row(view, met);
            expected.late.push((view.to_owned(), partition, offset, start));
        } else {
            *counts.entry((start, met.event.page)).or_default() += 1;
        }
    }
    counts
}

fn add_windows(expected: &mut Expected, both: [&[Met]; 2]) {
    let (seen, others) = (counts(expected, "seen", both[0]), counts(expected, "both", both[1]));
    for ((start, page), n) in seen {
        let other = others.get(&(start, page)).filter(|n| **n > 1).map_or("NULL".to_owned(), usize::to_string);
        let key = format!("{start}|/{page}");
        expected.add("seen", key.clone(), format!("{start}|{}|/{page}|{n}", start + MINUTE));
        expected.add("both", key.clone(), format!("{key}|{n}|{other}"));
    }
}

fn check(outcome: &Outcome, streams: &[Stream]) {
    let expected = expected(streams, outcome);
    for (name, _) in VIEWS {
        let name = name.split(" by ").next().expect("a name");
        let table = expected.tables.get(name).cloned().unwrap_or_default();
        assert_eq!(outcome.tables.get(name).cloned().unwrap_or_default(), table, "table {name}");
    }
    assert_eq!(outcome.late, expected.late, "late events");
    let events: Vec<u64> = streams.iter().map(|events| events.iter().map(|events| events.len() as u64).sum()).collect();
    for row in &outcome.ledger {
        let read = match row.view.as_str() {
            "seen" => events[0],
            "both" => events[1],
            _ => events.iter().sum(),
        };
        assert_eq!(row.read, read, "a join reads the records of both sides: {row:?}");
        assert_eq!(row.read, row.counted + row.filtered + row.late + row.dead_letters, "accounts of {row:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn joins_equal_nested_loops_on_any_number_of_workers(left in events(), right in events(), seed in any::<u64>()) {
        let streams = [left, right];
        for workers in [1, 2, 4] {
            check(&run_streams(VIEWS, &streams, workers, seed), &streams);
        }
    }

    #[test]
    fn joins_equal_nested_loops_after_crashes_and_with_other_numbers_of_workers(left in events(), right in events(), seed in any::<u64>()) {
        let streams = [left, right];
        check(&run_streams_with_crashes(VIEWS, &streams, &[1, 3, 2, 4, 1], seed), &streams);
    }

    #[test]
    fn rows_of_final_joins_appear_once_when_nothing_can_change_them(left in events(), right in events(), seed in any::<u64>()) {
        let streams = [left, right];
        for workers in [&[1][..], &[4], &[1, 3, 2]] {
            let manner = Manner { late: LatePolicy::Keep, emit: Emit::Final };
            let outcome = crash(ONCE, &streams, workers, Run { manner, seed, ..Run::default() });
            let expected = expected(&streams, &outcome);
            for name in ["left_join", "unanswered"] {
                let found = outcome.tables.get(name).cloned().unwrap_or_default();
                prop_assert_eq!(outcome.writes.get(name).copied().unwrap_or_default(), found.len(), "rows of {} appear once", name);
                let without_time = |(key, row): (String, String)| (key, row.rsplit_once('|').expect("a time").0.to_owned());
                let found: Table = found.into_iter().map(without_time).collect();
                prop_assert_eq!(&found, &expected.tables.get(name).cloned().unwrap_or_default(), "table {}", name);
            }
            let late: Vec<Late> = expected.late.into_iter().filter(|late| ["left_join", "unanswered"].contains(&&*late.0)).collect();
            prop_assert_eq!(&outcome.late, &late);
        }
    }
}
