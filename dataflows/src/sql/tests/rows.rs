//! Views that keep rows whole: the first ones of each partition, different ones, those of several views.

use super::*;
use crate::lower::{Role, lower};
use crate::plan::{Input, Order, TimeBound};
use crate::state::Shape;

const COUNTS: &str = "SELECT window_start, window_end, page_url, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') \
     GROUP BY window_start, window_end, page_url";

fn top(condition: &str) -> String {
    format!(
        "SELECT window_start, page_url, n, place FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY n DESC, page_url) \
         AS place FROM a) AS ranked WHERE {condition}"
    )
}

#[test]
fn the_first_rows_of_each_partition_are_a_view_that_closes_with_it() {
    for (condition, limit) in
        [("place <= 3", 3), ("place < 3", 2), ("3 >= place AND n > 1", 3), ("place = 1", 1), ("place BETWEEN 2 AND 4", 4)]
    {
        let plan = job(&[COUNTS, &top(condition)]).expect("planned");
        let Some(Body::Rank(ranking)) = plan.views.iter().map(|view| &view.body).find(|body| matches!(body, Body::Rank(_)))
        else {
            panic!("nothing is ranked: {condition}")
        };
        assert_eq!(ranking.limit, limit, "{condition}");
        let order = |column, descending, nulls_first| Order { column, descending, nulls_first };
        assert_eq!(ranking.order, [order(3, true, true), order(2, false, false)]);
        assert_eq!(
            (texts(&ranking.partition), ranking.time_bound),
            (vec!["window_end"], Some(TimeBound { column: 0, slack: 0, last: -1 }))
        );
        let view = plan.views.last().expect("a view");
        assert_eq!(columns(view), ["window_start timestamp", "page_url varchar(255)", "n bigint", "place bigint"]);
        assert_eq!(key(view), ["window_start", "page_url"], "as in what is ranked");
        assert!(plan.views.iter().all(|view| view.warnings.is_empty()));
        let lowered = lower(&plan);
        let is_ranking = |fold: &&crate::lower::Fold| matches!(fold.components[0].role, Role::Ranks { .. });
        assert_eq!(lowered.folds.iter().find(is_ranking).expect("a fold").components[0].shape, Shape::Ranking(limit));
    }
}

#[test]
fn ranked_rows_may_be_known_by_their_ranks() {
    let ranked = |key: &[&str]| {
        let key = key.iter().map(|column| (*column).to_owned()).collect();
        let sql = "SELECT window_end, page_url, place FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY n) AS place FROM a) \
                   AS r WHERE place <= 3";
        plan(&sources(), &[definition("a", COUNTS), ViewDefinition { key, ..definition("b", sql) }])
    };
    assert_eq!(key(&ranked(&["window_end", "place"]).expect("planned").views[3]), ["window_end", "place"]);
    assert!(ranked(&["place"]).expect_err("several windows").to_string().contains("does not identify a row"));
}

#[test]
fn rankings_that_say_too_little_are_refused() {
    let bound = "nothing says how many of the ranked rows are wanted";
    let over =
        |over: &str| format!("SELECT page_url, place FROM (SELECT page_url, ROW_NUMBER() OVER ({over}) AS place FROM a) AS r");
    for (sql, words) in [
        (over("ORDER BY n"), bound),
        (over("ORDER BY n") + " WHERE place > 3", bound),
        (over("PARTITION BY page_url") + " WHERE place <= 3", "without ORDER BY"),
        (over("ORDER BY n") + " WHERE place <= 0", "ranks begin with 1"),
        (
            over("ORDER BY n").replace("FROM a)", "FROM user_activity)").replace("BY n", "BY event_time") + " WHERE place <= 3",
            "a stream",
        ),
        (format!("SELECT place, count(*) AS m FROM ({}) AS x GROUP BY place", over("ORDER BY n")), bound),
    ] {
        let error = job(&[COUNTS, &sql]).expect_err(&sql).to_string();
        assert!(error.contains(words), "{sql}\n{error}");
    }
    let for_ever = job(&[COUNTS, &(over("ORDER BY n") + " WHERE place <= 3")]).expect("planned");
    assert!(for_ever.views.iter().any(|view| view.warnings.iter().any(|warning| warning.contains("keeps all rows for ever"))));
}

#[test]
fn different_rows_are_groups() {
    let plan =
        job(&[COUNTS, "SELECT DISTINCT page_url, window_end FROM a WHERE n > 1", "SELECT DISTINCT user_id FROM user_activity"]);
    let plan = plan.expect("planned");
    assert_eq!(texts(&aggregation(&plan.views[1]).keys), ["page_url", "window_end"]);
    assert_eq!((key(&plan.views[1]), plan.views[1].warnings.len()), (vec!["page_url", "window_end"], 0));
    assert_eq!((key(&plan.views[2]), plan.views[2].warnings.len()), (vec!["user_id"], 1));
}

#[test]
fn rows_of_several_views_are_told_apart_by_a_constant() {
    let plan = job(&[
        COUNTS,
        "SELECT window_start, window_end, page_url, sum(n) AS n FROM a GROUP BY window_start, window_end, page_url",
        "SELECT 'one' AS what, window_start, window_end, page_url, n FROM a \
         UNION ALL SELECT 'two', window_start, window_end, page_url, n FROM b",
        "SELECT window_end, n FROM a UNION SELECT window_end, n FROM b",
    ])
    .expect("planned");
    let view = |name: &str| plan.views.iter().find(|view| view.table.name == name).expect("a view");
    assert_eq!(key(view("c")), ["what", "window_start", "page_url", "window_end"], "what tells the rows of each part apart");
    assert_eq!(columns(view("c"))[3..], ["page_url varchar(255)", "n bigint"]);
    assert_eq!(texts(&aggregation(view("d")).keys), ["window_end", "n"], "UNION alone keeps each row once");
    assert!(view("d").warnings.is_empty(), "window_end bounds both parts");
    let unions = plan.views.iter().filter(|view| matches!(view.body, Body::Union));
    assert!(unions.clone().all(|union| union.inputs.iter().all(|input| matches!(input, Input::View(_)))) && unions.count() == 2);
    let mixed =
        job(&[COUNTS, "SELECT page_url FROM a UNION ALL SELECT page_url FROM user_activity"]).expect_err("mixed").to_string();
    assert!(mixed.contains("UNION ALL takes the records of streams, but 'a' is aggregated"), "{mixed}");
}
