//! Streams that are made from others: which there are, what is shared, and what is refused.

use super::*;
use crate::plan::{Derived, Input};

/// The streams that a plan makes, by their names.
fn streams(plan: &Plan) -> Vec<&str> {
    plan.sources[sources().len()..].iter().map(|stream| stream.name.as_str()).collect()
}

fn derived(plan: &Plan, index: usize) -> &Derived {
    plan.sources[sources().len() + index].derived.as_ref().expect("a stream made from others")
}

#[test]
fn dedupe_makes_a_stream_of_a_source_or_a_row_wise_view_and_all_that_read_it_share_it() {
    let plan = job(&[
        "SELECT event_time, user_id AS who FROM user_activity WHERE event_type = 'page_view'",
        "SELECT * FROM dedupe(a, who, event_time, INTERVAL '1 hour')",
        "SELECT window_start, count(*) AS n FROM tumble(b, INTERVAL '1 minute') GROUP BY window_start",
        "SELECT who FROM dedupe(a, who, event_time, INTERVAL '1 hour') WHERE who <> 'ann'",
        "SELECT account FROM dedupe(payments, account, INTERVAL '1 day')",
    ])
    .expect("planned");
    assert_eq!(streams(&plan), ["dedupe(a, who, event_time, 3600 s)", "dedupe(payments, account, 86400 s)"]);
    let within = 3600 * SECOND;
    assert_eq!(*derived(&plan, 0), Derived::Dedupe { input: Input::View(0), keys: vec![1, 0], within });
    let first = Input::Source(sources().len());
    let reads: Vec<_> = plan.views.iter().map(|view| view.inputs[0]).collect();
    assert_eq!(reads[1..4], [first; 3], "what works row by row is put into what reads it");
    assert_eq!(plan.sources_of(reads[2]).into_iter().collect::<Vec<_>>(), [0]);
    assert_eq!(columns(&plan.views[1]), ["event_time timestamp", "who varchar(50)"]);
    assert_eq!(plan.views[1].table.time_column, Some(0));
}

#[test]
fn a_part_of_a_query_becomes_a_hidden_view_that_a_stream_reads() {
    let plan = job(&["WITH clean AS (SELECT event_time, lower(user_id) AS who FROM user_activity) \
         SELECT who, processing_time() AS seen FROM dedupe(clean, who, INTERVAL '1 minute')"])
    .expect("planned");
    let [hidden, shown] = plan.views.as_slice() else { panic!("two views") };
    assert_eq!((hidden.table.name.as_str(), hidden.part_of.as_deref()), ("a$1", Some("a")));
    assert_eq!(streams(&plan), ["dedupe(a$1, who, 60 s)"]);
    assert_eq!(columns(shown), ["who text", "seen timestamp"]);
    assert_eq!(plan.passed_by(sources().len()), [Input::Source(sources().len()), Input::View(0), Input::Source(0)]);
}

#[test]
fn union_all_brings_the_columns_of_streams_together_by_their_places() {
    let plan = job(&[
        "SELECT event_time, user_id AS name, 'web' AS origin FROM user_activity \
         UNION ALL SELECT ts, CAST(account AS text), NULL FROM payments WHERE ok",
        "SELECT window_start, origin, count(*) AS n FROM tumble(a, INTERVAL '1 minute') GROUP BY window_start, origin",
        "SELECT name FROM dedupe(a, name, INTERVAL '1 minute')",
    ])
    .expect("planned");
    assert_eq!(streams(&plan), ["union(a$1, a$2)", "dedupe(a, name, 60 s)"]);
    let shown = plan.views.iter().find(|view| view.table.name == "a").expect("view a");
    assert_eq!(columns(shown), ["event_time timestamp", "name text", "origin text"]);
    assert_eq!(shown.table.time_column, Some(0));
    assert_eq!(plan.sources_of(shown.inputs[0]).into_iter().collect::<Vec<_>>(), [0, 1]);
    let of = |source: usize| if source == 0 { vec![0, 1, 2] } else { vec![0, 5] };
    assert_eq!(plan.partitions(shown.inputs[0], &of), [0, 2, 4, 1, 11]);
}

#[test]
fn a_key_that_dedupe_keeps_unique_needs_no_warning() {
    let sql = "SELECT user_id, event_time, page_url FROM dedupe(user_activity, user_id, INTERVAL '1 hour')";
    for (key, warnings) in [(vec!["user_id"], 0), (vec!["event_time", "user_id"], 0), (vec!["page_url"], 1)] {
        let key = key.into_iter().map(str::to_owned).collect();
        let plan = plan(&sources(), &[ViewDefinition { key, ..definition("v", sql) }]).expect("planned");
        assert_eq!(plan.views[0].warnings.len(), warnings, "{:?}", plan.views[0].warnings);
    }
}

#[test]
fn what_can_be_no_stream_is_refused_with_the_way_out() {
    let grouped = "SELECT page_url, count(*) AS n FROM user_activity GROUP BY page_url";
    for (sql, problem, remedy) in [
        ("SELECT * FROM dedupe(lookup, code, INTERVAL '1 hour')", "needs the event time of 'lookup'", "declare a watermark"),
        ("SELECT * FROM dedupe(a, page_url, INTERVAL '1 hour')", "'a' is aggregated", "dedupe the source first"),
        ("SELECT * FROM dedupe(user_activity, lower(user_id), INTERVAL '1 hour')", "is no column", "select it under a name"),
        ("SELECT * FROM dedupe(user_activity, INTERVAL '1 hour')", "at least one key", "dedupe(source, key"),
        ("SELECT * FROM dedupe(user_activity, user_id)", "the last argument", "dedupe(source, key"),
        ("SELECT n FROM a UNION ALL SELECT account FROM payments", "'a' is aggregated", "unite the sources first"),
    ] {
        let error = job(&[grouped, sql]).expect_err(problem).to_string();
        assert!(error.contains(problem) && error.contains(remedy), "{error}");
    }
}
