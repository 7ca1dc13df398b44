//! The aggregates that need more than a sum, in each kind of group and over another view, against plain lists of each group's events.

use std::collections::{BTreeMap, BTreeSet};

use freshet_model::Timestamp;
use proptest::prelude::*;

use crate::events;
use crate::harness::{Event, MINUTE, Outcome, Table, run, run_with_crashes};
use crate::naive::{self, Met};

/// What is kept of each group. Amounts are made positive and small, so that a quantile within one per cent is exact when rounded.
const FIGURES: &str = "count(*) AS n, stddev(amount) AS spread, var_pop(amount) AS variance, approx_count_distinct(user_id) AS users, \
    round(approx_percentile_cont(amount + 6, 0.75)) AS quarter, first_value(user_id) AS first, last_value(amount ORDER BY time) AS last, \
    array_agg(amount, 3) AS least, string_agg(distinct user_id, ',' ORDER BY user_id DESC) AS names, sum(distinct amount) AS once, \
    count_if(kind = 'click') AS clicks, bool_or(page = '/0') AS home, \
    funnel(INTERVAL '90 seconds', kind = 'view', kind = 'click' AND amount > 0, page = '/1') AS step";

fn views() -> Vec<(String, String)> {
    let view = |name: &str, sql: String| (name.to_owned(), sql);
    vec![
        view(
            "hops",
            format!(
                "SELECT window_start, page, {FIGURES} FROM hop(events, INTERVAL '1 minute', INTERVAL '3 minutes') \
                 GROUP BY window_start, window_end, page"
            ),
        ),
        view(
            "visits",
            format!(
                "SELECT user_id, window_start, {FIGURES} FROM session(events, INTERVAL '2 minutes', user_id) \
                 GROUP BY window_start, window_end, user_id"
            ),
        ),
        view("ever", format!("SELECT user_id, {FIGURES} FROM events GROUP BY user_id")),
        view(
            "minutes",
            "SELECT window_start, page, count(*) AS n, sum(amount) AS total FROM tumble(events, INTERVAL '1 minute') \
             GROUP BY window_start, window_end, page"
                .to_owned(),
        ),
        view(
            "of_minutes",
            "SELECT page, stddev_pop(total) AS spread, first_value(n ORDER BY total) AS first, last_value(total ORDER BY window_start) AS last, \
             array_agg(n, 4 ORDER BY window_start DESC) AS newest, round(approx_median(n)) AS middle, \
             funnel(INTERVAL '5 minutes', n = 1, total > 9, n > 1 ORDER BY window_start) AS step FROM minutes GROUP BY page"
                .to_owned(),
        ),
    ]
}

/// The same figures of one group, from the list of its events.
fn figures(events: &[Event]) -> String {
    let amounts = sorted(events.iter().map(|event| event.amount));
    let users: BTreeSet<u8> = events.iter().map(|event| event.user).collect();
    let rank = (0.75 * (amounts.len() - 1) as f64).floor() as usize;
    let first = events.iter().min_by_key(|event| (event.time, event.user)).expect("an event");
    let last = events.iter().max_by_key(|event| (event.time, event.amount)).expect("an event");
    let names: Vec<String> = users.iter().rev().map(|user| format!("u{user}")).collect();
    let once: i64 = amounts.iter().collect::<BTreeSet<_>>().into_iter().sum();
    let steps = |event: &Event| [event.kind == 0, event.kind == 1 && event.amount > 0, event.page == 1];
    let walk = sorted_by_time(events.iter().map(|event| (event.time, steps(event))));
    [
        events.len().to_string(),
        variance(&amounts, 1).map_or("NULL".to_owned(), |variance| format!("{:?}", variance.sqrt())),
        format!("{:?}", variance(&amounts, 0).expect("an event")),
        users.len().to_string(),
        format!("{:?}", (amounts[rank] + 6) as f64),
        format!("u{}", first.user),
        last.amount.to_string(),
        array(&amounts, 3),
        names.join(","),
        once.to_string(),
        events.iter().filter(|event| event.kind == 1).count().to_string(),
        events.iter().any(|event| event.page == 0).to_string(),
        furthest(&walk, 90_000_000).to_string(),
    ]
    .join("|")
}

fn sorted(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values
}

fn sorted_by_time(events: impl Iterator<Item = (i64, [bool; 3])>) -> Vec<(i64, [bool; 3])> {
    let mut events: Vec<_> = events.collect();
    events.sort_by_key(|event| event.0);
    events
}

fn variance(values: &[i64], less: usize) -> Option<f64> {
    let n = values.len() as i64;
    let sum: i64 = values.iter().sum();
    let squares: i64 = values.iter().map(|value| value * value).sum();
    (values.len() > less).then(|| (n * squares - sum * sum) as f64 / (n * (n - less as i64)) as f64)
}

fn array(values: &[i64], most: usize) -> String {
    let shown = values.iter().take(most).map(i64::to_string).chain((values.len() > most).then(|| "{\"more\":true}".to_owned()));
    format!("[{}]", shown.collect::<Vec<_>>().join(","))
}

/// Follows the steps from each first one.
fn furthest(events: &[(i64, [bool; 3])], within: i64) -> usize {
    let firsts = events.iter().filter(|event| event.1[0]);
    let way = |first: &(i64, [bool; 3])| {
        let reach = |step: usize, after: i64| {
            let times = events.iter().filter(|event| event.1[step] && event.0 >= after && event.0 - first.0 <= within);
            times.map(|event| event.0).min()
        };
        match reach(1, first.0) {
            None => 1,
            Some(second) => {
                if reach(2, second).is_some() {
                    3
                } else {
                    2
                }
            }
        }
    };
    firsts.map(way).max().unwrap_or(0)
}

fn expected(met: &[Met]) -> BTreeMap<String, Table> {
    let (mut hops, mut minutes): (BTreeMap<_, Vec<Event>>, BTreeMap<_, Vec<Event>>) = Default::default();
    let (mut by_user, mut ever): (BTreeMap<u8, Vec<Event>>, BTreeMap<u8, Vec<Event>>) = Default::default();
    for met in met {
        let event = met.event;
        for start in naive::windows(met, "", 3 * MINUTE, &mut Vec::new()) {
            hops.entry((start, event.page)).or_default().push(event);
        }
        for start in naive::windows(met, "", MINUTE, &mut Vec::new()) {
            minutes.entry((event.page, start)).or_default().push(event);
        }
        if Timestamp(event.time + 2 * MINUTE) > met.watermark {
            by_user.entry(event.user).or_default().push(event);
        }
        ever.entry(event.user).or_default().push(event);
    }
    let row = |key: String, figures: String| (key.clone(), format!("{key}|{figures}"));
    let sums = |events: &[Event]| (events.len() as i64, events.iter().map(|event| event.amount).sum::<i64>());
    let mut by_page: BTreeMap<u8, Vec<(i64, i64, i64)>> = BTreeMap::new();
    for (&(page, start), events) in &minutes {
        let (n, total) = sums(events);
        by_page.entry(page).or_default().push((start, n, total));
    }
    let minute = |((page, start), events): (&(u8, i64), &Vec<Event>)| {
        let (n, total) = sums(events);
        row(format!("{start}|/{page}"), format!("{n}|{total}"))
    };
    BTreeMap::from([
        (
            "hops".to_owned(),
            hops.iter().map(|((start, page), events)| row(format!("{start}|/{page}"), figures(events))).collect(),
        ),
        ("visits".to_owned(), by_user.iter().flat_map(|(user, events)| visits(*user, events)).collect()),
        ("ever".to_owned(), ever.iter().map(|(user, events)| row(format!("u{user}"), figures(events))).collect()),
        ("minutes".to_owned(), minutes.iter().map(minute).collect()),
        ("of_minutes".to_owned(), by_page.iter().map(|(page, rows)| row(format!("/{page}"), of_minutes(rows))).collect()),
    ])
}

fn visits(user: u8, events: &[Event]) -> Vec<(String, String)> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.time);
    let sessions = events.chunk_by(|one, next| next.time - one.time <= 2 * MINUTE);
    sessions
        .map(|session| {
            let key = format!("u{user}|{}", session[0].time);
            (key.clone(), format!("{key}|{}", figures(session)))
        })
        .collect()
}

/// Figures of a page's minutes: start, number of events, sum of amounts.
fn of_minutes(rows: &[(i64, i64, i64)]) -> String {
    let totals: Vec<i64> = rows.iter().map(|row| row.2).collect();
    let newest: Vec<i64> = rows.iter().rev().map(|row| row.1).collect();
    let counts = sorted(rows.iter().map(|row| row.1));
    let first = rows.iter().map(|row| (row.2, row.1)).min().expect("a row");
    let walk = sorted_by_time(rows.iter().map(|row| (row.0, [row.1 == 1, row.2 > 9, row.1 > 1])));
    [
        format!("{:?}", variance(&totals, 0).expect("a row").sqrt()),
        first.1.to_string(),
        totals[totals.len() - 1].to_string(),
        array(&newest, 4),
        format!("{:?}", counts[(counts.len() - 1) / 2] as f64),
        furthest(&walk, 5 * MINUTE).to_string(),
    ]
    .join("|")
}

fn check(outcome: &Outcome, events: &[Vec<Event>]) {
    for (name, table) in expected(&naive::met((0, events), &outcome.records, i64::MAX, &mut Vec::new())) {
        assert_eq!(outcome.tables.get(&name).cloned().unwrap_or_default(), table, "table {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn figures_equal_those_of_plain_lists_on_any_number_of_workers(events in events(), seed in any::<u64>()) {
        let views = views();
        let views: Vec<(&str, &str)> = views.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        for workers in [1, 2, 4] {
            check(&run(&views, &events, workers, seed, true), &events);
        }
        check(&run_with_crashes(&views, &events, &[1, 3, 2, 4, 1], seed), &events);
    }
}
