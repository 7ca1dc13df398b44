//! The tables as they are in the database, compared with what they have to be.

use std::collections::BTreeMap;
use std::fmt::Debug;

use postgres::Client;

use super::late::Late;
use super::topic::Topic;
use super::views;

/// How a table differs from what the oracle computes.
#[derive(Debug, Default)]
pub struct Difference {
    /// Rows that have to be there and are not, or not so.
    pub missing: usize,
    /// Rows that are there and should not be, or not so.
    pub surplus: usize,
    /// The first of them, for a person.
    pub examples: Vec<String>,
}

/// Fails unless the three tables are the oracle's, row by row.
pub fn check_tables(client: &mut Client, topic: &Topic, late: &Late) {
    for (table, difference) in compare_tables(client, topic, late) {
        assert!(difference.is_none(), "{table} differs:\n{}", difference.unwrap_or_default().examples.join("\n"));
    }
}

/// Compares the three tables with the oracle's, row by row.
pub fn compare_tables(client: &mut Client, topic: &Topic, late: &Late) -> Vec<(&'static str, Option<Difference>)> {
    let query = |columns: &str, table: &str| format!("SELECT {columns} FROM {table}");
    let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::bigint");
    let window = format!("{}, {}", micros("window_start"), micros("window_end"));

    let rows =
        client.query(&query(&format!("{window}, page_url, view_count"), "page_view_counts"), &[]).expect("page_view_counts");
    let found = rows.iter().map(|r| ((r.get(0), r.get(1), r.get(2)), r.get(3))).collect();
    let pages = compare(&found, &views::page_views(topic, late));

    let rows = client.query(&query(&format!("{window}, active_users_count"), "active_users"), &[]).expect("active_users");
    let found = rows.iter().map(|r| ((r.get(0), r.get(1)), r.get(2))).collect();
    let users = compare(&found, &views::active_users(topic, late));

    let columns = format!("user_id, {}, {}, session_duration_seconds", micros("session_start_time"), micros("session_end_time"));
    let rows = client.query(&query(&columns, "user_sessions"), &[]).expect("user_sessions");
    let found = rows.iter().map(|r| ((r.get(0), r.get(1)), (r.get(2), r.get(3)))).collect();
    let sessions = compare(&found, &views::sessions(topic, late));

    vec![("page_view_counts", pages), ("active_users", users), ("user_sessions", sessions)]
}

fn compare<K: Ord + Debug, V: PartialEq + Debug>(found: &BTreeMap<K, V>, expected: &BTreeMap<K, V>) -> Option<Difference> {
    assert!(!expected.is_empty(), "the oracle has rows");
    let missing: Vec<_> = expected.iter().filter(|&(key, value)| found.get(key) != Some(value)).collect();
    let surplus: Vec<_> = found.iter().filter(|&(key, value)| expected.get(key) != Some(value)).collect();
    let examples = missing.iter().take(5).map(|(k, v)| format!("not there: {k:?} {v:?}"));
    let examples = examples.chain(surplus.iter().take(5).map(|(k, v)| format!("too much: {k:?} {v:?}"))).collect();
    let difference = Difference { missing: missing.len(), surplus: surplus.len(), examples };
    (difference.missing + difference.surplus > 0).then_some(difference)
}

/// Fails unless the dead letters are the topic's malformed records, each once.
pub fn check_dead_letters(client: &mut Client, topic: &Topic) {
    let expected: Vec<_> = topic.bad.iter().copied().collect();
    assert_eq!(dead_letters(client), expected, "the dead letters are the malformed records");
}

/// Reads partition and offset of each dead letter, sorted.
pub fn dead_letters(client: &mut Client) -> Vec<(i32, i64)> {
    let query = r#"SELECT "partition"::int, "offset"::bigint FROM freshet.dead_letters ORDER BY 1, 2"#;
    let rows = client.query(query, &[]).expect("freshet.dead_letters can be read");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
