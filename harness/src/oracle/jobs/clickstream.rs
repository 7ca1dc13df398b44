//! `clickstream`: the clean events as rows, hits per minute, and the top pages.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use postgres::Client;

use super::super::MINUTE;
use super::super::rows::{Rows, check_rows};
use super::super::stream::{Declared, Fact, Stream};
use super::super::windows::{Cells, Window, Windowed};
use crate::cells;

/// What the job declares of its topic.
pub const DECLARED: Declared = Declared {
    time: "event_ts",
    delay_minutes: 2,
    texts: &[("event_id", 36), ("user_id", 50), ("url", 2048), ("referrer", 2048), ("ip", 45)],
    numbers: &[],
};

/// Fails unless the job's tables are right.
pub fn check(client: &mut Client, topic: &Stream) {
    let stream = &topic.distinct("event_id", false);
    let minutes = Windowed::new(client, "clickstream_agg_minute", stream, Window::Hop(MINUTE, MINUTE));
    assert!(minutes.late() > 0, "some events are late");
    let hits = minutes.groups(|event| Some(vec![page(event)?]));
    let hits: Rows =
        hits.into_iter().map(|((start, end, key), events)| (cells![start, key[0]], cells![end, events.len()])).collect();
    check_rows(client, "clickstream_agg_minute", &["window_start", "url"], &["window_end", "hits"], &hits);
    check_rows(client, "clickstream_top_pages", &["window_end", "place"], &["window_start", "url", "hits"], &top_pages(&hits));

    let events: Rows = stream.events.iter().filter_map(row).collect();
    let values = ["user_id", "event_ts", "url", "referrer", "ip", "(received_at IS NOT NULL)"];
    check_rows(client, "clickstream_events", &["event_id"], &values, &events);
}

/// The ten pages of each minute with the most hits, and among those with as many the first by name.
fn top_pages(hits: &Rows) -> Rows {
    let mut minutes: BTreeMap<Cells, Vec<(Reverse<u64>, String)>> = BTreeMap::new();
    for (key, row) in hits {
        let count = row[1].parse().expect("a count");
        minutes.entry(cells![key[0], row[0]]).or_default().push((Reverse(count), key[1].clone()));
    }
    let mut rows = Rows::new();
    for (minute, mut pages) in minutes {
        pages.sort();
        for (place, (Reverse(count), page)) in pages.into_iter().take(10).enumerate() {
            rows.insert(cells![minute[1], place + 1], cells![minute[0], page, count]);
        }
    }
    rows
}

/// The page of an event that counts: without fragment and parameters, in small letters.
fn page(event: &Fact) -> Option<String> {
    let url = event.text("url").filter(|url| !url.is_empty())?;
    event.text("user_id")?;
    let end = url.find(['#', '?']).unwrap_or(url.len());
    Some(url[..end].to_lowercase())
}

fn row(event: &Fact) -> Option<(Cells, Cells)> {
    let referrer = event.text("referrer").unwrap_or_default();
    let page = page(event)?;
    Some((
        cells![event.expect("event_id")],
        cells![event.expect("user_id"), event.time, page, referrer, network(&event.expect("ip")), true],
    ))
}

/// The network of an IPv4 address.
fn network(address: &str) -> String {
    let end = address.rfind('.').expect("an address with points");
    format!("{}.0", &address[..end])
}
