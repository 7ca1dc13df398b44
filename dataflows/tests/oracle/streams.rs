//! Streams that are made from others, and rows that are appended to tables, against naive recomputation.

use std::collections::BTreeMap;

use freshet_dataflows::plan::Input;
use freshet_model::Timestamp;
use proptest::prelude::*;

use crate::events;
use crate::harness::{Event, Late, MINUTE, Outcome, Table, nth, run, run_cut_after_each, run_with_crashes};
use crate::naive::{self, Met};

const VIEWS: &[(&str, &str)] = &[
    ("clean", "SELECT time, NULLIF(page, '/0') AS page, user_id, amount FROM events WHERE kind = 'view'"),
    ("firsts", "SELECT * FROM dedupe(clean, user_id, page, INTERVAL '3 minutes')"),
    (
        "first_hits",
        "SELECT window_start, page, count(*) AS hits FROM tumble(firsts, INTERVAL '1 minute') GROUP BY window_start, page",
    ),
    (
        "united",
        "SELECT time, page AS name, amount FROM clean UNION ALL SELECT time, user_id, amount + 1 FROM events WHERE kind = 'click'",
    ),
    ("latest by name", "SELECT name, amount FROM united"),
    ("twice", "SELECT time, name FROM dedupe(united, name, INTERVAL '2 minutes') WHERE amount > 0"),
];

/// A record of a stream.
#[derive(Debug, Clone)]
struct Record {
    /// Where the record's epoch began, its partition and its offset.
    place: (u64, i32, i64),
    time: i64,
    name: Option<String>,
    user: String,
    amount: i64,
    watermark: Timestamp,
}

/// What a view must hold, and where the records went on the way to it.
#[derive(Default)]
struct Expected {
    tables: BTreeMap<&'static str, Table>,
    late: Vec<Late>,
    /// Records read, counted and late.
    accounts: BTreeMap<&'static str, (u64, u64, u64)>,
}

fn record(met: &Met) -> Record {
    let Met { epoch, partition, offset, event, watermark } = met;
    Record {
        place: (*epoch, i32::try_from(*partition).expect("small"), i64::try_from(*offset).expect("small")),
        time: event.time,
        name: (event.page > 0).then(|| format!("/{}", event.page)),
        user: format!("u{}", event.user),
        amount: event.amount,
        watermark: *watermark,
    }
}

/// Passes the first record of each key on, in the order of epochs, partitions and offsets; the others are repeats or late.
fn dedupe<K: Ord>(records: &[Record], key: impl Fn(&Record) -> K, within: i64) -> (Vec<Record>, Vec<Record>) {
    let mut records = records.to_vec();
    records.sort_by_key(|record| record.place);
    let mut remembered: BTreeMap<K, i64> = BTreeMap::new();
    let (mut passed, mut late) = (Vec::new(), Vec::new());
    for record in records {
        let is_over = |time: i64| Timestamp(time).plus_micros(within) <= record.watermark;
        if is_over(record.time) {
            late.push(record);
        } else if remembered.get(&key(&record)).is_none_or(|&time| is_over(time)) {
            remembered.insert(key(&record), record.time);
            passed.push(record);
        }
    }
    (passed, late)
}

/// Finds each event's epoch; none lies too far ahead of it.
fn met(events: &[Vec<Event>], outcome: &Outcome) -> Vec<Met> {
    naive::met((0, events), &outcome.records, i64::MAX, &mut Vec::new())
}

fn rows(records: &[Record], row: impl Fn(&Record) -> String) -> Table {
    let mut table = Table::new();
    for record in records {
        let row = row(record);
        table.insert(nth(&table, &row), row);
    }
    table
}

fn text(name: Option<&String>) -> &str {
    name.map_or("NULL", String::as_str)
}

impl Expected {
    fn add(&mut self, view: &'static str, table: Table, accounts: (usize, usize, usize)) {
        self.tables.insert(view, table);
        let (read, counted, late) = accounts;
        self.accounts.insert(view, (read as u64, counted as u64, late as u64));
    }

    fn late(&mut self, view: &str, records: &[Record], window_start: impl Fn(&Record) -> i64) {
        self.late.extend(records.iter().map(|r| (view.to_owned(), r.place.1, r.place.2, window_start(r))));
    }
}

fn expected(events: &[Vec<Event>], outcome: &Outcome) -> Expected {
    let met = met(events, outcome);
    let total = met.len();
    let mut expected = Expected::default();
    let (views, clicks): (Vec<&Met>, Vec<&Met>) = met.iter().partition(|met| met.event.kind == 0);
    let clean: Vec<Record> = views.into_iter().map(record).collect();
    let all = |r: &Record| format!("{}|{}|{}|{}", r.time, text(r.name.as_ref()), r.user, r.amount);
    expected.add("clean", rows(&clean, all), (total, clean.len(), 0));

    let (firsts, late) = dedupe(&clean, |r| (r.user.clone(), r.name.clone()), 3 * MINUTE);
    expected.late("dedupe(clean, user_id, page, 180 s)", &late, |r| r.time);
    expected.add("firsts", rows(&firsts, all), (total, firsts.len(), late.len()));

    let start = |r: &Record| r.time.div_euclid(MINUTE) * MINUTE;
    let (open, closed): (Vec<Record>, Vec<Record>) =
        firsts.iter().cloned().partition(|r| Timestamp(start(r) + MINUTE) > r.watermark);
    let mut hits: BTreeMap<(i64, Option<String>), usize> = BTreeMap::new();
    open.iter().for_each(|r| *hits.entry((start(r), r.name.clone())).or_default() += 1);
    let hits = hits.into_iter().map(|((start, name), hits)| {
        let key = format!("{start}|{}", text(name.as_ref()));
        (key.clone(), format!("{key}|{hits}"))
    });
    expected.late("first_hits", &closed, start);
    expected.add("first_hits", hits.collect(), (total, open.len(), late.len() + closed.len()));

    // Partition n of part i of two is 2 n + i.
    let part = |index: i32| move |r: Record| Record { place: (r.place.0, 2 * r.place.1 + index, r.place.2), ..r };
    let click = |met: &Met| {
        let record = record(met);
        Record { name: Some(record.user.clone()), amount: record.amount + 1, ..record }
    };
    let mut united: Vec<Record> = clean.iter().cloned().map(part(0)).chain(clicks.into_iter().map(click).map(part(1))).collect();
    united.sort_by_key(|r| r.place);
    let short = |r: &Record| format!("{}|{}|{}", r.time, text(r.name.as_ref()), r.amount);
    expected.add("united", rows(&united, short), (2 * total, united.len(), 0));
    let latest = united.iter().map(|r| {
        let name = text(r.name.as_ref()).to_owned();
        (name.clone(), format!("{name}|{}", r.amount))
    });
    expected.add("latest", latest.collect(), (2 * total, united.len(), 0));

    let (firsts, late) = dedupe(&united, |r| r.name.clone(), 2 * MINUTE);
    expected.late("dedupe(united, name, 120 s)", &late, |r| r.time);
    let kept: Vec<Record> = firsts.into_iter().filter(|r| r.amount > 0).collect();
    let named = |r: &Record| format!("{}|{}", r.time, text(r.name.as_ref()));
    expected.add("twice", rows(&kept, named), (2 * total, kept.len(), late.len()));
    expected.late.sort();
    expected
}

fn check(outcome: &Outcome, events: &[Vec<Event>]) {
    let expected = expected(events, outcome);
    for (name, table) in &expected.tables {
        assert_eq!(outcome.tables.get(*name).cloned().unwrap_or_default(), *table, "table {name}");
    }
    assert_eq!(outcome.late, expected.late, "late events");
    assert_eq!(outcome.ledger.len(), expected.accounts.len());
    for row in &outcome.ledger {
        let &accounts = &expected.accounts[row.view.as_str()];
        assert_eq!((row.read, row.counted, row.late), accounts, "read, counted and late of {row:?}");
        assert_eq!(row.read, row.counted + row.filtered + row.late + row.dead_letters, "accounts of {row:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn streams_equal_naive_recomputation_on_any_number_of_workers(events in events(), seed in any::<u64>()) {
        for workers in [1, 2, 4] {
            check(&run(VIEWS, &events, workers, seed, true), &events);
        }
    }

    #[test]
    fn streams_equal_naive_recomputation_after_crashes_and_with_other_numbers_of_workers(events in events(), seed in any::<u64>()) {
        check(&run_with_crashes(VIEWS, &events, &[1, 3, 2, 4, 1], seed), &events);
    }
}

#[test]
fn a_key_is_forgotten_when_the_watermark_reaches_its_time_and_the_length() {
    let event = |time: i64, page: u8, user: u8| Event { time, page, user, kind: 0, amount: 1 };
    // The watermark is two minutes behind the newest event, and the key is remembered for three.
    let first = event(10 * MINUTE, 1, 1);
    let almost = event(15 * MINUTE - 1, 2, 2);
    let reached = event(15 * MINUTE, 2, 3);
    let again = event(12 * MINUTE, 1, 1);
    let events = vec![vec![first, almost, again, reached, again, again]];
    let outcome = run_cut_after_each(VIEWS, &events);
    check(&outcome, &events);
    // Unless an epoch held the two together.
    let is_forgotten = met(&events, &outcome)[4].watermark == Timestamp(13 * MINUTE);
    let row = outcome.ledger.iter().find(|row| row.view == "firsts").expect("its accounts");
    assert_eq!((row.counted, row.late), (3 + u64::from(is_forgotten), 0), "{row:?}");
}

#[test]
fn a_record_that_would_be_forgotten_at_once_is_late() {
    let event = |time: i64, page: u8| Event { time, page, user: 0, kind: 0, amount: 1 };
    let events = vec![vec![event(20 * MINUTE, 1), event(15 * MINUTE, 2), event(15 * MINUTE + 1, 2)]];
    let outcome = run_cut_after_each(VIEWS, &events);
    check(&outcome, &events);
    let is_late = met(&events, &outcome)[1].watermark == Timestamp(18 * MINUTE);
    let row = outcome.ledger.iter().find(|row| row.view == "firsts").expect("its accounts");
    assert_eq!(row.late, u64::from(is_late), "{row:?}");
}

#[test]
fn keys_that_are_forgotten_leave_memory() {
    let event = |n: u16| Event { time: i64::from(n) * MINUTE, page: (n % 200) as u8, user: (n / 200) as u8, kind: 0, amount: 1 };
    let events = vec![(0..3000).map(event).collect::<Vec<_>>()];
    let outcome = run(VIEWS, &events, 2, 5, true);
    check(&outcome, &events);
    // An epoch looks at 64 keys on each worker, and at two for each of its records.
    let largest = outcome.records.iter().map(|record| record.cuts.iter().map(|cut| cut.rows).sum::<u64>()).max();
    let bound = 200 + 4 * i64::try_from(largest.expect("epochs")).expect("small");
    let remembered: Vec<i64> =
        outcome.keys.iter().filter(|(of, _)| matches!(of, Input::Source(_))).map(|(_, keys)| *keys).collect();
    assert!(remembered.len() == 2 && remembered.iter().all(|keys| (0..bound).contains(keys)), "{remembered:?}, {bound}");
}
