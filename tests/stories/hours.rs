//! Hours over minutes: what is said of an hour is at any instant what its minutes add up to, through kills and with other numbers of workers; sessions are
//! told of the hour in which they end, once, when no more can end there.

use std::path::Path;
use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::server::wait_for;

use super::embedded::{TABLES, open};

const LIMIT: Duration = Duration::from_secs(120);

const VIEWS: &str = r#"
[view.page_views_per_hour]
sql = """
SELECT window_start, page_url, sum(view_count) AS views, max(view_count) AS most, count(*) AS minutes
FROM tumble(page_view_counts, INTERVAL '1 hour') GROUP BY window_start, page_url
"""

[view.sessions_per_hour]
sql = """
SELECT window_start, count(*) AS sessions, max(session_duration_seconds) AS longest
FROM tumble(user_sessions, INTERVAL '1 hour') GROUP BY window_start
"""
emit = "final"

[view.busiest_minutes]
sql = """
SELECT window_start AS hour, inner_window_start AS minute, page_url, view_count
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY view_count DESC, inner_window_start, page_url) AS place
      FROM tumble(page_view_counts, INTERVAL '1 hour')) AS ranked
WHERE place <= 3
"""
"#;

/// Counts the rows in which a table and what follows from the one below it differ. One statement sees one commit.
fn differences(folder: &Path, table: &str, from_below: &str) -> Option<i64> {
    let query = format!(
        "SELECT (SELECT count(*) FROM (SELECT * FROM ({table}) EXCEPT {from_below})) \
              + (SELECT count(*) FROM (SELECT * FROM ({from_below}) EXCEPT {table}))"
    );
    open(&folder.join(TABLES))?.query_row(&query, [], |row| row.get(0)).ok()
}

fn hours(folder: &Path) -> Option<i64> {
    differences(
        folder,
        "SELECT strftime('%Y-%m-%d %H', window_start), page_url, views, most, minutes FROM page_views_per_hour",
        "SELECT strftime('%Y-%m-%d %H', window_start), page_url, sum(view_count), max(view_count), count(*) FROM page_view_counts GROUP BY 1, 2",
    )
}

fn busiest(folder: &Path) -> Option<i64> {
    let hour = "strftime('%Y-%m-%d %H', window_start)";
    differences(
        folder,
        "SELECT strftime('%Y-%m-%d %H', hour), minute, page_url, view_count FROM busiest_minutes",
        &format!(
            "SELECT hour, window_start, page_url, view_count FROM (SELECT {hour} AS hour, *, row_number() OVER \
             (PARTITION BY {hour} ORDER BY view_count DESC, window_start, page_url) AS place FROM page_view_counts) WHERE place <= 3"
        ),
    )
}

fn sessions(folder: &Path) -> Option<i64> {
    differences(
        folder,
        "SELECT strftime('%Y-%m-%d %H', window_start), sessions, longest FROM sessions_per_hour",
        "SELECT strftime('%Y-%m-%d %H', session_end_time), count(*), max(session_duration_seconds) FROM user_sessions GROUP BY 1",
    )
}

fn number(folder: &Path, query: &str) -> i64 {
    open(&folder.join(TABLES)).and_then(|tables| tables.query_row(query, [], |row| row.get(0)).ok()).unwrap_or_default()
}

#[test]
fn hours_are_what_their_minutes_add_up_to_at_any_instant_and_through_kills() {
    let all = "[\"page_view_counts\", \"active_users\", \"user_sessions\"";
    let more = format!("{all}, \"page_views_per_hour\", \"sessions_per_hour\", \"busiest_minutes\"");
    let job =
        Job::generated("events=60000&rate=6000&span=5h&seed=7&users=300&urls=8").replace(all, &more).append(VIEWS).short_epochs();
    let folder = job.folder();
    let explained = job.command("explain").succeed(LIMIT).stdout;
    assert!(explained.contains("rows in the windows in which they end, by window_end"), "{explained}");

    let mut seen = 0;
    for workers in [2, 3] {
        let mut running = job.run().args(&format!("-w {workers} --bounded")).start();
        let grows = || number(folder, "SELECT sum(views) FROM page_views_per_hour") > seen;
        assert!(wait_for(LIMIT, || grows() || !running.is_running()), "no hour grew\n{}", running.output());
        for _ in 0..30 {
            assert_eq!((hours(folder), busiest(folder)), (Some(0), Some(0)), "hours and minutes of one commit");
            std::thread::sleep(Duration::from_millis(20));
        }
        running.signal("KILL");
        seen = number(folder, "SELECT sum(views) FROM page_views_per_hour");
    }
    job.run().args("-w 1 --bounded").succeed(LIMIT);
    assert_eq!((hours(folder), busiest(folder), sessions(folder)), (Some(0), Some(0), Some(0)));
    assert!(number(folder, "SELECT count(DISTINCT window_start) FROM page_views_per_hour") >= 5, "five hours");
    assert!(number(folder, "SELECT sum(sessions) FROM sessions_per_hour") > 300);
}
