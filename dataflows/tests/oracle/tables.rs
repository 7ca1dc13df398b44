//! Streams that are enriched from tables, against a naive look into the version that was in force in each event's epoch.
//!
//! A version's rows follow from its number, and the tables change as they are looked at; so each row that comes out tells by which version it was made.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use freshet_dataflows::epochs::Version;
use freshet_dataflows::lookup::{Lookup, Versions};
use freshet_model::{Column, Epoch, Timestamp};
use proptest::prelude::*;
use timely::scheduling::SyncActivator;

use crate::events;
use crate::harness::{Event, MINUTE, Outcome, Table, nth, run, run_cut_after_each, run_with_crashes};
use crate::naive::{self, Met};

const VIEWS: &[(&str, &str)] = &[
    (
        "known",
        "SELECT e.time, e.user_id, e.amount, u.segment, u.version FROM events e LEFT JOIN users u ON e.user_id = u.user_id",
    ),
    (
        "named",
        "SELECT e.time, n.name, n.version FROM names n JOIN events e ON n.page = e.page AND e.kind = n.kind AND n.version > e.amount",
    ),
    (
        "alike",
        "SELECT e.page, u.segment FROM events e LEFT JOIN users u \
         ON u.user_id = replace(e.page, '/', 'u') AND u.segment <> 's0' AND e.amount > 0 WHERE e.kind = 'view'",
    ),
    (
        "segments",
        "SELECT window_start, segment, count(*) AS n FROM tumble(known, INTERVAL '1 minute') GROUP BY window_start, segment",
    ),
    (
        "both",
        "SELECT k.segment, n.name, n.page FROM known k JOIN names n ON n.page = '/1' AND n.kind = k.segment \
         UNION ALL SELECT user_id, user_id AS second, user_id AS third FROM known WHERE version IS NULL",
    ),
];

fn column(name: &str, kind: &str) -> Column {
    Column { name: name.to_owned(), column_type: kind.parse().expect("a type") }
}

pub(crate) fn users_columns() -> Vec<Column> {
    vec![column("user_id", "text"), column("segment", "text"), column("version", "bigint")]
}

/// The key is the kind and the page.
pub(crate) fn names_columns() -> Vec<Column> {
    vec![column("name", "text"), column("kind", "text"), column("page", "text"), column("version", "bigint")]
}

/// The newest versions when the tables have been looked at so often.
pub(crate) fn newest(looks: u64) -> Vec<Version> {
    vec![1 + looks / 2, 1 + looks / 3]
}

/// Dice that fall the same for ever.
fn dice(version: Version, number: u64) -> u64 {
    (version.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9))
        .rotate_left(29)
        .wrapping_mul(0x94d0_49bb_1331_11eb)
        >> 33
}

/// The segment of each user.
fn users(version: Version) -> BTreeMap<String, Option<String>> {
    let user = |user: u64| {
        let dice = dice(version, user);
        let segment = (!dice.is_multiple_of(5)).then(|| format!("s{}", dice / 5 % 3));
        (!(dice / 20).is_multiple_of(4)).then(|| (format!("u{user}"), segment))
    };
    (0..5).filter_map(user).collect()
}

/// The name of each page and kind; some kinds are segments.
fn names(version: Version) -> BTreeMap<(String, &'static str), String> {
    let kinds = ["view", "click", "s1", "s2"];
    let pairs = (0..4).flat_map(|page: u64| kinds.into_iter().enumerate().map(move |(number, kind)| (page, number as u64, kind)));
    let name = |(page, number, kind): (u64, u64, &'static str)| {
        let dice = dice(version, 100 + page * 10 + number);
        (!dice.is_multiple_of(3)).then(|| ((format!("/{page}"), kind), format!("n{}", dice / 3 % 4)))
    };
    pairs.filter_map(name).collect()
}

fn rows(table: usize, version: Version) -> RecordBatch {
    let texts = |texts: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let same = |count: usize| -> ArrayRef { Arc::new(Int64Array::from(vec![version.cast_signed(); count])) };
    if table == 0 {
        let users = users(version);
        let (ids, segments) = users.iter().map(|(id, segment)| (Some(id.as_str()), segment.as_deref())).unzip();
        let columns = [("user_id", texts(ids)), ("segment", texts(segments)), ("version", same(users.len()))];
        return RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("columns");
    }
    let all = names(version);
    let pages = all.keys().map(|(page, _)| Some(page.as_str())).collect();
    let (kinds, names) = all.iter().map(|((_, kind), name)| (Some(*kind), Some(name.as_str()))).unzip();
    let columns = [("name", texts(names)), ("kind", texts(kinds)), ("page", texts(pages)), ("version", same(all.len()))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("columns")
}

/// Opens a table of which no version is in memory when it is asked for first.
pub(crate) fn versions(table: usize, activator: SyncActivator) -> Versions {
    let mut loading = None;
    Box::new(move |version| {
        if loading != Some(version) {
            loading = Some(version);
            let _ = activator.activate();
            return None;
        }
        let key = [&[0][..], &[1, 2]][table];
        Some(Arc::new(Lookup::new(&rows(table, version), key).expect("a key")))
    })
}

/// The versions that were in force in an epoch.
fn in_force(outcome: &Outcome, epoch: Epoch) -> &[Version] {
    let before = outcome.records.iter().find(|record| record.epoch + 1 == epoch);
    before.map_or(&outcome.versions, |record| &record.seal.versions)
}

fn text(text: Option<&str>) -> &str {
    text.unwrap_or("NULL")
}

/// What is known of an event: it, and its user's segment with the version that tells it.
struct Known<'a> {
    met: &'a Met,
    user: String,
    row: Option<(Option<String>, Version)>,
}

impl Known<'_> {
    fn segment(&self) -> Option<&str> {
        self.row.as_ref().and_then(|(segment, _)| segment.as_deref())
    }
}

fn check(outcome: &Outcome, events: &[Vec<Event>]) {
    let met = naive::met((0, events), &outcome.records, i64::MAX, &mut Vec::new());
    let mut expected: BTreeMap<&str, Table> = VIEWS.iter().map(|(name, _)| (*name, Table::new())).collect();
    let mut add = |view: &'static str, row: String| {
        let table = expected.get_mut(view).expect("a view");
        table.insert(nth(table, &row), row);
    };
    let mut windows: BTreeMap<(i64, Option<String>), u64> = BTreeMap::new();
    for met in &met {
        let (event, versions) = (&met.event, in_force(outcome, met.epoch));
        let (users, names) = (users(versions[0]), names(versions[1]));
        let known = known(met, &users, versions[0]);
        let kind = ["view", "click"][usize::from(event.kind)];
        let version = known.row.as_ref().map(|(_, version)| version.to_string());
        let segment = known.segment();
        add("known", format!("{}|{}|{}|{}|{}", event.time, known.user, event.amount, text(segment), text(version.as_deref())));
        let name = names.get(&(format!("/{}", event.page), kind));
        if let Some(name) = name.filter(|_| versions[1].cast_signed() > event.amount) {
            add("named", format!("{}|{name}|{}", event.time, versions[1]));
        }
        if event.kind == 0 {
            let alike = users.get(&format!("u{}", event.page)).and_then(Option::as_deref);
            let alike = alike.filter(|segment| *segment != "s0" && event.amount > 0);
            add("alike", format!("/{}|{}", event.page, text(alike)));
        }
        if let Some(((page, _), name)) = names.iter().find(|((page, kind), _)| page == "/1" && Some(*kind) == segment) {
            add("both", format!("{}|{name}|{page}", text(segment)));
        }
        if known.row.is_none() {
            add("both", format!("{0}|{0}|{0}", known.user));
        }
        let start = known.met.event.time.div_euclid(MINUTE) * MINUTE;
        if Timestamp(start + MINUTE) > known.met.watermark {
            *windows.entry((start, segment.map(str::to_owned))).or_default() += 1;
        }
    }
    let window = |((start, segment), n): ((i64, Option<String>), u64)| {
        let key = format!("{start}|{}", text(segment.as_deref()));
        (key.clone(), format!("{key}|{n}"))
    };
    expected.insert("segments", windows.into_iter().map(window).collect());
    for (name, table) in &expected {
        assert_eq!(outcome.tables.get(*name).cloned().unwrap_or_default(), *table, "table {name}");
    }
    assert_eq!(outcome.ledger.len(), VIEWS.len());
    for row in &outcome.ledger {
        let read = met.len() as u64 * if row.view == "both" { 2 } else { 1 };
        assert_eq!(row.read, read, "{row:?}");
        assert_eq!(row.read, row.counted + row.filtered + row.late + row.dead_letters, "accounts of {row:?}");
    }
}

fn known<'a>(met: &'a Met, users: &BTreeMap<String, Option<String>>, version: Version) -> Known<'a> {
    let user = format!("u{}", met.event.user);
    let row = users.get(&user).map(|segment| (segment.clone(), version));
    Known { met, user, row }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn each_event_meets_the_version_of_its_epoch_on_any_number_of_workers(events in events(), seed in any::<u64>()) {
        for workers in [1, 2, 4] {
            check(&run(VIEWS, &events, workers, seed, true), &events);
        }
    }

    #[test]
    fn each_event_meets_the_same_version_again_after_crashes_and_with_other_numbers_of_workers(events in events(), seed in any::<u64>()) {
        check(&run_with_crashes(VIEWS, &events, &[1, 3, 2, 4, 1], seed), &events);
    }
}

#[test]
fn tables_change_while_events_come() {
    let event = |n: u16| Event {
        time: i64::from(n) * MINUTE / 10,
        page: (n % 4) as u8,
        user: (n % 5) as u8,
        kind: (n % 2) as u8,
        amount: 3,
    };
    let events = vec![(0..400).map(event).collect::<Vec<_>>()];
    let outcome = run_cut_after_each(VIEWS, &events);
    check(&outcome, &events);
    let mut versions: Vec<&[Version]> = outcome.records.iter().map(|record| &record.seal.versions[..]).collect();
    assert!(versions.is_sorted_by(|one, other| one.iter().zip(*other).all(|(one, other)| one <= other)), "none goes back");
    versions.dedup();
    assert!(versions.len() > 10, "{versions:?}");
}
