//! The dataflow against naive recomputation: random events, permuted arrival, random epochs, late ones included, on 1, 2 and 4 workers.
//!
//! `harness` runs a job in memory, `feed` is what it reads; `naive` computes what its tables must hold from the events and the record of the epochs alone.

mod aggregates;
mod feed;
mod harness;
mod joins;
mod naive;
mod rows;
mod streams;
mod tables;
mod windows;

use freshet_dataflows::plan::{Emit, LatePolicy};
use harness::{
    Event, MINUTE, Manner, Outcome, SKEW, run, run_manner, run_with_crashes, run_with_crashes_beside_the_clock,
    run_with_other_views,
};
use proptest::prelude::*;

const VIEWS: &[(&str, &str)] = &[
    (
        "pages",
        "SELECT window_start, window_end, page, count(*) AS views, sum(amount) AS total, min(amount) AS least, max(amount) AS most \
         FROM tumble(events, INTERVAL '1 minute') WHERE kind = 'view' GROUP BY window_start, window_end, page",
    ),
    (
        "active",
        "SELECT window_start, window_end, count(DISTINCT user_id) AS users FROM hop(events, INTERVAL '1 minute', INTERVAL '5 minutes') \
         GROUP BY window_start, window_end",
    ),
    (
        "recent",
        "SELECT window_start, window_end, count(DISTINCT user_id) AS users FROM hop(events, INTERVAL '1 minute', INTERVAL '2 minutes') \
         GROUP BY window_start, window_end",
    ),
    (
        "sessions",
        "SELECT user_id, window_start, window_end, count(*) AS events, sum(amount) AS total \
         FROM session(events, INTERVAL '2 minutes', user_id) GROUP BY window_start, window_end, user_id",
    ),
    ("totals", "SELECT page, count(*) AS events, count(DISTINCT user_id) AS users FROM events GROUP BY page"),
    (
        "busy",
        "SELECT window_start, window_end, count(*) AS pages, sum(views) AS views, max(views) AS most FROM pages GROUP BY window_start, window_end",
    ),
    (
        "levels",
        "SELECT window_start, n, count(*) AS users FROM (SELECT window_start, user_id, count(*) AS n \
         FROM tumble(events, INTERVAL '1 minute') GROUP BY window_start, user_id) AS per_user WHERE n > 1 GROUP BY window_start, n",
    ),
    (
        "top",
        "SELECT window_start, page, views, place FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY views DESC, page) \
         AS place FROM pages) AS ranked WHERE place <= 2",
    ),
    ("viewed", "SELECT DISTINCT page, views FROM pages"),
    (
        "both",
        "SELECT 'pages' AS what, window_start, window_end, pages AS n FROM busy \
         UNION ALL SELECT 'users', window_start, window_end, users FROM active",
    ),
    ("most", "SELECT window_start, max(place) AS places, sum(views) AS views FROM top GROUP BY window_start"),
];

/// Events of three partitions: nearly in order, some far behind.
pub(crate) fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let event =
        (0i64..40, 0i64..60_000_000, 0u8..4, 0u8..5, 0u8..2, -5i64..20).prop_map(|(minute, micros, page, user, kind, amount)| {
            Event { time: minute * MINUTE + micros, page, user, kind, amount }
        });
    let partition = prop::collection::vec(event, 0..60).prop_map(|mut events| {
        // Sorted in blocks: later blocks may hold events that are behind the watermark of the earlier ones.
        for block in events.chunks_mut(12) {
            block.sort_by_key(|event| event.time);
        }
        events
    });
    prop::collection::vec(partition, 3)
}

fn check(outcome: &Outcome, events: &[Vec<Event>]) {
    check_with(outcome, events, i64::MAX);
}

/// Compares an outcome with what follows from the events and the log, if events may be so far ahead of their epochs.
fn check_with(outcome: &Outcome, events: &[Vec<Event>], skew: i64) {
    let expected = naive::tables(events, &outcome.records, skew);
    for (name, _) in VIEWS {
        assert_eq!(outcome.tables.get(*name).cloned().unwrap_or_default(), expected.tables[*name], "table {name}");
    }
    assert_eq!(outcome.late, expected.late, "late events");
    assert_eq!(outcome.dead, expected.dead, "dead letters");
    let total = events.iter().map(|events| events.len() as u64).sum::<u64>();
    for row in &outcome.ledger {
        assert_eq!(row.read, total, "the commits' accounts add up to all records: {row:?}");
        assert_eq!(row.read, row.counted + row.filtered + row.late + row.dead_letters, "accounts of {row:?}");
    }
}

/// Returns some of the views.
fn views_of(names: &[&str]) -> Vec<(&'static str, &'static str)> {
    VIEWS.iter().copied().filter(|(name, _)| names.contains(name)).collect()
}

/// Returns the late events of some of the views.
fn late_for(views: &[(&str, &str)], expected: &naive::Expected) -> Vec<harness::Late> {
    expected.late.iter().filter(|late| views.iter().any(|(name, _)| *name == late.0)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn tables_equal_naive_recomputation_on_any_number_of_workers(events in events(), seed in any::<u64>()) {
        for workers in [1, 2, 4] {
            let outcome = run(VIEWS, &events, workers, seed, true);
            check(&outcome, &events);
        }
    }

    #[test]
    fn tables_equal_naive_recomputation_after_crashes_and_with_other_numbers_of_workers(events in events(), seed in any::<u64>()) {
        check(&run_with_crashes(VIEWS, &events, &[1, 3, 2, 4, 1], seed), &events);
    }

    #[test]
    fn late_events_within_a_horizon_amend_rows_also_those_that_were_to_be_final(
        events in events(), minutes in 1i64..15, seed in any::<u64>()
    ) {
        let horizon = minutes * MINUTE;
        let views = views_of(&["pages", "active", "sessions", "busy"]);
        for emit in [Emit::Changes, Emit::Final] {
            let manner = Manner { late: LatePolicy::Amend(horizon), emit };
            for workers in [&[2][..], &[1, 3, 2]] {
                let outcome = run_manner(&views, manner, &events, workers, seed);
                let expected = naive::tables_amended(horizon, &events, &outcome.records);
                for (name, _) in &views {
                    let found = outcome.tables.get(*name).cloned().unwrap_or_default();
                    prop_assert_eq!(&found, &expected.tables[*name], "table {}, {:?}", name, emit);
                }
                prop_assert_eq!(&outcome.late, &late_for(&views, &expected));
            }
        }
    }

    #[test]
    fn late_events_that_are_dropped_are_counted_and_not_kept(events in events(), seed in any::<u64>()) {
        let views = views_of(&["pages", "active", "sessions"]);
        let manner = Manner { late: LatePolicy::Drop, emit: Emit::Changes };
        let outcome = run_manner(&views, manner, &events, &[2], seed);
        let expected = naive::tables_amended(0, &events, &outcome.records);
        prop_assert!(outcome.late.is_empty());
        for (name, _) in &views {
            prop_assert_eq!(&outcome.tables.get(*name).cloned().unwrap_or_default(), &expected.tables[*name], "table {}", name);
        }
        // Tumbling windows and sessions: an event that is late is late for all of them.
        for name in ["pages", "sessions"] {
            let counted = outcome.ledger.iter().find(|row| row.view == name).map_or(0, |row| row.late);
            prop_assert_eq!(counted, expected.late.iter().filter(|late| late.0 == name).count() as u64);
        }
    }

    #[test]
    fn what_is_too_far_ahead_follows_from_the_log_also_after_crashes(events in events(), seed in any::<u64>()) {
        let outcome = run_with_crashes_beside_the_clock(VIEWS, &events, &[1, 3, 2, 1], seed);
        check_with(&outcome, &events, SKEW);
    }

    #[test]
    fn views_come_and_go_while_the_others_stay(events in events(), seen in 0usize..60, seed in any::<u64>()) {
        // The pages and the totals are by page: they share a fold.
        let of = |names: &[&str]| names.iter().map(|name| VIEWS[VIEWS.iter().position(|view| view.0 == *name).expect("a view")]).collect::<Vec<_>>();
        let (before, after) = (of(&["sessions", "pages"]), of(&["active", "totals", "pages"]));
        let (outcome, since) = run_with_other_views([&before, &after], &events, seen, seed);
        let (first, _) = outcome.records.split_at(outcome.records.partition_point(|record| record.epoch < since));
        // The first run ends as soon as one worker has nothing left.
        let mut read = vec![0; events.len()];
        for cut in first.iter().flat_map(|record| &record.cuts) {
            read[usize::try_from(cut.partition).expect("small")] = usize::try_from(cut.end).expect("small");
        }
        let read: Vec<_> = events.iter().zip(read).map(|(events, end)| events[..end].to_vec()).collect();
        let gone = naive::tables(&read, first, i64::MAX);
        let new = naive::tables_since(since, &events, &outcome.records, i64::MAX);
        let stays = naive::tables(&events, &outcome.records, i64::MAX);
        for (name, expected) in [("sessions", &gone), ("pages", &stays), ("active", &new), ("totals", &new)] {
            prop_assert_eq!(&outcome.tables.get(name).cloned().unwrap_or_default(), &expected.tables[name], "table {}", name);
        }
    }
}

#[test]
fn an_event_at_the_watermark_is_late_and_one_after_it_is_not() {
    // Epoch 0 moves the watermark to 10 min, by an event 2 min later; then events around the closed windows' ends come.
    let event = |time: i64| Event { time, page: 0, user: 0, kind: 0, amount: 1 };
    let first = event(12 * MINUTE);
    let around = [-1, 0, 1].map(|step| event(10 * MINUTE + step));
    let events = vec![std::iter::once(first).chain(around).collect::<Vec<_>>()];
    let outcome = harness::run_cut_after_each(VIEWS, &events);
    check(&outcome, &events);
    let late_views: Vec<_> = outcome.late.iter().filter(|late| late.0 == "pages").map(|late| late.2).collect();
    assert_eq!(late_views, vec![1], "only the event before the window that ends at the watermark is late");
}

#[test]
fn a_final_row_appears_when_its_window_closes_and_is_corrected_within_the_horizon() {
    let event = |time: i64| Event { time, page: 0, user: 0, kind: 0, amount: 1 };
    // The watermark: 8 min after the second event, which closes the window of the first; 18 min after those that follow the third, which are so
    // many that some epoch ends between the first and the last of them.
    let events = [vec![MINUTE, 10 * MINUTE, MINUTE + 1], vec![20 * MINUTE; 50], vec![MINUTE + 2]].concat();
    let events: Vec<Event> = events.into_iter().map(event).collect();
    let manner = Manner { late: LatePolicy::Amend(10 * MINUTE), emit: Emit::Final };
    let row = |events: &[Event], bounded: bool| {
        let outcome = harness::run_one_by_one(&views_of(&["pages"]), manner, bounded, &[events.to_vec()]);
        let row = outcome.tables.get("pages").and_then(|table| table.get(&format!("{MINUTE}|/0"))).cloned();
        (row.map(|row| row.split('|').nth(3).expect("a count").to_owned()), outcome.late.len())
    };
    let some = |count: &str| Some(count.to_owned());
    assert_eq!(row(&events[..1], false), (None, 0), "an open window shows nothing");
    assert_eq!(row(&events[..3], false), (some("2"), 0), "an event after the close amends the row");
    assert_eq!(row(&events, true), (some("2"), 1), "one after the horizon is late");
}

#[test]
fn a_run_that_is_stopped_leaves_open_windows_open() {
    let event = |time: i64| Event { time, page: 0, user: 0, kind: 0, amount: 1 };
    let events = vec![vec![event(MINUTE), event(2 * MINUTE)]];
    let outcome = run(VIEWS, &events, 2, 7, false);
    check(&outcome, &events);
    assert!(outcome.records.iter().all(|record| record.seal.watermarks[0] < freshet_model::Timestamp(3 * MINUTE)));
}
