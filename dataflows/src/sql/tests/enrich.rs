//! Joins of streams with tables: the streams that they make, what reads them, and what is refused.

use super::*;
use crate::explain;
use crate::plan::{Derived, Input, TablePlan};
use crate::sql::{Functions, Inputs, plan_with};

fn inputs() -> Inputs {
    let table = |name: &str, columns: &[(&str, &str)], key: &[usize]| TablePlan {
        name: name.to_owned(),
        columns: source(name, columns, None).columns,
        key: key.to_vec(),
    };
    let users = table("users", &[("user_id", "varchar(50)"), ("segment", "varchar(9)"), ("since", "timestamp")], &[0]);
    let rates = table("rates", &[("rate", "double"), ("account", "bigint"), ("country", "text")], &[2, 1]);
    Inputs { sources: sources(), tables: vec![users, rates] }
}

fn enriching(views: &[&str]) -> Result<Plan, PlanError> {
    let names = ["a", "b", "c", "d", "e"];
    let views: Vec<_> = names.iter().zip(views).map(|(name, sql)| definition(name, sql)).collect();
    plan_with(&inputs(), &views, &Functions::new())
}

/// The streams that a plan makes.
fn streams(plan: &Plan) -> Vec<(&str, &Derived)> {
    let made = plan.sources[sources().len()..].iter();
    made.map(|stream| (stream.name.as_str(), stream.derived.as_ref().expect("made from others"))).collect()
}

#[test]
fn a_join_with_a_table_is_a_stream_that_others_read() {
    let plan = enriching(&[
        "SELECT c.*, u.segment FROM user_activity c LEFT JOIN users u ON c.user_id = u.user_id",
        "SELECT window_start, window_end, segment, count(*) AS n FROM tumble(a, INTERVAL '1 minute') GROUP BY window_start, window_end, segment",
        "SELECT event_time, segment FROM dedupe(a, user_id, INTERVAL '1 hour')",
        "SELECT segment, count(*) AS n FROM user_activity LEFT JOIN users USING (user_id) GROUP BY segment",
    ])
    .expect("planned");
    let activity = Derived::Enrich { input: Input::Source(0), table: 0, keys: vec![1], only_matched: false };
    let streams = streams(&plan);
    assert_eq!(streams[0], ("enrich(user_activity, users)", &activity));
    assert_eq!(streams[1].0, "dedupe(a, user_id, 3600 s)");
    assert_eq!(streams.len(), 2, "two joins that are alike are one");
    let [a, b, ..] = plan.views.as_slice() else { panic!("four views") };
    let expected =
        ["event_time timestamp", "user_id varchar(50)", "page_url varchar(255)", "event_type text", "segment varchar(9)"];
    assert_eq!(columns(a), expected);
    assert_eq!((a.table.appends, a.table.time_column, key(a)), (true, Some(0), vec![]));
    assert_eq!((key(b), b.inputs[0]), (vec!["window_start", "segment"], Input::Source(sources().len())));
    assert_eq!(plan.sources_of(b.inputs[0]).into_iter().collect::<Vec<_>>(), [0]);
    assert_eq!(plan.partitions(b.inputs[0], &|_| vec![0, 3]), [0, 3]);
}

#[test]
fn the_table_may_stand_on_either_side_and_its_key_in_any_order() {
    let plan = enriching(&[
        "SELECT p.account, r.account AS of_rate, rate, r.country FROM rates r JOIN payments p \
         ON p.account = r.account AND r.country = 'DE' AND r.rate > p.score",
        "SELECT rate FROM rates RIGHT JOIN payments ON rates.account = payments.account AND rates.country = CAST(payments.fee AS text)",
    ])
    .expect("planned");
    let streams = streams(&plan);
    let names: Vec<_> = streams.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["enrich(a$1, rates)", "enrich(b$1, rates)"], "what equals the key is computed first");
    let Derived::Enrich { keys, only_matched: true, .. } = streams[0].1 else { panic!("{streams:?}") };
    assert_eq!(*keys, [6, 1], "the constant stands behind the six columns of the payments");
    assert!(matches!(streams[1].1, Derived::Enrich { only_matched: false, .. }));
    let shown = plan.views.iter().find(|view| view.table.name == "a").expect("view a");
    assert_eq!(columns(shown), ["account bigint", "of_rate bigint", "rate double", "country text"]);
    assert_eq!(columns(&plan.views[0])[6..], ["key.country text"]);
    assert_eq!(texts(&map(shown).project)[..2], ["account", "\"rates.account\""]);
    assert_eq!(map(shown).filter.as_ref().expect("a filter").text, "score < rate");
}

#[test]
fn a_row_for_which_the_other_conditions_do_not_hold_is_none() {
    let plan =
        enriching(&["SELECT user_id, page_url, s FROM (SELECT c.user_id, c.page_url, u.segment AS s FROM user_activity c \
         LEFT JOIN users u ON u.user_id = c.user_id AND u.since < c.event_time AND c.event_type = 'click') AS x"])
        .expect("planned");
    let [.., shown] = plan.views.as_slice() else { panic!("a view") };
    let since = times(&[0, 40 * SECOND, 0]);
    let row = batch(
        activity().columns()[..4]
            .iter()
            .cloned()
            .chain([words(&["ann", "bob", "ann"]), words(&["x", "y", "z"]), since])
            .chain([times(&[0; 3])])
            .collect(),
    );
    assert_eq!(run(map(shown), &row), ["ann / ∅", "bob /cart ∅", "ann / ∅"]);
    let since = times(&[0, 20 * SECOND, 0]);
    let row = batch(row.columns()[..6].iter().cloned().chain([since, times(&[0; 3])]).collect());
    assert_eq!(run(map(shown), &row), ["ann / ∅", "bob /cart y", "ann / ∅"]);
}

#[test]
fn streams_may_meet_several_tables_and_be_united() {
    let plan = enriching(&[
        "SELECT p.ts, u.segment, r.rate FROM payments p LEFT JOIN users u ON u.user_id = CAST(p.account AS text) \
         JOIN rates r ON r.account = p.account AND r.country = u.segment",
        "SELECT ts, segment FROM a UNION ALL SELECT c.event_time, u.segment FROM user_activity c JOIN users u ON u.user_id = c.user_id",
    ])
    .expect("planned");
    let names: Vec<_> = streams(&plan).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["enrich(a$1, users)", "enrich(a$2, rates)", "enrich(user_activity, users)", "union(b$1, b$2)"]);
    let graph = explain::graphviz(&plan);
    assert!(graph.contains("\"table users\" -> \"source enrich(user_activity, users)\""), "{graph}");
    let text = explain::text(&plan);
    for line in ["table rates (key: country, account)", "join with the version of users in force, on user_id = user_id, no state"]
    {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_key_that_dedupe_keeps_unique_stays_so_beside_a_table() {
    let sql = "SELECT d.user_id, u.segment FROM dedupe(user_activity, user_id, INTERVAL '1 hour') AS d LEFT JOIN users u ON u.user_id = d.user_id";
    for (key, warnings) in [("user_id", 0), ("segment", 1)] {
        let view = ViewDefinition { key: vec![key.to_owned()], ..definition("v", sql) };
        let plan = plan_with(&inputs(), &[view], &Functions::new()).expect("planned");
        assert_eq!(plan.views[0].warnings.len(), warnings, "{:?}", plan.views[0].warnings);
    }
}

#[test]
fn what_no_stream_can_be_made_of_is_refused_with_the_way_out() {
    let grouped = "SELECT page_url, user_id, count(*) AS n FROM user_activity GROUP BY page_url, user_id";
    for (sql, problem, remedy) in [
        ("SELECT user_id FROM users", "'users' is a table", "LEFT JOIN users ON users.user_id = …"),
        ("SELECT code FROM lookup, users WHERE code = user_id", "nothing in ON equals user_id", "write ON"),
        (
            "SELECT code FROM lookup JOIN rates ON code = country",
            "nothing in ON equals account, of the key of the table 'rates'",
            "(country, account)",
        ),
        ("SELECT fee FROM payments JOIN users ON user_id = account", "nothing in ON equals user_id", "an expression of its type"),
        ("SELECT n FROM a JOIN users ON a.user_id = users.user_id", "'a' is aggregated or joined", "in a row-wise view"),
        (
            "SELECT segment, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') AS t JOIN users u ON u.user_id = t.user_id GROUP BY segment",
            "'user_activity' is cut into windows",
            "join the stream with the table first",
        ),
        ("SELECT segment FROM users LEFT JOIN lookup ON user_id = code", "that no record has met", "LEFT JOIN users ON"),
        ("SELECT segment FROM users FULL JOIN lookup ON user_id = code", "that no record has met", "LEFT JOIN users ON"),
        ("SELECT label FROM lookup WHERE code IN (SELECT user_id FROM users)", "'users' is a table", "join a stream with it"),
        (
            "SELECT label FROM lookup WHERE EXISTS (SELECT 1 FROM users WHERE code = user_id)",
            "'users' is a table",
            "join a stream with it",
        ),
        ("SELECT rate FROM users JOIN rates ON user_id = country", "joined with one another", "join a stream with the one"),
        (
            "SELECT s FROM lookup JOIN (SELECT user_id, segment AS s FROM users) AS u ON code = u.user_id",
            "'users' is a table",
            "as it is",
        ),
        (
            "SELECT window_start FROM tumble(users, INTERVAL '1 minute') GROUP BY window_start",
            "'users' is a table",
            "join a stream",
        ),
    ] {
        let error = enriching(&[grouped, sql]).expect_err(problem).to_string();
        assert!(error.contains(problem) && error.contains(remedy), "{error}\n{sql}");
    }
}
