//! Views over views, and selects inside selects.

use super::*;
use crate::plan::{Input, TimeBound};

const COUNTS: &str = "SELECT window_start, window_end, page_url, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') \
     GROUP BY window_start, window_end, page_url";

#[test]
fn a_row_wise_view_is_inlined_into_those_that_read_it() {
    let plan = job(&[
        "SELECT page, count(*) AS n, window_end FROM tumble(b, INTERVAL '1 minute') WHERE page <> '/cart' GROUP BY window_end, page",
        "SELECT event_time, lower(page_url) AS page, user_id FROM user_activity WHERE event_type = 'page_view'",
    ])
    .expect("planned");
    let names: Vec<&str> = plan.views.iter().map(|v| v.table.name.as_str()).collect();
    assert_eq!(names, ["b", "a"], "each after what it reads");
    let a = &plan.views[1];
    assert_eq!(a.inputs, [Input::Source(0)]);
    assert_eq!(texts(&aggregation(a).keys), ["lower(page_url)"]);
    let kept = evaluate(aggregation(a).filter.as_ref().expect("a filter"), &activity());
    assert_eq!(show(&batch(vec![kept])), ["true", "false", "true"]);
}

#[test]
fn with_queries_and_subqueries_become_one_level() {
    for sql in [
        "WITH v AS (SELECT event_time, upper(user_id) AS u FROM user_activity WHERE event_type = 'click') \
         SELECT window_start, u, count(*) AS n FROM tumble(v, INTERVAL '1 minute') GROUP BY window_start, u",
        "SELECT window_start, u, n FROM (SELECT window_start, upper(user_id) AS u, count(*) AS n \
         FROM tumble(user_activity, INTERVAL '1 minute') AS t WHERE t.event_type = 'click' GROUP BY window_start, upper(user_id)) AS x",
        "SELECT window_start, u, count(1) AS n FROM (SELECT window_start, upper(user_id) AS u, event_type \
         FROM tumble(user_activity, INTERVAL '1 minute')) AS x WHERE event_type = 'click' GROUP BY window_start, u",
    ] {
        let view = view(sql);
        let body = aggregation(&view);
        assert_eq!(body.filter.as_ref().map(|f| f.text.as_str()), Some("event_type = 'click'"), "{sql}");
        assert_eq!(texts(&body.keys), ["upper(user_id)"], "{sql}");
        assert_eq!(texts(&body.output.project), ["window_start", "\"upper(user_id)\"", "\"count(*)\""], "{sql}");
        assert_eq!(key(&view), ["window_start", "u"], "{sql}");
    }
}

#[test]
fn a_filter_above_the_groups_stays_there() {
    let view =
        view(&format!("SELECT page_url, n + 1 AS more, window_start FROM ({COUNTS}) AS c WHERE n > 10 AND page_url <> '/'"));
    let body = aggregation(&view);
    assert!(body.filter.is_none());
    let filter = &body.output.filter.as_ref().expect("a filter").text;
    assert_eq!(filter, "\"count(*)\" > 10 AND page_url != '/'");
    assert_eq!(key(&view), ["window_start", "page_url"]);
}

#[test]
fn a_view_over_an_aggregated_view_reads_its_changes() {
    let plan = job(&[
        COUNTS,
        "SELECT window_end, sum(n) AS total, max(page_url) AS last_page FROM a GROUP BY window_end",
        "SELECT page_url, n, window_start FROM a WHERE n > 1",
        "SELECT page_url, sum(n) AS total FROM c GROUP BY page_url",
        "SELECT page_url AS p, window_end AS e FROM a",
    ])
    .expect("planned");
    let [_, by_window, rows, for_ever, renamed] = plan.views.as_slice() else { panic!("five views") };

    let end = |column| TimeBound { column, slack: 0, last: -1 };
    assert_eq!((&by_window.inputs[..], &by_window.time_bounds[..]), (&[Input::View(0)][..], &[end(0)][..]));
    assert_eq!(aggregation(by_window).key_time_bound, Some(end(0)));
    assert_eq!(columns(by_window), ["window_end timestamp", "total bigint", "last_page varchar(255)"]);
    assert_eq!(by_window.warnings, [""; 0]);

    let start = TimeBound { column: 2, slack: 60 * SECOND, last: 60 * SECOND - 1 };
    assert_eq!((&rows.inputs[..], &rows.time_bounds[..]), (&[Input::View(0)][..], &[start][..]));
    assert_eq!(rows.table.time_column, None);
    assert_eq!(key(rows), ["window_start", "page_url"]);

    assert_eq!(for_ever.inputs, [Input::View(2)]);
    assert!(for_ever.warnings[0].contains("view 'd' keeps each of its groups for ever"), "{:?}", for_ever.warnings);

    assert_eq!((&renamed.time_bounds[..], key(renamed)), (&[end(1)][..], vec!["e", "p"]));
}

#[test]
fn rows_that_cannot_be_told_apart_are_for_other_views_only() {
    let plan = job(&[COUNTS, "SELECT n FROM a"]).expect("planned");
    assert_eq!(key(&plan.views[1]), [""; 0]);
    assert!(plan.views[1].warnings[0].contains("leaves out window_start or window_end"), "{:?}", plan.views[1].warnings);
}

#[test]
fn groups_without_a_window_are_warned_of() {
    let view = view("SELECT page_url, count(*) AS n FROM user_activity GROUP BY page_url");
    assert_eq!(view.warnings.len(), 1);
    assert!(view.warnings[0].contains("'a'") && view.warnings[0].contains("tumble"), "{:?}", view.warnings);
    assert_eq!((key(&view), view.time_bounds.len()), (vec!["page_url"], 0));
}

#[test]
fn views_that_read_one_another_are_refused() {
    let error = job(&["SELECT * FROM b", "SELECT * FROM c", "SELECT * FROM b"]).expect_err("a cycle");
    assert_eq!(error.view, "b");
    assert!(error.problem.contains("b → c → b"), "{error}");
}

#[test]
fn a_source_and_a_view_have_names_of_their_own() {
    let views = [definition("Payments", "SELECT * FROM payments")];
    let error = plan(&sources(), &views).expect_err("one name for two");
    assert_eq!(error.view, "Payments");
}

#[test]
fn the_processing_time_is_that_of_the_event_everywhere() {
    let plan = job(&[
        "SELECT event_time, user_id, processing_time() AS seen FROM user_activity",
        "SELECT window_start, user_id, max(seen) AS last_seen FROM tumble(a, INTERVAL '1 minute') GROUP BY window_start, user_id",
        "SELECT window_start, count(*) FILTER (WHERE seen - event_time > INTERVAL '1 minute') AS slow \
         FROM tumble(a, INTERVAL '1 minute') GROUP BY window_start",
    ])
    .expect("planned");
    assert!(aggregation(&plan.views[1]).needs_processing_time);
    let slow = aggregation(&plan.views[2]).aggregates[0].filter.as_ref().expect("a filter");
    assert_eq!(show(&batch(vec![evaluate(slow, &activity())])), ["true", "true", "false"]);
}

#[test]
fn several_levels_of_group_by_become_a_view_that_reads_a_hidden_one() {
    let plan = job(&[&format!(
        "SELECT window_end, n, count(*) AS pages FROM (SELECT window_end, n FROM ({COUNTS}) AS c WHERE n > 1) AS d GROUP BY window_end, n"
    )]);
    let plan = plan.expect("planned");
    let [hidden, shown] = plan.views.as_slice() else { panic!("two views") };
    assert_eq!((hidden.table.name.as_str(), hidden.part_of.as_deref(), hidden.shown_name()), ("a$1", Some("a"), "a"));
    assert_eq!(columns(hidden), ["window_end timestamp", "n bigint"], "only what is read");
    assert_eq!(texts(&aggregation(hidden).keys), ["page_url"]);
    assert_eq!(aggregation(hidden).output.filter.as_ref().map(|f| f.text.as_str()), Some("\"count(*)\" > 1"));
    assert_eq!((&shown.inputs[..], shown.part_of.as_deref()), (&[Input::View(0)][..], None));
    assert_eq!((key(shown), shown.warnings.len()), (vec!["window_end", "n"], 0));
    assert_eq!(aggregation(shown).key_time_bound, Some(TimeBound { column: 0, slack: 0, last: -1 }));
    assert_eq!(plan.sources_of(Input::View(1)).into_iter().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_with_query_that_aggregates_can_be_aggregated_again_and_again() {
    let plan =
        job(&["WITH per_user AS (SELECT user_id, page_url, count(*) AS n FROM user_activity GROUP BY user_id, page_url), \
         most AS (SELECT user_id, max(n) AS most FROM per_user GROUP BY user_id) \
         SELECT 'all' AS scope, count(*) AS users FROM most GROUP BY scope"])
        .expect("planned");
    let names: Vec<&str> = plan.views.iter().map(|view| view.table.name.as_str()).collect();
    assert_eq!(names, ["a$1", "a$2", "a"]);
    assert!(plan.views[0].warnings[0].contains("a GROUP BY inside of view 'a'"), "{:?}", plan.views[0].warnings);
    assert_eq!(columns(&plan.views[1]), ["user_id varchar(50)"], "a row without columns is still a row");
}

#[test]
fn groups_by_the_end_of_a_session_close_when_the_session_can_no_longer_change() {
    let plan = job(&[
        "SELECT user_id, window_end, last_event FROM session(user_activity, INTERVAL '5 minutes', user_id) GROUP BY window_end, user_id, last_event",
        "SELECT window_end, count(*) AS n FROM a GROUP BY window_end",
    ])
    .expect("planned");
    let bounds = [
        TimeBound { column: 1, slack: 300 * SECOND, last: -1 },
        TimeBound { column: 2, slack: 600 * SECOND, last: 300 * SECOND - 1 },
    ];
    assert_eq!(plan.views[0].time_bounds, bounds);
    assert_eq!(aggregation(&plan.views[1]).key_time_bound, Some(TimeBound { column: 0, slack: 300 * SECOND, last: -1 }));
}
