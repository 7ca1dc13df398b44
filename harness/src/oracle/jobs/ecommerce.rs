//! `ecommerce`: a shop's events, revenue, sessions, and the way from looking to buying.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client;

use super::super::MINUTE;
use super::super::rows::{Rows, check_rows, decimal};
use super::super::stream::{Declared, Fact, Stream};
use super::super::windows::{Cells, Window, Windowed};
use crate::cells;

/// What the job declares of its topic.
pub const DECLARED: Declared = Declared {
    time: "timestamp",
    delay_minutes: 5,
    texts: &[("event_id", 36), ("event_type", 20), ("user_id", 50), ("device", 10), ("location", 2), ("session_id", 50)],
    numbers: &["price", "quantity", "amount", "results"],
};

const HOUR: i64 = 60 * MINUTE;

/// Fails unless the job's tables are right.
pub fn check(client: &mut Client, topic: &Stream) {
    let stream = &topic.distinct("event_id", false);
    counts(client, stream);
    markets(client, stream);
    revenue(client, stream, "revenue_per_minute", MINUTE);
    revenue(client, stream, "revenue_per_hour", HOUR);
    products(client, stream);
    let sessions = sessions(client, stream);
    session_tables(client, &sessions);
    funnel(client, &sessions);
}

fn counts(client: &mut Client, stream: &Stream) {
    let minutes = Windowed::new(client, "events_per_minute", stream, Window::Hop(MINUTE, MINUTE));
    let groups = minutes.groups(|event| Some(["event_type", "device", "location"].map(|name| event.expect(name)).to_vec()));
    let rows: Rows = groups
        .into_iter()
        .map(|((start, end, key), events)| {
            let users: BTreeSet<_> = events.iter().map(|event| event.expect("user_id")).collect();
            ([cells![start], key].concat(), cells![end, events.len(), users.len()])
        })
        .collect();
    let key = ["window_start", "event_type", "device", "location"];
    check_rows(client, "events_per_minute", &key, &["window_end", "events", "users"], &rows);
}

/// Where people come from; the job's table leaves out some of the countries.
fn market(country: &str) -> &'static str {
    match country {
        "DE" | "ES" | "FR" | "GB" | "PL" => "Europe",
        "BR" | "CA" | "MX" | "US" => "Americas",
        "AU" | "IN" | "JP" | "KR" => "Asia-Pacific",
        _ => "elsewhere",
    }
}

fn markets(client: &mut Client, stream: &Stream) {
    let hours = Windowed::new(client, "markets_per_hour", stream, Window::Hop(HOUR, HOUR));
    let groups = hours.groups(|event| Some(vec![market(&event.expect("location")).to_owned()]));
    assert!(groups.keys().any(|(_, _, key)| key[0] == "elsewhere"), "some countries are not in the table");
    let rows: Rows = groups
        .into_iter()
        .map(|((start, end, key), events)| {
            let users: BTreeSet<_> = events.iter().map(|event| event.expect("user_id")).collect();
            let orders = events.iter().filter(|event| event.is("event_type", "purchase")).count();
            (cells![start, key[0]], cells![end, events.len(), users.len(), orders])
        })
        .collect();
    check_rows(client, "markets_per_hour", &["window_start", "market"], &["window_end", "events", "users", "orders"], &rows);
}

fn revenue(client: &mut Client, stream: &Stream, view: &str, size: i64) {
    let windows = Windowed::new(client, view, stream, Window::Hop(size, size));
    let groups = windows.groups(|event| event.is("event_type", "purchase").then(|| vec![event.expect("currency")]));
    let rows: Rows = groups
        .into_iter()
        .map(|((start, end, key), events)| {
            let amount: i64 = events.iter().filter_map(|event| event.hundredths("amount")).sum();
            (cells![start, key[0]], cells![end, events.len(), decimal(amount)])
        })
        .collect();
    check_rows(client, view, &["window_start", "currency"], &["window_end", "orders", "revenue"], &rows);
}

fn products(client: &mut Client, stream: &Stream) {
    let hours = Windowed::new(client, "products_per_hour", stream, Window::Hop(HOUR, HOUR));
    let groups =
        hours.groups(|event| Some(vec![event.text("product_id").filter(|_| !event.is("event_type", "purchase"))?.to_owned()]));
    let rows: Rows = groups
        .into_iter()
        .map(|((start, _, key), events)| {
            let adds: Vec<_> = events.iter().filter(|event| event.is("event_type", "cart_add")).collect();
            let pieces: f64 = adds.iter().filter_map(|event| event.number("quantity")).sum();
            let pieces = if adds.is_empty() { String::new() } else { pieces.to_string() };
            (cells![start, key[0]], cells![events.len() - adds.len(), adds.len(), pieces])
        })
        .collect();
    check_rows(client, "products_per_hour", &["window_start", "product_id"], &["clicks", "adds", "pieces"], &rows);
}

/// What a user did without a long pause.
struct Session {
    user: String,
    start: i64,
    end: i64,
    events: usize,
    looks: usize,
    searches: usize,
    adds: usize,
    purchases: usize,
    added: i64,
    step: usize,
}

fn sessions(client: &mut Client, stream: &Stream) -> Vec<Session> {
    let windows = Windowed::new(client, "user_sessions", stream, Window::Session(30 * MINUTE));
    let session = |((start, _, mut key), events): ((i64, i64, Cells), Vec<&Fact>)| {
        let count = |kinds: &[&str]| events.iter().filter(|event| kinds.iter().any(|kind| event.is("event_type", kind))).count();
        let adds = events.iter().filter(|event| event.is("event_type", "cart_add"));
        let price = |event: &&&Fact| Some(event.hundredths("price")? * event.number("quantity")? as i64);
        Session {
            user: key.remove(0),
            start,
            end: events[events.len() - 1].time,
            events: events.len(),
            looks: count(&["page_view", "item_click"]),
            searches: count(&["search"]),
            adds: count(&["cart_add"]),
            purchases: count(&["purchase"]),
            added: adds.filter_map(|event| price(&event)).sum(),
            step: furthest(&events),
        }
    };
    windows.groups(|event| Some(vec![event.expect("user_id")])).into_iter().map(session).collect()
}

/// The furthest step of those that can be begun with any of the events: each next step as early as can be.
fn furthest(events: &[&Fact]) -> usize {
    let steps: [&[&str]; 3] = [&["page_view", "item_click"], &["cart_add"], &["purchase"]];
    let is = |event: &Fact, step: usize| steps[step].iter().any(|kind| event.is("event_type", kind));
    let begun = |first: &&Fact| {
        let (mut time, mut reached) = (first.time, 1);
        while reached < steps.len() {
            let next = events.iter().filter(|event| event.time >= time && is(event, reached)).map(|event| event.time).min();
            match next.filter(|next| next - first.time <= 2 * HOUR) {
                Some(next) => (time, reached) = (next, reached + 1),
                None => return reached,
            }
        }
        reached
    };
    events.iter().filter(|event| is(event, 0)).map(begun).max().unwrap_or(0)
}

fn session_tables(client: &mut Client, sessions: &[Session]) {
    let key = ["user_id", "session_start"];
    let row = |s: &Session, values: Cells| (cells![s.user, s.start], values);
    let all = sessions.iter().map(|s| {
        let seconds = (s.end - s.start) / 1_000_000;
        row(s, cells![s.end, seconds, s.events, s.looks, s.searches, s.adds, s.purchases, decimal(s.added), s.step])
    });
    let values = ["session_end", "session_seconds", "events", "looks", "searches", "adds", "purchases", "added", "step"];
    check_rows(client, "user_sessions", &key, &values, &all.collect());

    let left =
        sessions.iter().filter(|s| s.adds > 0 && s.purchases == 0).map(|s| row(s, cells![s.end, s.adds, decimal(s.added)]));
    check_rows(client, "abandoned_carts", &key, &["session_end", "adds", "added"], &left.collect());

    let lost = sessions.iter().filter(|s| s.searches > 0 && s.purchases == 0).map(|s| row(s, cells![s.end, s.searches]));
    check_rows(client, "searches_without_purchase", &key, &["session_end", "searches"], &lost.collect());
}

fn funnel(client: &mut Client, sessions: &[Session]) {
    let mut hours: BTreeMap<i64, [usize; 4]> = BTreeMap::new();
    for s in sessions {
        let reached = [true, s.step >= 1, s.step >= 2, s.step >= 3];
        let counts = hours.entry(s.start.div_euclid(HOUR) * HOUR).or_default();
        counts.iter_mut().zip(reached).for_each(|(count, reached)| *count += usize::from(reached));
    }
    let rows = hours.into_iter().map(|(hour, [all, looked, added, bought])| (cells![hour], cells![all, looked, added, bought]));
    check_rows(client, "conversion_funnel", &["hour"], &["sessions", "looked", "added", "bought"], &rows.collect());
}
