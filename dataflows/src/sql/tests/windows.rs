//! Windows over the rows of views.

use super::*;
use crate::lower::lower;
use crate::plan::{Input, RowTime, TimeBound, Window};

const MINUTE: i64 = 60 * SECOND;

const COUNTS: &str = "SELECT window_start, window_end, page_url, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') \
     GROUP BY window_start, window_end, page_url";

const SESSIONS: &str = "SELECT user_id, window_start, window_end, last_event FROM session(user_activity, INTERVAL '5 minutes', user_id) \
     GROUP BY window_start, window_end, user_id";

const PAIRS: &str = "SELECT a.event_time AS clicked, p.ts AS paid, a.user_id, p.amount FROM user_activity AS a JOIN payments AS p \
     ON a.user_id = CAST(p.account AS text) AND p.ts BETWEEN a.event_time AND a.event_time + INTERVAL '1 hour'";

fn hour(function: &str) -> String {
    format!("SELECT window_start, window_end, count(*) AS n FROM {function} GROUP BY window_start, window_end")
}

/// Plans windows over another view, and returns how rows are put into them.
fn row_time(view: &str, function: &str) -> RowTime {
    let plan = job(&[view, &hour(function)]).unwrap_or_else(|error| panic!("{error}"));
    aggregation(plan.views.last().expect("a view")).row_time.expect("the time of a view's rows")
}

#[test]
fn rows_are_in_the_window_in_which_they_end() {
    let at = |column, shift, slack| RowTime { column, shift, slack };
    for (view, function, expected) in [
        (COUNTS, "tumble(a, INTERVAL '1 hour')", at(1, -1, 0)),
        (COUNTS, "hop(a, INTERVAL '5 minutes', INTERVAL '1 hour')", at(1, -1, 0)),
        // Where a view tells the start of its windows alone, their length says the rest.
        (
            "SELECT window_start, n FROM (SELECT window_start, count(*) AS n FROM hop(user_activity, INTERVAL '1 minute', INTERVAL '5 minutes') \
          GROUP BY window_start) AS c",
            "tumble(a, INTERVAL '1 hour')",
            at(0, 5 * MINUTE - 1, 0),
        ),
        (COUNTS, "tumble(a, INTERVAL '1 hour', time => window_start)", at(0, 0, MINUTE)),
        (COUNTS, "tumble(a, time => window_end, INTERVAL '1 hour')", at(1, -1, 0)),
        // A session may grow for another gap after its end.
        (SESSIONS, "tumble(a, INTERVAL '1 hour')", at(2, -1, 5 * MINUTE)),
        (SESSIONS, "tumble(a, INTERVAL '1 hour', time => last_event)", at(3, 0, 10 * MINUTE)),
        (PAIRS, "tumble(a, INTERVAL '1 hour')", at(0, 0, 60 * MINUTE)),
        (PAIRS, "tumble(a, INTERVAL '1 hour', time => paid)", at(1, 0, 60 * MINUTE)),
    ] {
        assert_eq!(row_time(view, function), expected, "{function} over {view}");
    }
}

#[test]
fn windows_over_views_are_windows_to_all_that_read_them() {
    let day = "SELECT window_start, window_end, sum(n) AS n FROM tumble(b, INTERVAL '1 day') GROUP BY window_end, window_start";
    let by_page = "SELECT window_start, page_url, max(n) AS most, last_value(inner_window_start ORDER BY n) AS busiest \
         FROM tumble(a, INTERVAL '1 hour') WHERE n > 1 AND window_start > '2020-01-01' GROUP BY window_start, page_url HAVING count(*) > 2";
    let plan = job(&[COUNTS, &hour("tumble(a, INTERVAL '1 hour')"), day, by_page]).expect("planned");
    let [_, hours, days, pages] = plan.views.as_slice() else { panic!("four views") };
    assert_eq!(hours.inputs, [Input::View(0)]);
    let body = aggregation(hours);
    assert_eq!(body.window, Some(Window::Hop { slide: 60 * MINUTE, size: 60 * MINUTE }));
    assert!(body.keys.is_empty() && hours.warnings.is_empty() && days.warnings.is_empty());
    assert_eq!(key(hours), ["window_start"], "either bound tells windows apart");
    let bounds = |size| [TimeBound { column: 0, slack: size, last: size - 1 }, TimeBound { column: 1, slack: 0, last: -1 }];
    assert_eq!(hours.time_bounds, bounds(60 * MINUTE));
    assert_eq!(days.time_bounds, bounds(24 * 60 * MINUTE));
    let body = aggregation(pages);
    assert_eq!(columns(pages)[3], "busiest timestamp");
    assert_eq!(body.filter.as_ref().map(|filter| filter.text.as_str()), Some("n > 1"));
    assert_eq!(body.aggregates[1].order.as_ref().map(|order| order.text.as_str()), Some("n"));
    assert_eq!(key(pages), ["window_start", "page_url"]);
    let lowered = lower(&plan);
    assert!(lowered.folds.iter().all(|fold| fold.components.len() == 1), "all read another view or group it by something else");
}

#[test]
fn windows_of_one_view_by_one_key_share_a_state() {
    let by_page =
        |function: &str| format!("SELECT window_end, page_url, sum(n) AS n FROM {function} GROUP BY window_end, page_url");
    let plan =
        job(&[COUNTS, &by_page("tumble(a, INTERVAL '5 minutes')"), &by_page("hop(a, INTERVAL '5 minutes', INTERVAL '1 hour')")]);
    let folds = lower(&plan.expect("planned")).folds;
    assert_eq!(folds.iter().map(|fold| fold.components.len()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_windows_stand_on_may_be_a_query_of_its_own() {
    for (with, reads) in [
        ("SELECT page_url AS page, window_end AS minute, n FROM a WHERE n > 1", "a"),
        ("SELECT window_end AS minute, max(n) AS n FROM a GROUP BY window_end", "b$1"),
        (
            "SELECT a.window_end AS minute, a.n FROM a JOIN a AS other ON a.window_end = other.window_end AND a.page_url = other.page_url",
            "b$1",
        ),
        ("SELECT window_end AS minute, n FROM a UNION ALL SELECT window_end, n + 1 FROM a WHERE n > 1", "b$3"),
    ] {
        let sql = format!(
            "WITH m AS ({with}) SELECT window_start, max(n) AS most FROM tumble(m, INTERVAL '1 hour') AS t GROUP BY t.window_start"
        );
        let plan = job(&[COUNTS, &sql]).unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let view = plan.views.last().expect("a view");
        assert_eq!(plan.name_of(view.inputs[0]), reads, "{sql}");
        assert_eq!(aggregation(view).row_time.map(|time| (time.shift, time.slack)), Some((-1, 0)), "{sql}");
        assert!(plan.views.iter().all(|view| view.warnings.is_empty() || view.table.name == "b$3"), "{sql}");
    }
}

#[test]
fn rows_with_their_windows_are_rows_to_rank_to_join_and_to_unite() {
    let shown = "SELECT window_start, window_end, inner_window_start AS minute, page_url, n FROM tumble(a, INTERVAL '1 hour') WHERE window_start < '2100-01-01'";
    let ranked = "SELECT hour, minute, page_url, place FROM (SELECT window_end, window_start AS hour, inner_window_start AS minute, page_url, \
         ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY n DESC, page_url) AS place FROM tumble(a, INTERVAL '1 hour')) AS r WHERE place <= 3";
    let joined = "SELECT t.inner_window_start AS minute, t.page_url, t.n, b.n AS other FROM tumble(a, INTERVAL '1 hour') AS t \
         JOIN b ON t.window_end = b.window_end AND t.page_url = b.page_url AND t.inner_window_start = b.minute";
    let united = "SELECT 'one' AS what, window_end, inner_window_end, page_url FROM tumble(a, INTERVAL '1 hour') \
         UNION ALL SELECT 'two', window_end, inner_window_end, page_url FROM tumble(a, INTERVAL '1 hour', time => window_start)";
    let plan = job(&[COUNTS, shown, ranked, joined, united]).unwrap_or_else(|error| panic!("{error}"));
    assert!(plan.views.iter().all(|view| view.warnings.is_empty()), "all is forgotten some time");
    let view = |name: &str| plan.views.iter().find(|view| view.table.name == name).expect("a view");
    let start = TimeBound { column: 0, slack: 60 * MINUTE, last: 60 * MINUTE - 1 };
    let (end, minute) = (TimeBound { column: 1, slack: 0, last: -1 }, TimeBound { column: 2, slack: MINUTE, last: MINUTE - 1 });
    assert_eq!(view("b").time_bounds, [start, end, minute]);
    assert_eq!(key(view("b")), ["minute", "page_url"]);
    let hour = 60 * MINUTE;
    let counts: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1; 4]));
    let ends = [hour, hour + 1, 2 * hour, 50 * hour];
    let rows = batch(vec![times(&ends.map(|end| end - MINUTE)), times(&ends), words(&["p"; 4]), counts]);
    let windows: Vec<String> = run(map(view("b")), &rows).iter().map(|row| row[..39].to_owned()).collect();
    let expected = [
        "01-01T00:00:00 1970-01-01T01",
        "01-01T01:00:00 1970-01-01T02",
        "01-01T01:00:00 1970-01-01T02",
        "01-03T01:00:00 1970-01-03T02",
    ];
    assert_eq!(windows, expected.map(|window| format!("1970-{window}:00:00")));
    assert_eq!(key(view("c")), ["minute", "page_url"]);
    assert_eq!(view("d").inputs.len(), 2);
    assert_eq!(view("e").time_bounds.iter().map(|bound| (bound.column, bound.last)).collect::<Vec<_>>(), [(1, -1), (2, -1)]);
    let hop = job(&[COUNTS, "SELECT * FROM hop(a, INTERVAL '1 minute', INTERVAL '1 hour')"]).expect_err("in many windows");
    assert!(hop.problem.contains("hop() without GROUP BY") && hop.remedy.contains("GROUP BY"), "{hop}");
}

#[test]
fn windows_without_a_time_that_closes_them_are_refused() {
    let totals = "SELECT page_url, max(event_time) AS newest, count(*) AS n FROM user_activity GROUP BY page_url";
    let shifted = "SELECT DISTINCT window_end + INTERVAL '1 hour' AS later, n FROM (SELECT window_start, window_end, page_url, count(*) AS n \
         FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start, window_end, page_url) AS c";
    for (view, function, problem, remedy) in [
        (totals, "tumble(a, INTERVAL '1 hour')", "it stands on 'a', whose rows can change at any time", "window_end"),
        (totals, "tumble(a, INTERVAL '1 hour', time => newest)", "newest does not say when a row is settled", "window_end"),
        (
            shifted,
            "hop(a, INTERVAL '1 hour', INTERVAL '2 hours')",
            "hop() needs a time at which rows are settled",
            "passed on as it is",
        ),
        (COUNTS, "tumble(a, INTERVAL '1 hour', time => n)", "n does not say when", "'window_start' or 'window_end'"),
        (COUNTS, "tumble(a, INTERVAL '1 hour', time => nothing)", "unknown column 'nothing'", "window_end"),
        (SESSIONS, "tumble(a, INTERVAL '1 hour', time => window_start)", "does not say when", "'window_end' or 'last_event'"),
        (COUNTS, "session(a, INTERVAL '1 hour', page_url)", "session() joins events", "tumble or hop"),
        (COUNTS, "session(a, INTERVAL '1 hour', page_url, time => window_end)", "no argument named 'time'", "session("),
        (
            "SELECT * FROM user_activity",
            "tumble(a, INTERVAL '1 hour', time => page_url)",
            "by the event time of 'user_activity'",
            "leave",
        ),
        (
            "SELECT window_start, window_end, n, n AS inner_window_end FROM (SELECT window_start, window_end, count(*) AS n \
          FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start, window_end) AS c",
            "tumble(a, INTERVAL '1 hour')",
            "'inner_window_end', which is there already",
            "another name",
        ),
    ] {
        let error = job(&[view, &hour(function)]).expect_err(function);
        assert!(error.view == "b" && error.problem.contains(problem) && error.remedy.contains(remedy), "{error}");
    }
}

#[test]
fn the_event_time_of_a_stream_may_be_named() {
    let named = view(&hour("tumble(user_activity, time => event_time, INTERVAL '1 hour')"));
    assert_eq!(aggregation(&named).row_time, None);
}

#[test]
fn a_final_window_closes_over_views_that_are_amended() {
    let definition = |name: &str, sql: &str, late| ViewDefinition { late, emit: Emit::Final, ..definition(name, sql) };
    let amended = LatePolicy::Amend(10 * MINUTE);
    let hours = hour("tumble(a, INTERVAL '1 hour')");
    let planned = |late| plan(&sources(), &[definition("a", COUNTS, amended), definition("b", &hours, late)]);
    let plan = planned(LatePolicy::Keep).expect("planned");
    assert_eq!(aggregation(&plan.views[1]).row_time, Some(RowTime { column: 1, shift: -1, slack: 10 * MINUTE }));
    let refused = planned(amended).expect_err("nothing is late").to_string();
    assert!(refused.contains("windows over a source"), "{refused}");
}
