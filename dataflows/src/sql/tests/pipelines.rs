//! The views of pipeline 1.

use super::*;
use crate::plan::{Function, Input, TimeBound, Window};

const MINUTE: i64 = 60 * SECOND;

#[test]
fn page_view_counts() {
    let view = view(
        "SELECT window_start, window_end, page_url, count(*) AS view_count FROM tumble(user_activity, INTERVAL '1 minute') \
         WHERE event_type = 'page_view' GROUP BY window_start, window_end, page_url",
    );
    assert_eq!(columns(&view), ["window_start timestamp", "window_end timestamp", "page_url varchar(255)", "view_count bigint"]);
    assert_eq!(key(&view), ["window_start", "page_url"]);
    assert_eq!((&view.inputs[..], view.table.time_column), (&[Input::Source(0)][..], None));
    let bounds =
        [TimeBound { column: 0, slack: 60 * SECOND, last: 60 * SECOND - 1 }, TimeBound { column: 1, slack: 0, last: -1 }];
    assert_eq!(view.time_bounds, bounds);
    assert_eq!(view.warnings, [""; 0]);

    let body = aggregation(&view);
    assert_eq!(body.window, Some(Window::Hop { slide: MINUTE, size: MINUTE }));
    assert_eq!(body.filter.as_ref().map(|f| f.text.as_str()), Some("event_type = 'page_view'"));
    assert_eq!(texts(&body.keys), ["page_url"]);
    assert!(!body.needs_processing_time && !body.output.needs_processing_time);
    let [count] = body.aggregates.as_slice() else { panic!("{:?}", body.aggregates) };
    assert_eq!((&count.function, count.name.as_str(), &count.data_type), (&Function::Count, "count(*)", &DataType::Int64));
    assert!(count.argument.is_none() && count.filter.is_none());
    let row: Vec<&str> = body.row_schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(row, ["window_start", "window_end", "page_url", "count(*)"]);
}

#[test]
fn page_view_counts_compute() {
    let view = view(
        "SELECT page_url, count(*) * 2 AS twice, window_end FROM tumble(user_activity, INTERVAL '1 minute') \
         WHERE event_type = 'page_view' GROUP BY window_start, window_end, page_url HAVING count(*) > 1",
    );
    let body = aggregation(&view);
    let kept = evaluate(body.filter.as_ref().expect("a filter"), &activity());
    assert_eq!(show(&batch(vec![kept])), ["true", "false", "true"]);
    assert_eq!(show(&batch(vec![evaluate(&body.keys[0], &activity())])), ["/", "/cart", "/"]);
    assert_eq!(body.aggregates.len(), 1, "the count in HAVING is that of the select list");

    let counts: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1, 5]));
    let row = batch(vec![times(&[0, 0]), times(&[MINUTE; 2]), words(&["/", "/cart"]), counts]);
    assert_eq!(run(&body.output, &row), ["/cart 10 1970-01-01T00:01:00"]);
}

#[test]
fn active_users() {
    let view = view(
        "SELECT window_start, window_end, count(distinct user_id) AS active_users_count \
         FROM hop(user_activity, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY window_start, window_end",
    );
    let body = aggregation(&view);
    assert_eq!(body.window, Some(Window::Hop { slide: MINUTE, size: 5 * MINUTE }));
    assert_eq!(body.aggregates[0].function, Function::CountDistinct);
    assert_eq!(body.aggregates[0].argument.as_ref().map(|a| a.text.as_str()), Some("user_id"));
    assert_eq!(key(&view), ["window_start"]);
    assert!(body.keys.is_empty() && body.filter.is_none());
}

#[test]
fn user_sessions() {
    let view = view(
        "SELECT user_id, window_start AS session_start_time, window_end AS session_end_time, \
         CAST(EXTRACT(EPOCH FROM window_end - window_start) AS BIGINT) AS session_duration_seconds \
         FROM session(user_activity, INTERVAL '5 minutes', user_id) GROUP BY window_start, window_end, user_id",
    );
    let names =
        ["user_id varchar(50)", "session_start_time timestamp", "session_end_time timestamp", "session_duration_seconds bigint"];
    assert_eq!(columns(&view), names);
    assert_eq!(key(&view), ["user_id", "session_start_time"]);
    let bound = TimeBound { column: 2, slack: 5 * MINUTE, last: -1 };
    assert_eq!(view.time_bounds, [bound], "a session may still grow when the watermark has passed its end");
    let body = aggregation(&view);
    assert_eq!(body.window, Some(Window::Session { gap: 5 * MINUTE, max_duration: None }));
    assert!(body.aggregates.is_empty());

    let day = 86_400 * SECOND;
    let row =
        batch(vec![times(&[0, day]), times(&[90 * SECOND + 999_999, 3 * day + 1]), times(&[1, day]), words(&["ann", "bob"])]);
    let rows = run(&body.output, &row);
    assert_eq!(rows[0], "ann 1970-01-01T00:00:00 1970-01-01T00:01:30.999999 90", "whole seconds, cut off");
    assert!(rows[1].ends_with(" 172800"), "{}", rows[1]);
}

#[test]
fn whole_seconds_have_other_spellings() {
    for seconds in [
        "CAST(date_part('epoch', window_end - window_start) AS BIGINT)",
        "CAST(EXTRACT(EPOCH FROM window_end) - EXTRACT(EPOCH FROM window_start) AS BIGINT)",
        "CAST(window_end - window_start AS BIGINT) / 1000000",
        "EXTRACT(EPOCH FROM window_end - window_start)::bigint",
        "EXTRACT(EPOCH FROM (window_end - window_start))::int",
    ] {
        let view = view(&format!(
            "SELECT user_id, window_start, {seconds} AS s FROM session(user_activity, INTERVAL '5 minutes', user_id) \
             GROUP BY window_start, window_end, user_id"
        ));
        let row = batch(vec![times(&[5]), times(&[90 * SECOND + 5]), times(&[5]), words(&["ann"])]);
        assert_eq!(run(&aggregation(&view).output, &row), ["ann 1970-01-01T00:00:00.000005 90"], "{seconds}");
        assert_eq!(columns(&view)[2], "s bigint", "{seconds}");
    }
}

#[test]
fn the_end_of_a_session_without_the_gap() {
    let view = view(
        "SELECT user_id, window_start, last_event, count(*) AS events FROM session(user_activity, INTERVAL '5 minutes', user_id, \
         max_duration => INTERVAL '1 hour') GROUP BY window_start, user_id",
    );
    let body = aggregation(&view);
    assert_eq!(body.window, Some(Window::Session { gap: 5 * MINUTE, max_duration: Some(60 * MINUTE) }));
    assert_eq!(texts(&body.output.project), ["user_id", "window_start", "last_event", "\"count(*)\""]);
    assert_eq!(view.time_bounds, [TimeBound { column: 2, slack: 10 * MINUTE, last: 5 * MINUTE - 1 }]);
}

#[test]
fn enriched_activity() {
    let view = view("SELECT event_time, user_id, page_url, event_type, processing_time() AS processing_time FROM user_activity");
    assert_eq!(key(&view), [""; 0]);
    assert_eq!((view.table.time_column, view.time_bounds.len()), (Some(0), 0));
    assert_eq!(columns(&view)[4], "processing_time timestamp");
    let map = map(&view);
    assert!(map.needs_processing_time && map.filter.is_none());
    assert_eq!(run(map, &activity())[1], "1970-01-01T00:00:30 bob /cart click 1970-01-01T00:01:40");
}

#[test]
fn either_bound_is_enough_in_group_by() {
    for (group, select) in [
        ("window_start", "window_start, window_end"),
        ("window_end", "window_start, window_end"),
        ("1", "window_start, window_end"),
        ("w.window_start", "w.window_start, w.window_end"),
        ("s", "window_start AS s, window_end"),
    ] {
        let view = view(&format!(
            "SELECT {select}, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') AS w GROUP BY {group}"
        ));
        assert_eq!(texts(&aggregation(&view).output.project), ["window_start", "window_end", "\"count(*)\""], "{group}");
        assert!(view.time_bounds.contains(&TimeBound { column: 1, slack: 0, last: -1 }));
    }
}

#[test]
fn a_condition_on_the_window_moves_above_the_groups() {
    let view = view(
        "SELECT window_start, page_url, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') \
         WHERE user_id = 'ann' AND window_end > '1970-01-01T00:02:00' GROUP BY window_start, page_url HAVING count(*) > 1",
    );
    let body = aggregation(&view);
    assert_eq!(body.filter.as_ref().map(|f| f.text.as_str()), Some("user_id = 'ann'"));
    let counts: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![2, 2, 1]));
    let row = batch(vec![
        times(&[0, 2 * MINUTE, 2 * MINUTE]),
        times(&[MINUTE, 3 * MINUTE, 3 * MINUTE]),
        words(&["a", "b", "c"]),
        counts,
    ]);
    assert_eq!(run(&body.output, &row), ["1970-01-01T00:02:00 b 2"]);
}

#[test]
fn names_with_capital_letters_need_no_quotes() {
    let view =
        view("SELECT userId, window_end, count(*) AS n FROM tumble(Clicks, INTERVAL '10 seconds') GROUP BY userid, window_end");
    assert_eq!(columns(&view), ["userId text", "window_end timestamp", "n bigint"]);
    assert_eq!(key(&view), ["window_end", "userId"]);
}
