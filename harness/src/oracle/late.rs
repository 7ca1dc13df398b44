//! The late events that Freshet reports, each checked against what the semantics allow.

use std::collections::BTreeSet;

use postgres::{Client, Row};

use super::topic::{Event, Topic};
use super::{DELAY, FIVE_MINUTES, MINUTE};

const QUERY: &str = r#"
    SELECT view, "partition"::int, "offset"::bigint,
        (extract(epoch FROM window_start) * 1000000)::bigint, (extract(epoch FROM window_end) * 1000000)::bigint,
        (extract(epoch FROM event_time) * 1000000)::bigint, (extract(epoch FROM watermark) * 1000000)::bigint
    FROM freshet.late_events"#;

/// The (event, window) pairs that count nowhere: view, partition, offset, start of the window.
pub struct Late(BTreeSet<(String, i32, i64, i64)>);

impl Late {
    /// Reads `freshet.late_events` and fails on the first row that cannot be right.
    pub fn read(database: &mut Client, topic: &Topic) -> Late {
        let mut late = Late(BTreeSet::new());
        for row in database.query(QUERY, &[]).expect("freshet.late_events can be read") {
            let key = check(&row, topic).unwrap_or_else(|why| panic!("{row:?} cannot be late: {why}"));
            assert!(late.0.insert(key.clone()), "{key:?} is late twice");
        }
        late
    }

    /// Tells whether an event is late for the window of a view that begins at `start`.
    pub fn holds(&self, view: &str, event: &Event, start: i64) -> bool {
        // An empty set is the usual case of a short run; the key's text is not worth building then.
        !self.0.is_empty() && self.0.contains(&(view.to_owned(), event.partition, event.offset, start))
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn check(row: &Row, topic: &Topic) -> Result<(String, i32, i64, i64), String> {
    let (view, partition, offset): (String, i32, i64) = (row.get(0), row.get(1), row.get(2));
    let (start, end, time, watermark): (i64, i64, i64, i64) = (row.get(3), row.get(4), row.get(5), row.get(6));
    let event = topic.find(partition, offset).ok_or("no such event")?;
    let expect = |holds: bool, why: &str| {
        if holds {
            Ok(())
        } else {
            Err(format!("{view}/{partition}/{offset} {start}..{end}, event {time}, watermark {watermark}: {why}"))
        }
    };
    expect(event.time == time, "the event has another time")?;
    expect(window_of(&view, event).contains(&(start, end)), "the event is in no such window")?;
    expect(end <= watermark, "the window was still open")?;
    // The watermark is the least of the partitions', and this partition had brought nothing later than `before`.
    expect(event.before != i64::MIN && watermark <= event.before - DELAY, "the watermark cannot have come so far")?;
    Ok((view, partition, offset, start))
}

/// Lists the windows of a view that an event belongs to.
fn window_of(view: &str, event: &Event) -> Vec<(i64, i64)> {
    let minute = event.time.div_euclid(MINUTE) * MINUTE;
    match view {
        "page_view_counts" if event.kind == "page_view" => vec![(minute, minute + MINUTE)],
        "active_users" => (0..5).map(|back| minute - back * MINUTE).map(|start| (start, start + FIVE_MINUTES)).collect(),
        "user_sessions" => vec![(event.time, event.time + FIVE_MINUTES)],
        _ => Vec::new(),
    }
}
