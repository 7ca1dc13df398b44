//! `clickstream`: hits per minute.

use postgres::Client;

use super::super::MINUTE;
use super::super::rows::{Rows, check_rows};
use super::super::stream::{Declared, Fact, Stream};
use super::super::windows::{Window, Windowed};
use crate::cells;

/// What the job declares of its topic.
pub const DECLARED: Declared = Declared {
    time: "event_ts",
    delay_minutes: 2,
    texts: &[("event_id", 36), ("user_id", 50), ("url", 2048), ("referrer", 2048), ("ip", 45)],
    numbers: &[],
};

/// Fails unless the job's tables are right.
pub fn check(client: &mut Client, stream: &Stream) {
    let minutes = Windowed::new(client, "clickstream_agg_minute", stream, Window::Hop(MINUTE, MINUTE));
    assert!(minutes.late() > 0, "some events are late");
    let hits = minutes.groups(|event| Some(vec![page(event)?]));
    let hits: Rows =
        hits.into_iter().map(|((start, end, key), events)| (cells![start, key[0]], cells![end, events.len()])).collect();
    check_rows(client, "clickstream_agg_minute", &["window_start", "url"], &["window_end", "hits"], &hits);
}

/// The page of an event that counts: without fragment and parameters, in small letters.
fn page(event: &Fact) -> Option<String> {
    let url = event.text("url").filter(|url| !url.is_empty())?;
    event.text("user_id")?;
    let end = url.find(['#', '?']).unwrap_or(url.len());
    Some(url[..end].to_lowercase())
}
