//! Windows over the rows of views, against plain recomputation from the tables that they read: after each commit, so that it holds for what is open as
//! for what has closed.

use std::collections::{BTreeMap, BTreeSet};

use freshet_dataflows::plan::{Emit, Input, LatePolicy};
use proptest::prelude::*;

use crate::events;
use crate::harness::{Event, MINUTE, Manner, Run, Table, crash, run};

const VIEWS: &[(&str, &str)] = &[
    (
        "minutes",
        "SELECT window_start, window_end, page, count(*) AS n, sum(amount) AS total FROM tumble(events, INTERVAL '1 minute') \
         WHERE kind = 'view' GROUP BY window_start, window_end, page",
    ),
    (
        "sessions",
        "SELECT user_id, window_start, window_end, count(*) AS n FROM session(events, INTERVAL '2 minutes', user_id) \
         GROUP BY window_start, window_end, user_id",
    ),
    (
        "top",
        "SELECT window_end, page, n, place FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY n DESC, page) \
         AS place FROM minutes) AS ranked WHERE place <= 2",
    ),
    (
        "both",
        "SELECT 'minute' AS what, window_start, window_end, page AS name, n FROM minutes \
         UNION ALL SELECT 'session', window_start, window_end, user_id, n FROM sessions",
    ),
    (
        "tens",
        "SELECT window_start, window_end, page, count(*) AS minutes, sum(n) AS n, min(total) AS least, max(total) AS most, \
         count(DISTINCT n) AS levels, sum(total) FILTER (WHERE n > 1) AS busy, last_value(inner_window_start ORDER BY n) AS busiest \
         FROM tumble(minutes, INTERVAL '10 minutes') GROUP BY window_start, window_end, page",
    ),
    (
        "halves",
        "SELECT window_end, page, sum(minutes) AS minutes, max(most) AS most, max(inner_window_end) AS last \
         FROM tumble(tens, INTERVAL '30 minutes') GROUP BY window_end, page",
    ),
    (
        "sliding",
        "SELECT window_start, window_end, count(DISTINCT page) AS pages, min(n) AS least, max(n) AS most \
         FROM hop(minutes, INTERVAL '2 minutes', INTERVAL '7 minutes') WHERE total > 0 GROUP BY window_start, window_end HAVING sum(n) > 2",
    ),
    (
        "ended",
        "SELECT window_start, count(*) AS sessions, max(n) AS most FROM tumble(sessions, INTERVAL '10 minutes') GROUP BY window_start",
    ),
    (
        "tops",
        "SELECT window_start, page, count(*) AS times, min(place) AS place FROM tumble(top, INTERVAL '10 minutes') GROUP BY window_start, page",
    ),
    (
        "alike",
        "SELECT window_start, what, count(*) AS n, count(DISTINCT name) AS names FROM tumble(both, INTERVAL '5 minutes') GROUP BY window_start, what",
    ),
    (
        "first",
        "SELECT window_start, page, n, place FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY n DESC, page) \
         AS place FROM tens) AS ranked WHERE place <= 2",
    ),
    (
        "crowded",
        "SELECT window_start, inner_window_start AS minute, page, n, place FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end \
         ORDER BY n DESC, inner_window_start, page) AS place FROM tumble(minutes, INTERVAL '10 minutes')) AS ranked WHERE place <= 2",
    ),
    (
        "shares",
        "SELECT m.inner_window_start AS minute, m.page, m.n, t.n AS of_ten FROM tumble(minutes, INTERVAL '10 minutes') AS m \
         JOIN tens AS t ON m.window_end = t.window_end AND m.page = t.page",
    ),
];

type Rows = Vec<Vec<String>>;
type Tables = BTreeMap<String, Table>;

fn rows(tables: &Tables, name: &str) -> Rows {
    let fields = |row: &String| row.split('|').map(str::to_owned).collect();
    tables.get(name).into_iter().flat_map(BTreeMap::values).map(fields).collect()
}

fn number(field: &str) -> i64 {
    field.parse().expect("a number")
}

/// Puts rows into windows by the instant in one of their columns and `shift`, and groups them by their start and another column.
fn grouped(
    rows: &Rows,
    (time, shift): (usize, i64),
    (slide, size): (i64, i64),
    by: Option<usize>,
) -> BTreeMap<(i64, String), Rows> {
    let mut groups: BTreeMap<(i64, String), Rows> = BTreeMap::new();
    for row in rows.iter().filter(|row| row[time] != "NULL") {
        let instant = number(&row[time]) + shift;
        let newest = instant.div_euclid(slide) * slide;
        let starts = (0..).map(|back| newest - back * slide).take_while(|start| start + size > instant);
        for start in starts {
            groups.entry((start, by.map_or(String::new(), |by| row[by].clone()))).or_default().push(row.clone());
        }
    }
    groups
}

fn tumbled(rows: &Rows, time: usize, minutes: i64, by: Option<usize>) -> BTreeMap<(i64, String), Rows> {
    grouped(rows, (time, -1), (minutes * MINUTE, minutes * MINUTE), by)
}

fn column(rows: &Rows, column: usize) -> Vec<i64> {
    rows.iter().map(|row| number(&row[column])).collect()
}

fn least(values: &[i64]) -> i64 {
    *values.iter().min().expect("a row")
}

fn most(values: &[i64]) -> i64 {
    *values.iter().max().expect("a row")
}

/// Computes all windows over views from the tables of these.
fn expected(tables: &Tables) -> BTreeMap<&'static str, Vec<String>> {
    let (minutes, sessions) = (rows(tables, "minutes"), rows(tables, "sessions"));
    let of = |made: Vec<Option<String>>| made.into_iter().flatten().collect::<Vec<String>>();
    let tens = tumbled(&minutes, 1, 10, Some(2)).into_iter().map(|((start, page), rows)| Some(ten(start, &page, &rows)));
    let halves = tumbled(&rows(tables, "tens"), 1, 30, Some(2)).into_iter().map(|((start, page), rows)| {
        let (count, greatest, last) = (column(&rows, 3).iter().sum::<i64>(), most(&column(&rows, 6)), most(&column(&rows, 1)));
        Some(format!("{}|{page}|{count}|{greatest}|{last}", start + 30 * MINUTE))
    });
    let positive: Rows = minutes.iter().filter(|row| number(&row[4]) > 0).cloned().collect();
    let sliding = grouped(&positive, (1, -1), (2 * MINUTE, 7 * MINUTE), None).into_iter().map(|((start, _), rows)| {
        let (pages, n) = (rows.iter().map(|row| &row[2]).collect::<BTreeSet<_>>().len(), column(&rows, 3));
        let row = format!("{start}|{}|{pages}|{}|{}", start + 7 * MINUTE, least(&n), most(&n));
        (n.iter().sum::<i64>() > 2).then_some(row)
    });
    let ended = tumbled(&sessions, 2, 10, None).into_iter();
    let ended = ended.map(|((start, _), rows)| Some(format!("{start}|{}|{}", rows.len(), most(&column(&rows, 3)))));
    let tops = tumbled(&rows(tables, "top"), 0, 10, Some(1)).into_iter();
    let tops = tops.map(|((start, page), rows)| Some(format!("{start}|{page}|{}|{}", rows.len(), least(&column(&rows, 3)))));
    let alike = tumbled(&rows(tables, "both"), 2, 5, Some(0)).into_iter().map(|((start, what), rows)| {
        let names: BTreeSet<&String> = rows.iter().map(|row| &row[3]).collect();
        Some(format!("{start}|{what}|{}|{}", rows.len(), names.len()))
    });
    BTreeMap::from([
        ("tens", of(tens.collect())),
        ("halves", of(halves.collect())),
        ("sliding", of(sliding.collect())),
        ("ended", of(ended.collect())),
        ("tops", of(tops.collect())),
        ("alike", of(alike.collect())),
        ("first", first(&rows(tables, "tens"), |row| (row[0].clone(), -number(&row[4]), vec![row[2].clone()]))),
        ("crowded", first(&minutes, |row| (ten_of(row).to_string(), -number(&row[3]), vec![row[0].clone(), row[2].clone()]))),
        ("shares", shares(&minutes, &rows(tables, "tens"))),
    ])
}

fn ten(start: i64, page: &str, rows: &Rows) -> String {
    let (n, total) = (column(rows, 3), column(rows, 4));
    let busy: Vec<i64> = rows.iter().filter(|row| number(&row[3]) > 1).map(|row| number(&row[4])).collect();
    let busy = if busy.is_empty() { "NULL".to_owned() } else { busy.iter().sum::<i64>().to_string() };
    let busiest = rows.iter().map(|row| (number(&row[3]), number(&row[0]))).max().expect("a row").1;
    let levels: BTreeSet<&i64> = n.iter().collect();
    format!(
        "{start}|{}|{page}|{}|{}|{}|{}|{}|{busy}|{busiest}",
        start + 10 * MINUTE,
        rows.len(),
        n.iter().sum::<i64>(),
        least(&total),
        most(&total),
        levels.len()
    )
}

/// The start of the ten minutes in which a minute is.
fn ten_of(row: &[String]) -> i64 {
    (number(&row[1]) - 1).div_euclid(10 * MINUTE) * 10 * MINUTE
}

/// The first two rows of each window: `ranked` tells of a row its window, what it is ordered by, and what it is shown by and ordered by next.
fn first(rows: &Rows, ranked: impl Fn(&[String]) -> (String, i64, Vec<String>)) -> Vec<String> {
    let mut windows: BTreeMap<String, Vec<(i64, Vec<String>)>> = BTreeMap::new();
    for (window, order, shown) in rows.iter().map(|row| ranked(row)) {
        windows.entry(window).or_default().push((order, shown));
    }
    let shown = |(window, mut rows): (String, Vec<(i64, Vec<String>)>)| {
        rows.sort_unstable_by_key(|(order, shown)| {
            (*order, shown.first().and_then(|first| first.parse::<i64>().ok()), shown.clone())
        });
        let places = rows.into_iter().take(2).enumerate();
        places.map(|(at, (n, shown))| format!("{window}|{}|{}|{}", shown.join("|"), -n, at + 1)).collect::<Vec<_>>()
    };
    windows.into_iter().flat_map(shown).collect()
}

/// Each minute beside its ten minutes.
fn shares(minutes: &Rows, tens: &Rows) -> Vec<String> {
    let all: BTreeMap<(&str, &str), &str> = tens.iter().map(|row| ((&*row[0], &*row[2]), &*row[4])).collect();
    let share = |row: &Vec<String>| {
        let start = ten_of(row).to_string();
        let ten = all.get(&(&*start, &*row[2]))?;
        Some(format!("{}|{}|{}|{ten}", row[0], row[2], row[3]))
    };
    minutes.iter().filter_map(share).collect()
}

/// Compares each table with what follows from the tables that its view reads.
fn check(tables: &Tables) {
    compare(tables, expected(tables));
}

fn compare(tables: &Tables, expected: BTreeMap<&'static str, Vec<String>>) {
    for (name, mut expected) in expected {
        let mut found: Vec<String> = tables.get(name).into_iter().flat_map(BTreeMap::values).cloned().collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "table {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn windows_over_views_hold_what_their_rows_give_after_each_commit(events in events(), seed in any::<u64>()) {
        for workers in [1, 2, 4] {
            let outcome = crash(VIEWS, std::slice::from_ref(&events), &[workers], Run { seed, each: Some(check), ..Run::default() });
            check(&outcome.tables);
        }
    }

    #[test]
    fn windows_over_views_survive_crashes_and_other_numbers_of_workers(events in events(), seed in any::<u64>()) {
        check(&crash(VIEWS, &[events], &[1, 3, 2, 4, 1], Run { seed, each: Some(check), ..Run::default() }).tables);
    }

    #[test]
    fn final_windows_over_final_windows_appear_once_and_are_right_when_they_do(
        events in events(), minutes in 0i64..15, seed in any::<u64>()
    ) {
        let late = if minutes == 0 { LatePolicy::Keep } else { LatePolicy::Amend(minutes * MINUTE) };
        let views: Vec<_> = VIEWS.iter().copied().filter(|(name, _)| ["minutes", "sessions"].contains(name) || FINAL.contains(name)).collect();
        for workers in [&[2][..], &[1, 3, 2]] {
            let run = Run { manner: Manner { late, emit: Emit::Final }, seed, each: Some(check_shown), ..Run::default() };
            let outcome = crash(&views, std::slice::from_ref(&events), workers, run);
            let expected = expected(&outcome.tables);
            for name in FINAL {
                let rows = outcome.tables.get(name).map_or(0, BTreeMap::len);
                prop_assert_eq!(rows, expected[name].len(), "all windows of {} have closed", name);
                prop_assert_eq!(outcome.writes.get(name).copied().unwrap_or_default(), rows, "rows of {} appear once", name);
            }
        }
    }

    #[test]
    fn windows_over_joins_hold_what_their_rows_give_after_each_commit(left in events(), right in events(), seed in any::<u64>()) {
        let streams = [left, right];
        for workers in [&[1][..], &[2], &[4], &[1, 3, 2]] {
            let run = Run { seed, each: Some(check_pairs), ..Run::default() };
            check_pairs(&crash(PAIRS, &streams, workers, run).tables);
        }
    }
}

/// The windows over views that close.
const FINAL: [&str; 4] = ["tens", "halves", "sliding", "ended"];

/// Checks that each row of a final window that is there follows from those that were there before it.
fn check_shown(tables: &Tables) {
    let expected = expected(tables);
    for name in FINAL {
        let unknown = tables.get(name).into_iter().flat_map(BTreeMap::values).find(|row| !expected[name].contains(row));
        assert_eq!(unknown, None, "table {name}");
    }
}

const PAIRS: &[(&str, &str)] = &[
    (
        "paired by l, r",
        "SELECT a.id AS l, b.id AS r, a.page, a.time AS asked, b.time AS answered, a.amount FROM events a LEFT JOIN others b \
         ON a.user_id = b.user_id AND b.time BETWEEN a.time - INTERVAL '1 minute' AND a.time + INTERVAL '3 minutes'",
    ),
    (
        "asked",
        "SELECT window_start, page, count(*) AS n, count(r) AS pairs, max(amount) AS most FROM tumble(paired, INTERVAL '5 minutes') \
         GROUP BY window_start, page",
    ),
    (
        "answered",
        "SELECT window_start, window_end, count(*) AS n FROM hop(paired, time => answered, INTERVAL '2 minutes', INTERVAL '6 minutes') \
         GROUP BY window_start, window_end",
    ),
    ("good by l, r", "SELECT l, r, answered AS at, amount * 2 AS twice FROM paired WHERE amount > 5 AND r > 3"),
    ("goods", "SELECT window_end, sum(twice) AS n FROM tumble(good, INTERVAL '3 minutes') GROUP BY window_end"),
];

fn expected_of_pairs(tables: &Tables) -> BTreeMap<&'static str, Vec<String>> {
    let paired = rows(tables, "paired");
    let asked = grouped(&paired, (3, 0), (5 * MINUTE, 5 * MINUTE), Some(2)).into_iter().map(|((start, page), rows)| {
        let pairs = rows.iter().filter(|row| row[1] != "NULL").count();
        format!("{start}|{page}|{}|{pairs}|{}", rows.len(), most(&column(&rows, 5)))
    });
    let answered = grouped(&paired, (4, 0), (2 * MINUTE, 6 * MINUTE), None).into_iter();
    let answered = answered.map(|((start, _), rows)| format!("{start}|{}|{}", start + 6 * MINUTE, rows.len()));
    let goods = grouped(&rows(tables, "good"), (2, 0), (3 * MINUTE, 3 * MINUTE), None).into_iter();
    let goods = goods.map(|((start, _), rows)| format!("{}|{}", start + 3 * MINUTE, column(&rows, 3).iter().sum::<i64>()));
    BTreeMap::from([("asked", asked.collect()), ("answered", answered.collect()), ("goods", goods.collect())])
}

fn check_pairs(tables: &Tables) {
    compare(tables, expected_of_pairs(tables));
}

#[test]
fn a_row_is_in_the_window_in_which_it_ends_and_windows_that_have_closed_leave_memory() {
    // Each page is viewed for five minutes, and then never again.
    let event = |n: i64| Event { time: n * MINUTE / 4, page: (n / 20) as u8, user: (n % 7) as u8, kind: 0, amount: 1 };
    let events = vec![(0..4000).map(event).collect::<Vec<_>>()];
    let views: Vec<_> = VIEWS.iter().copied().filter(|(name, _)| ["minutes", "tens", "halves"].contains(name)).collect();
    let outcome = run(&views, &events, 1, 5, false);
    let first: Vec<&String> = outcome.tables["tens"].values().filter(|row| row.starts_with("0|")).collect();
    let row = |page: i64| format!("0|{}|/{page}|5|20|4|4|1|20|{}", 10 * MINUTE, (5 * page + 4) * MINUTE);
    assert_eq!(first, [&row(0), &row(1)]);
    assert_eq!(outcome.tables["halves"].len(), 200, "each page has a row");
    // What is open: the last half hour, and what the epochs at hand bring.
    for (index, (name, _)) in views.iter().enumerate() {
        let kept = outcome.keys[&Input::View(index)];
        assert!((1..20).contains(&kept), "{kept} pages are kept for {name}");
    }
}
