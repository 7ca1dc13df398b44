//! What is refused, and what the refusal says to write instead.

use super::*;

/// Each query with words of its refusal: the clause, and the way out.
fn check(cases: &[(&str, &str, &str)]) {
    for (sql, problem, remedy) in cases {
        let error = job(&[sql]).expect_err(sql);
        assert_eq!(error.view, "a");
        assert!(error.problem.contains(problem), "{sql}\n{error}");
        assert!(error.remedy.contains(remedy), "{sql}\n{error}");
    }
}

#[test]
fn clauses_that_a_view_may_not_have() {
    check(&[
        (
            "SELECT user_id FROM user_activity UNION ALL (SELECT code FROM lookup EXCEPT SELECT code FROM lookup)",
            "EXCEPT",
            "is one",
        ),
        (
            "SELECT user_id FROM user_activity UNION ALL BY NAME SELECT user_id FROM user_activity",
            "UNION BY NAME",
            "in one order",
        ),
        ("SELECT user_id FROM user_activity EXCEPT SELECT code FROM lookup", "EXCEPT", "is one"),
        ("SELECT user_id FROM user_activity ORDER BY user_id", "ORDER BY", "leave it out"),
        ("SELECT x.u FROM (SELECT user_id AS u FROM user_activity ORDER BY u) x", "ORDER BY", "leave it out"),
        ("SELECT user_id FROM user_activity LIMIT 3", "LIMIT", "leave it out"),
        ("SELECT user_id FROM user_activity FETCH FIRST 3 ROWS ONLY", "FETCH", "leave it out"),
        ("SELECT DISTINCT ON (user_id) user_id FROM user_activity", "DISTINCT ON", "ROW_NUMBER"),
        ("SELECT row_number() OVER (ORDER BY user_id ROWS UNBOUNDED PRECEDING) AS n FROM user_activity", "frame", "ROW_NUMBER"),
        ("SELECT row_number() OVER w AS n FROM payments WINDOW w AS (ORDER BY ts)", "named window", "inside of OVER"),
        ("SELECT sum(fee) OVER (ORDER BY ts) AS n FROM payments", "sum() with OVER", "ROW_NUMBER"),
        ("SELECT row_number() AS n FROM payments", "without OVER", "ROW_NUMBER"),
        ("SELECT ts FROM payments QUALIFY row_number() OVER (ORDER BY ts) = 1", "QUALIFY", "ROW_NUMBER"),
        ("SELECT user_id, count(*) AS n FROM user_activity GROUP BY ROLLUP (user_id)", "ROLLUP", "one view for each"),
        (
            "SELECT user_id, count(*) AS n FROM user_activity GROUP BY GROUPING SETS ((user_id), ())",
            "GROUPING SETS",
            "one view for each",
        ),
        ("SELECT user_id, count(*) AS n FROM user_activity GROUP BY ALL", "GROUP BY ALL", "name the columns"),
        ("WITH RECURSIVE r AS (SELECT code FROM lookup) SELECT code FROM r", "RECURSIVE", "without RECURSIVE"),
        ("SELECT 1 AS x", "without FROM", "FROM name"),
        ("VALUES (1)", "VALUES", "SELECT"),
        ("SELECT * FROM user_activity FOR UPDATE", "FOR", "leave it out"),
        ("SELECT user_id INTO x FROM user_activity", "dialect", "SELECT"),
        ("SELECT x.user_id FROM LATERAL (SELECT user_id FROM user_activity) x", "LATERAL", "view of its own"),
        ("SELECT * FROM public.user_activity", "schema", "plain name"),
        ("SELECT * FROM user_activity TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE", "WHERE"),
        ("SELECT count(*) FROM user_activity GROUP BY user_id", "'count(*)' has no name", "count(*) AS name"),
        ("SELECT user_id, user_id FROM user_activity", "name", "AS"),
    ]);
}

#[test]
fn functions_that_a_view_may_not_call() {
    check(&[
        ("SELECT now() AS x FROM lookup", "now()", "processing_time()"),
        ("SELECT CURRENT_DATE AS x FROM lookup", "current_date()", "processing_time()"),
        ("SELECT CURRENT_TIMESTAMP AS x FROM lookup", "current_timestamp()", "processing_time()"),
        ("SELECT code FROM lookup WHERE random() < 0.5", "random()", "processing_time()"),
        ("SELECT code, corr(1, 2) AS x FROM lookup GROUP BY code", "corr()", "avg"),
        ("SELECT ok, stddev(distinct fee) AS x FROM payments GROUP BY ok", "stddev(distinct", "leave DISTINCT out"),
        ("SELECT ok, sum(fee ORDER BY ts) AS x FROM payments GROUP BY ok", "inside a function call", "leave it out"),
        ("SELECT lowr(code) AS x FROM lookup", "unknown function 'lowr'", "did you mean 'lower'?"),
        ("SELECT pg_catalog.lower(code) AS x FROM lookup", "schema", "plain name"),
        ("SELECT count(code, label) AS n, code FROM lookup GROUP BY code", "one argument", "one aggregate for each"),
        ("SELECT code FROM lookup WHERE count(*) > 1", "", "HAVING"),
        ("SELECT code, sum(count(*)) AS x FROM lookup GROUP BY code", "", "view of its own"),
        ("SELECT count(*) AS n FROM lookup", "without GROUP BY", "GROUP BY scope"),
        ("SELECT code FROM lookup WHERE label = $1", "placeholder $1", "value itself"),
    ]);
}

#[test]
fn names_that_do_not_exist() {
    check(&[
        ("SELECT usr_id FROM user_activity", "unknown column 'usr_id'", "did you mean 'user_id'?"),
        ("SELECT x.usr_id FROM user_activity x", "unknown column 'usr_id'", "did you mean 'user_id'?"),
        ("SELECT user_id FROM user_activity WHERE page = '/'", "unknown column 'page'", "did you mean 'page_url'?"),
        ("SELECT user_id FROM user_activity GROUP BY usr_id", "unknown column 'usr_id'", "did you mean 'user_id'?"),
        ("SELECT \"eventtime\" FROM Clicks", "unknown column 'eventtime'", "did you mean '\"eventTime\"'?"),
        ("SELECT zzz FROM lookup", "unknown column 'zzz'", "use one of: code, label"),
        ("SELECT * FROM user_activty", "unknown source or view 'user_activty'", "did you mean 'user_activity'?"),
        ("SELECT * FROM tumbl(user_activity, INTERVAL '1 minute')", "unknown table function 'tumbl'", "did you mean 'tumble'?"),
        ("SELECT * FROM tumble(user_activty, INTERVAL '1 minute')", "unknown source or view 'user_activty'", "user_activity"),
        (
            "SELECT window_start, page_url FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start",
            "page_url",
            "GROUP BY",
        ),
        ("SELECT user_id, count(*) AS n FROM user_activity GROUP BY page_url", "user_id", "GROUP BY"),
        ("SELECT code FRM lookup", "Line: 1", "correct the SQL"),
    ]);
}

#[test]
fn windows_that_are_none() {
    let group = "GROUP BY window_start, window_end";
    let cases = [
        ("tumble(user_activity, INTERVAL '1 month')", "months", "days"),
        ("tumble(user_activity, INTERVAL '0 seconds')", "not positive", "INTERVAL"),
        ("tumble(user_activity, INTERVAL '-5 minutes')", "not positive", "INTERVAL"),
        ("tumble(user_activity, 5)", "not an interval", "INTERVAL"),
        ("tumble(user_activity)", "number of arguments", "tumble(source, INTERVAL"),
        ("tumble(user_activity, INTERVAL '1 minute', INTERVAL '1 minute')", "number of arguments", "tumble(source, INTERVAL"),
        ("tumble('user_activity', INTERVAL '1 minute')", "first argument", "tumble(source"),
        ("tumble(user_activity, size => INTERVAL '1 minute')", "no argument named 'size'", "tumble(source"),
        ("hop(user_activity, INTERVAL '5 minutes', INTERVAL '1 minute')", "slide is longer", "slide before the size"),
        ("hop(user_activity, INTERVAL '5 minutes')", "number of arguments", "hop(source"),
        ("session(user_activity, INTERVAL '5 minutes')", "at least one key", "session(source"),
        ("session(user_activity, INTERVAL '5 minutes', user_id)", "grouped by ()", "session("),
        ("session(user_activity, INTERVAL '5 minutes', usr_id)", "unknown column 'usr_id'", "user_id"),
        ("session(user_activity, INTERVAL '5 minutes', user_id, max_duration => INTERVAL '1 month')", "max_duration", "days"),
        ("tumble(lookup, INTERVAL '5 minutes')", "no time column", "declaration"),
        ("tumble(user_activity, INTERVAL '1 minute') WHERE window_start > event_time", "mixes", "AND"),
    ];
    for (from, problem, remedy) in cases {
        check(&[(&format!("SELECT window_start, window_end, count(*) AS n FROM {from} {group}"), problem, remedy)]);
    }
    check(&[
        ("SELECT * FROM tumble(user_activity, INTERVAL '1 minute')", "tumble() without GROUP BY", "GROUP BY window_start"),
        (
            "SELECT user_id, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY user_id",
            "without its window",
            "window_start",
        ),
        ("SELECT count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute')", "without its window", "window_start"),
        (
            "SELECT window_start, page_url, count(*) AS n FROM session(user_activity, INTERVAL '5 minutes', user_id) GROUP BY window_start, window_end, page_url",
            "kept for each (user_id), but grouped by (page_url)",
            "session(…, page_url)",
        ),
        (
            "SELECT window_start, sum(EXTRACT(EPOCH FROM window_end)) AS x FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start",
            "window's bounds",
            "outside of the aggregate",
        ),
        (
            "SELECT window_start, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start, event_time - window_start",
            "mixes",
            "separately",
        ),
        (
            "SELECT window_start, processing_time() AS p FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start",
            "a group has many",
            "max(processing_time())",
        ),
    ]);
}

#[test]
fn windows_over_row_wise_views() {
    let counts = "SELECT window_start, window_end, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start, window_end";
    for (inner, problem, remedy) in [
        (
            "SELECT user_id FROM user_activity",
            "needs the time column 'event_time' of 'user_activity'",
            "select event_time there as it is",
        ),
        ("SELECT event_time + INTERVAL '1 day' AS event_time FROM user_activity", "needs the time column", "as it is"),
    ] {
        let error = job(&[inner, "SELECT window_start, count(*) AS n FROM tumble(a, INTERVAL '1 minute') GROUP BY window_start"]);
        let error = error.expect_err(inner);
        assert!(error.view == "b" && error.problem.contains(problem) && error.remedy.contains(remedy), "{error}");
    }
    let error = job(&[counts, "SELECT n, processing_time() AS p FROM a"]).expect_err("no event");
    assert!(error.problem.contains("'a' is a view"), "{error}");
}

#[test]
fn emit_final_needs_windows_that_close() {
    let emit = |sql: &str| plan(&sources(), &[ViewDefinition { emit: Emit::Final, ..definition("v", sql) }]);
    for sql in ["SELECT * FROM user_activity", "SELECT user_id, count(*) AS n FROM user_activity GROUP BY user_id"] {
        let error = emit(sql).expect_err(sql);
        assert!(error.problem.contains("emit = \"final\"") && error.remedy.contains("tumble"), "{error}");
    }
    let windows = "SELECT window_start, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start";
    assert_eq!(emit(windows).expect("planned").views[0].emit, Emit::Final);
}

#[test]
fn long_expressions_neither_crash_nor_hang() {
    for sql in [
        format!("SELECT fee {} AS x FROM payments", "+ 1 ".repeat(5_000)),
        format!("SELECT {}fee{} AS x FROM payments", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT fee AS x FROM payments WHERE {} ok", "NOT ".repeat(5_000)),
        format!("SELECT fee AS x FROM payments WHERE ok {}", "AND fee > 1 OR ok ".repeat(2_000)),
    ] {
        let error = refusal(&sql);
        assert!(
            error.contains("nested more than 400 deep") || error.contains("nested too deep") || error.contains("Line: 1"),
            "{error}"
        );
    }
}

#[test]
fn the_deepest_expressions_are_evaluated() {
    let more = "+ 1 ".repeat(380);
    let first = format!("SELECT ts, fee {more} AS fee FROM payments");
    let second = format!("SELECT ts, fee {more} AS fee FROM a");
    let third = format!("SELECT ts, fee {more} AS fee FROM b");
    let plan = job(&[&first, &second]).expect("planned");
    assert!(run(map(&plan.views[1]), &one_payment())[0].ends_with(" 763"));
    let error = job(&[&first, &second, &third]).expect_err("too deep").to_string();
    assert!(error.contains("nested too deep"), "{error}");
}
