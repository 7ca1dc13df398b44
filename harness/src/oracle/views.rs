//! The three views, recomputed.

use std::collections::{BTreeMap, BTreeSet};

use super::late::Late;
use super::topic::Topic;
use super::{FIVE_MINUTES, MINUTE};

/// Counts page views: by start and end of the minute, and page.
pub(super) fn page_views(topic: &Topic, late: &Late) -> BTreeMap<(i64, i64, String), i64> {
    let mut counts = BTreeMap::new();
    for event in topic.events.iter().filter(|e| e.kind == "page_view") {
        let start = event.time.div_euclid(MINUTE) * MINUTE;
        if !late.holds("page_view_counts", event, start) {
            *counts.entry((start, start + MINUTE, event.page.clone())).or_default() += 1;
        }
    }
    counts
}

/// Counts the different users of every five minutes, by start and end.
pub(super) fn active_users(topic: &Topic, late: &Late) -> BTreeMap<(i64, i64), i64> {
    let mut users: BTreeMap<(i64, i64), BTreeSet<&str>> = BTreeMap::new();
    for event in &topic.events {
        let newest = event.time.div_euclid(MINUTE) * MINUTE;
        for start in (0..5).map(|back| newest - back * MINUTE) {
            if !late.holds("active_users", event, start) {
                users.entry((start, start + FIVE_MINUTES)).or_default().insert(&event.user);
            }
        }
    }
    users.into_iter().map(|(window, users)| (window, i64::try_from(users.len()).expect("few users"))).collect()
}

/// Finds the sessions: by user and start, the end and the whole seconds between.
pub(super) fn sessions(topic: &Topic, late: &Late) -> BTreeMap<(String, i64), (i64, i64)> {
    let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in topic.events.iter().filter(|e| !late.holds("user_sessions", e, e.time)) {
        times.entry(&event.user).or_default().push(event.time);
    }
    let mut sessions = BTreeMap::new();
    for (user, mut times) in times {
        times.sort_unstable();
        for session in times.chunk_by(|a, b| b - a <= FIVE_MINUTES) {
            let (start, end) = (session[0], session[session.len() - 1] + FIVE_MINUTES);
            sessions.insert((user.to_owned(), start), (end, (end - start) / 1_000_000));
        }
    }
    sessions
}
