//! Joins: their keys, their bounds on time, what each side keeps, what tells their rows apart, and what is refused.

use super::*;
use crate::plan::{Input, JoinKind, TimeBound};

const HOUR: i64 = 3600 * SECOND;

/// Clicks and payments of an account, at most an hour apart.
const INTERVAL_JOIN: &str = "SELECT c.\"userId\" AS user_id, c.\"eventTime\" AS clicked, p.ts AS paid, p.amount \
     FROM \"Clicks\" AS c JOIN payments AS p ON c.\"userId\" = CAST(p.account AS TEXT) \
     AND p.ts BETWEEN c.\"eventTime\" AND c.\"eventTime\" + INTERVAL '1 hour' WHERE p.ok";

fn side(view: &View, number: usize) -> (Vec<&str>, Vec<&str>, Option<&str>) {
    let side = &join(view).sides[number];
    (texts(&side.keys), texts(&side.columns), side.filter.as_ref().map(|filter| filter.text.as_str()))
}

#[test]
fn two_streams_with_a_bound_on_their_times() {
    let view = view(INTERVAL_JOIN);
    assert_eq!(view.inputs, [Input::Source(4), Input::Source(1)]);
    assert_eq!(side(&view, 0), (vec!["\"userId\""], vec!["\"eventTime\"", "\"userId\""], None));
    assert_eq!(side(&view, 1), (vec!["CAST(account AS Utf8)"], vec!["ts", "amount"], Some("ok")), "only what is needed");
    let rule = join(&view).rule;
    assert_eq!((rule.kind, rule.band, rule.reach), (JoinKind::Inner, (0, HOUR), Some([HOUR, 0])));
    assert_eq!(columns(&view), ["user_id text", "clicked timestamp", "paid timestamp", "amount decimal(12,2)"]);
    assert_eq!(view.time_bounds, [TimeBound { column: 1, slack: HOUR, last: 0 }, TimeBound { column: 2, slack: HOUR, last: 0 }]);
    assert_eq!(key(&view), [""; 0]);
    assert!(view.warnings[0].contains("view 'a' has no key, since nothing says"), "{:?}", view.warnings);
}

#[test]
fn a_bound_on_times_in_other_words() {
    let band = |condition: &str| {
        let sql = format!("SELECT a.ts, b.ts AS other FROM payments a JOIN payments b ON a.account = b.account AND {condition}");
        join(&view(&sql)).rule.band
    };
    let minute = 60 * SECOND;
    for (condition, expected) in [
        ("b.ts >= a.ts - INTERVAL '1 minute' AND b.ts <= a.ts + INTERVAL '2 minutes'", (-minute, 2 * minute)),
        ("b.ts > a.ts - INTERVAL '1 minute' AND b.ts < a.ts", (1 - minute, -1)),
        ("a.ts BETWEEN b.ts - INTERVAL '2 minutes' AND b.ts + INTERVAL '1 minute'", (-minute, 2 * minute)),
        ("a.ts <= b.ts AND a.ts + INTERVAL '1 minute' >= b.ts", (0, minute)),
        ("b.ts - a.ts BETWEEN INTERVAL '0 seconds' AND INTERVAL '1 minute'", (0, minute)),
        ("a.ts <= b.ts", (0, i64::MAX)),
    ] {
        assert_eq!(band(condition), expected, "{condition}");
    }
}

#[test]
fn a_join_written_with_where_is_the_same() {
    for sql in [
        "SELECT a.fee, b.score FROM payments a, payments b WHERE a.account = b.account AND a.ts = b.ts AND a.ok AND a.fee > b.fee",
        "SELECT a.fee, b.score FROM payments a CROSS JOIN payments b WHERE a.account = b.account AND a.ts = b.ts AND a.ok AND a.fee > b.fee",
        "SELECT a.fee, b.score FROM payments a JOIN payments b ON a.account = b.account AND a.ts = b.ts AND a.ok AND a.fee > b.fee",
        "SELECT a.fee, b.score FROM payments a JOIN payments b USING (account, ts) WHERE a.ok AND a.fee > b.fee",
    ] {
        let view = view(sql);
        assert_eq!(side(&view, 0), (vec!["account", "ts"], vec!["fee"], Some("ok")), "{sql}");
        assert_eq!(side(&view, 1), (vec!["account", "ts"], vec!["score", "fee"], None), "{sql}");
        assert_eq!(join(&view).output.filter.as_ref().map(|f| f.text.as_str()), Some("\"b.fee\" < \"a.fee\""), "{sql}");
        // Equal times of two streams are a bound.
        assert_eq!((join(&view).rule.band, join(&view).rule.reach), ((0, 0), Some([0, 0])), "{sql}");
    }
}

#[test]
fn aggregated_views_joined_by_their_windows_close_with_them() {
    let counts = |kind: &str| {
        format!(
            "SELECT window_start, window_end, page_url, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') \
             WHERE event_type = '{kind}' GROUP BY window_start, window_end, page_url"
        )
    };
    let plan = job(&[
        &counts("view"),
        &format!(
            "SELECT a.window_start, a.window_end, a.page_url, a.n AS views, c.n AS clicks FROM a LEFT JOIN ({}) AS c \
             ON a.window_end = c.window_end AND a.page_url = c.page_url",
            counts("click")
        ),
        "SELECT window_end, sum(clicks) AS clicks FROM b GROUP BY window_end",
    ])
    .expect("planned");
    let names: Vec<&str> = plan.views.iter().map(|view| view.table.name.as_str()).collect();
    assert_eq!(names, ["a", "b$1", "b", "c"]);
    let joined = &plan.views[2];
    assert_eq!(joined.inputs, [Input::View(0), Input::View(1)]);
    let rule = join(joined).rule;
    assert_eq!((rule.kind, rule.band, rule.reach), (JoinKind::Left, (0, 0), Some([0, 0])));
    assert_eq!(key(joined), ["window_start", "page_url"], "the right side has one row for each of the left");
    assert_eq!(joined.time_bounds, [TimeBound { column: 1, slack: 0, last: -1 }]);
    assert!(plan.views.iter().all(|view| view.warnings.is_empty()));
    assert_eq!(aggregation(&plan.views[3]).key_time_bound, Some(TimeBound { column: 0, slack: 0, last: -1 }));
}

#[test]
fn a_right_join_is_a_left_join_of_the_other_side() {
    let view = view(
        "SELECT a.fee, b.score FROM payments a RIGHT JOIN payments b ON a.account = b.account AND a.ts >= b.ts AND a.ts <= b.ts + INTERVAL '1 hour'",
    );
    let join = join(&view);
    assert_eq!((join.rule.kind, join.rule.band), (JoinKind::Left, (0, HOUR)));
    assert_eq!((texts(&join.sides[0].columns), texts(&join.sides[1].columns)), (vec!["score"], vec!["fee"]));
    assert_eq!(columns(&view), ["fee bigint", "score double"]);
}

#[test]
fn three_streams_are_joined_two_by_two() {
    let plan = job(&["SELECT a.fee AS one, b.fee AS two, c.fee AS three FROM payments a \
         JOIN payments b ON a.account = b.account AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1 hour' \
         JOIN payments c ON c.account = b.account AND c.ts BETWEEN b.ts AND b.ts + INTERVAL '1 hour'"])
    .expect("planned");
    let [inner, outer] = plan.views.as_slice() else { panic!("two views") };
    assert_eq!((inner.table.name.as_str(), inner.part_of.as_deref()), ("a$1", Some("a")));
    assert_eq!(columns(inner), ["fee bigint", "ts timestamp", "account bigint", "fee #2 bigint"]);
    assert_eq!(outer.inputs, [Input::View(0), Input::Source(1)]);
    // A pair may come until an hour after its second payment, so that the third is needed for as long.
    assert_eq!(join(outer).rule.reach, Some([HOUR, 0]));
    assert_eq!(outer.time_bounds, []);
}

#[test]
fn a_group_by_over_a_join_reads_it_as_a_hidden_view() {
    let plan = job(&["SELECT c.\"userId\" AS user_id, count(*) AS n, sum(p.amount) AS total FROM \"Clicks\" c \
         JOIN payments p ON c.\"userId\" = CAST(p.account AS TEXT) AND p.ts = c.\"eventTime\" GROUP BY c.\"userId\""])
    .expect("planned");
    assert_eq!(columns(&plan.views[0]), ["userId text", "amount decimal(12,2)"]);
    assert_eq!((plan.views[1].inputs.as_slice(), key(&plan.views[1])), (&[Input::View(0)][..], vec!["user_id"]));
    assert_eq!(plan.sources_of(Input::View(1)).into_iter().collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn in_and_exists_are_semi_and_anti_joins() {
    for (condition, kind) in [
        ("a.account IN (SELECT fee FROM payments WHERE ok)", JoinKind::Semi),
        ("EXISTS (SELECT 1 FROM payments p WHERE p.fee = a.account AND p.ok)", JoinKind::Semi),
        ("NOT EXISTS (SELECT * FROM payments p WHERE p.fee = a.account AND p.ok)", JoinKind::Anti),
    ] {
        let view = view(&format!("SELECT a.score FROM payments a WHERE a.fee > 1 AND {condition}"));
        assert_eq!(join(&view).rule.kind, kind, "{condition}");
        assert_eq!(side(&view, 0), (vec!["account"], vec!["score"], Some("fee > 1")), "{condition}");
        assert_eq!(side(&view, 1), (vec!["fee"], vec![], Some("ok")), "{condition}");
    }
    let near = view(
        "SELECT a.score FROM payments a WHERE NOT EXISTS (SELECT 1 FROM payments p WHERE p.account = a.account AND NOT p.ok \
         AND p.ts BETWEEN a.ts - INTERVAL '1 hour' AND a.ts)",
    );
    assert_eq!((join(&near).rule.band, join(&near).rule.reach), ((-HOUR, 0), Some([0, HOUR])));
}

#[test]
fn a_key_that_the_job_gives_is_trusted_and_warned_of() {
    let keyed = |sql: &str, key: &[&str]| {
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        plan(&sources(), &[ViewDefinition { key, ..definition("v", sql) }]).map(|mut plan| plan.views.remove(0))
    };
    let view = keyed(INTERVAL_JOIN, &["user_id", "paid"]).expect("planned");
    assert_eq!(view.table.key, [0, 2]);
    assert!(view.warnings[0].contains("its rows differ by (user_id, paid): of several with one key"), "{:?}", view.warnings);
    let error = keyed(INTERVAL_JOIN, &["user_id", "pay"]).expect_err("no such column");
    assert!(error.problem.contains("unknown key column 'pay'"), "{error}");
}

#[test]
fn a_join_that_keeps_its_rows_for_ever_is_warned_of() {
    for (sql, words) in [
        ("SELECT a.fee FROM payments a JOIN payments b ON a.account = b.account", "payments.ts BETWEEN payments.ts - INTERVAL"),
        (
            "SELECT a.fee FROM payments a JOIN payments b ON a.account = b.account AND b.ts >= a.ts",
            "the join of 'payments' and 'payments' by [account] in view 'a' keeps the rows of both for ever",
        ),
        ("SELECT p.fee, l.label FROM payments p JOIN lookup l ON l.code = CAST(p.fee AS TEXT)", "window_end on both sides"),
    ] {
        let view = view(sql);
        assert!(view.warnings.iter().any(|warning| warning.contains(words)), "{sql}\n{:?}", view.warnings);
    }
}

#[test]
fn joins_that_cannot_be_kept_are_refused() {
    for (sql, problem, remedy) in [
        ("SELECT u.user_id FROM user_activity u JOIN payments p ON true", "no equality", "ON a.user_id = b.user_id"),
        ("SELECT u.user_id FROM user_activity u, payments p WHERE u.event_time < p.ts", "no equality", "bound on times"),
        (
            "SELECT a.fee FROM payments a LEFT JOIN payments b ON a.account = b.account AND a.fee > b.fee",
            "a.fee\" > \"b.fee\" of an outer join",
            "WHERE",
        ),
        ("SELECT a.fee FROM payments a LEFT JOIN payments b ON a.account = b.account AND a.ok", "a.ok", "subquery in FROM"),
        ("SELECT a.fee FROM payments a FULL JOIN payments b ON a.account = b.account AND b.ok", "b.ok", "subquery in FROM"),
        ("SELECT fee FROM payments WHERE account NOT IN (SELECT fee FROM payments)", "NOT IN", "NOT EXISTS"),
        ("SELECT fee FROM payments WHERE ok OR account IN (SELECT fee FROM payments)", "inside of OR", "AND"),
        ("SELECT a.fee FROM payments a NATURAL JOIN payments b", "NATURAL", "ON"),
        ("SELECT a.fee FROM payments a FULL JOIN payments b USING (account)", "USING", "coalesce"),
        ("SELECT (SELECT max(fee) AS m FROM payments) AS x FROM user_activity", "single value", "join the view"),
        (
            "SELECT a.fee, processing_time() AS t FROM payments a JOIN payments b ON a.account = b.account",
            "a pair of a join has two",
            "subquery",
        ),
        (
            "SELECT a.fee FROM tumble(payments, INTERVAL '1 minute') a JOIN payments b ON a.account = b.account",
            "tumble() without GROUP BY",
            "GROUP BY window_start, window_end",
        ),
    ] {
        let error = job(&[sql]).expect_err(sql);
        assert!(error.problem.contains(problem) && error.remedy.contains(remedy), "{sql}\n{error}");
    }
}

#[test]
fn a_join_whose_rows_appear_once_keeps_them_until_they_are_settled() {
    let planned = |select: &str, kind: &str, key: &[&str]| {
        let sql = format!(
            "SELECT {select} FROM payments AS a {kind} JOIN payments AS b ON a.account = b.account AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1 hour'"
        );
        let key = key.iter().map(|column| (*column).to_owned()).collect();
        plan(&sources(), &[ViewDefinition { emit: Emit::Final, key, ..definition("a", &sql) }])
    };
    let plan = planned("b.ts AS paid, a.ts AS asked, a.account", "LEFT", &["account", "asked", "paid"]).expect("planned");
    let [hidden, shown] = plan.views.as_slice() else { panic!("two views") };
    assert_eq!((hidden.emit, hidden.part_of.as_deref()), (Emit::Changes, Some("a")));
    assert_eq!(join(hidden).rule.kind, JoinKind::Left);
    let bound = TimeBound { column: 1, slack: HOUR, last: 0 };
    assert_eq!((shown.emit, aggregation(shown).key_time_bound), (Emit::Final, Some(bound)), "the right side may be NULL");
    assert_eq!((key(shown), shown.trusts_key), (vec!["account", "asked", "paid"], true));
    assert_eq!(columns(shown), ["paid timestamp", "asked timestamp", "account bigint"]);
    for (select, kind, key, problem, remedy) in [
        ("b.ts AS paid, a.account", "LEFT", &["account"][..], "needs a time at which each row", "no NULLs"),
        ("b.ts AS paid, a.ts AS asked, a.account", "FULL", &["account"], "needs a time at which each row", "emit = \"changes\""),
        ("a.account, b.fee", "", &["account"], "needs a time at which each row", "select such a time"),
        ("a.ts AS asked, b.fee", "", &[], "nothing says that the rows of this join differ", "key = […]"),
    ] {
        let error = planned(select, kind, key).expect_err(select);
        assert!(error.problem.contains(problem) && error.remedy.contains(remedy), "{error}");
    }
}
