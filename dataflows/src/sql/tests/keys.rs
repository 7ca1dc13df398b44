//! Keys that the job gives.

use super::*;

const BY_PAGE: &str = "SELECT window_start, window_end, page_url, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') \
     GROUP BY window_start, window_end, page_url";
const SESSIONS: &str = "SELECT user_id, window_start AS began, window_end AS ended \
     FROM session(user_activity, INTERVAL '5 minutes', user_id) GROUP BY window_start, user_id";

fn keyed(sql: &str, key: &[&str]) -> Result<Vec<usize>, String> {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    let mut plan = plan(&sources(), &[ViewDefinition { key, ..definition("v", sql) }]).map_err(|e| e.to_string())?;
    Ok(plan.views.remove(0).table.key)
}

#[test]
fn a_key_that_identifies_a_row_is_taken_as_given() {
    assert_eq!(keyed(BY_PAGE, &["page_url", "window_start"]), Ok(vec![2, 0]));
    assert_eq!(keyed(BY_PAGE, &["WINDOW_END", "page_url"]), Ok(vec![1, 2]));
    assert_eq!(keyed(SESSIONS, &["user_id", "began"]), Ok(vec![0, 1]));
    assert_eq!(keyed(SESSIONS, &["ended", "user_id"]), Ok(vec![2, 0]));
}

#[test]
fn a_key_that_rows_could_share_is_refused() {
    for (sql, key, words) in [
        (BY_PAGE, vec!["window_start"], "add 'page_url' to the key"),
        (BY_PAGE, vec!["page_url"], "lacks window_start or window_end; add 'window_start' to the key"),
        (SESSIONS, vec!["user_id"], "add 'began' to the key"),
        (BY_PAGE, vec!["window_start", "page"], "did you mean 'page_url'?"),
        (BY_PAGE, vec!["page_url", "page_url", "window_start"], "twice"),
        (
            "SELECT lower(page_url) AS p, count(*) AS n FROM user_activity GROUP BY page_url",
            vec!["p"],
            "select page_url as a column of its own",
        ),
    ] {
        let error = keyed(sql, &key).expect_err(words);
        assert!(error.contains(words) && error.starts_with("view 'v': "), "{error}");
    }
}

#[test]
fn a_view_that_works_row_by_row_may_have_any_key_and_says_what_that_means() {
    let definition = ViewDefinition { key: vec!["user_id".to_owned()], ..definition("v", "SELECT * FROM user_activity") };
    let plan = plan(&sources(), &[definition]).expect("planned");
    assert_eq!((key(&plan.views[0]), plan.views[0].table.appends), (vec!["user_id"], true));
    assert!(plan.views[0].warnings[0].contains("differ by (user_id)"), "{:?}", plan.views[0].warnings);
    let none = view("SELECT * FROM user_activity");
    assert_eq!((key(&none), none.table.keeps_all(), none.warnings.len()), (vec![], true, 0));
}

#[test]
fn a_group_column_that_is_not_selected_leaves_no_key() {
    let error =
        refusal("SELECT page_url, count(*) AS n FROM tumble(user_activity, INTERVAL '1 minute') GROUP BY window_start, page_url");
    assert!(error.contains("no column of the view holds window_start or window_end"), "{error}");
    let error = refusal("SELECT count(*) AS n FROM user_activity GROUP BY page_url");
    assert!(error.contains("no column of the view holds page_url"), "{error}");
}

#[test]
fn one_row_over_everything_is_keyed_by_a_constant() {
    let view = view("SELECT 'all' AS scope, count(*) AS n FROM user_activity GROUP BY scope");
    assert_eq!(key(&view), ["scope"]);
}

#[test]
fn a_key_of_a_narrower_type_is_still_the_key() {
    let view = view(
        "SELECT CAST(event_time AS DATE) AS day, EXTRACT(HOUR FROM event_time) AS hour, count(*) AS n FROM user_activity GROUP BY 1, 2",
    );
    assert_eq!(key(&view), ["day", "hour"]);
    assert_eq!(columns(&view), ["day timestamp", "hour bigint", "n bigint"]);
    let body = aggregation(&view);
    assert_eq!(body.keys.iter().map(|k| k.data_type.clone()).collect::<Vec<_>>(), [TIME, DataType::Int64]);
    let hours: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![9]));
    let row = batch(vec![times(&[86_400 * SECOND]), Arc::clone(&hours), hours]);
    assert_eq!(run(&body.output, &row), ["1970-01-02T00:00:00 9 9"]);
}

#[test]
fn a_cast_of_a_key_is_not_the_key() {
    let error = refusal("SELECT CAST(event_time AS DATE) AS day, count(*) AS n FROM user_activity GROUP BY event_time");
    assert!(error.contains("no column of the view holds event_time"), "{error}");
}

#[test]
fn expressions_over_keys_of_a_narrower_type_keep_their_meaning() {
    let view = view(
        "SELECT CAST(event_time AS DATE) AS day, EXTRACT(DOW FROM CAST(event_time AS DATE)) AS dow, count(*) AS n \
         FROM user_activity GROUP BY CAST(event_time AS DATE)",
    );
    let n: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
    assert_eq!(run(&aggregation(&view).output, &batch(vec![times(&[0]), n])), ["1970-01-01T00:00:00 4 1"]);
}
