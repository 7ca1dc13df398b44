//! Where every record went, recomputed and compared with the ledger.

use postgres::Client;

use super::MINUTE;
use super::late::Late;
use super::topic::{Event, Topic};

/// Checks the newest ledger row of each of the three views, and that its parts add up to what was read.
pub fn check_ledger(database: &mut Client, topic: &Topic, late: &Late) {
    let query =
        "SELECT DISTINCT ON (view) view, read::bigint, counted::bigint, filtered::bigint, late::bigint, dead_letters::bigint
                 FROM freshet.ledger ORDER BY view, epoch DESC";
    let rows = database.query(query, &[]).expect("freshet.ledger can be read");
    for view in ["page_view_counts", "active_users", "user_sessions"] {
        let row = rows.iter().find(|row| row.get::<_, &str>(0) == view).unwrap_or_else(|| panic!("the ledger lacks {view}"));
        let found: [i64; 5] = std::array::from_fn(|i| row.get(i + 1));
        let [read, counted, filtered, late_events, dead] = found;
        assert_eq!(read, counted + filtered + late_events + dead, "the ledger of {view} does not add up: {found:?}");
        assert_eq!(found, expected(view, topic, late), "read, counted, filtered, late, dead letters of {view}");
    }
}

fn expected(view: &str, topic: &Topic, late: &Late) -> [i64; 5] {
    let number = |n: usize| i64::try_from(n).expect("few records");
    let passes = |e: &&Event| view != "page_view_counts" || e.kind == "page_view";
    let passed = topic.events.iter().filter(passes).count();
    let lost = topic.events.iter().filter(passes).filter(|e| wholly_late(view, e, late)).count();
    let filtered = topic.events.len() - passed;
    [number(topic.len()), number(passed - lost), number(filtered), number(lost), number(topic.bad.len())]
}

/// Tells whether an event was late for every window of a view that it belongs to.
fn wholly_late(view: &str, event: &Event, late: &Late) -> bool {
    let minute = event.time.div_euclid(MINUTE) * MINUTE;
    match view {
        "active_users" => (0..5).all(|back| late.holds(view, event, minute - back * MINUTE)),
        "user_sessions" => late.holds(view, event, event.time),
        _ => late.holds(view, event, minute),
    }
}
