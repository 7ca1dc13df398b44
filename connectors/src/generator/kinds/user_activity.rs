//! `user_activity`: who did what on which page; each event by itself.

use super::super::Settings;
use super::super::dice::Dice;
use super::super::json::Event;
use super::super::malformed::Shape;
use super::{Events, Record};

/// What malformed records spoil.
pub(super) const SHAPE: Shape = Shape { time: "event_time", text: "user_id", other: "page_url" };

/// The pages that have an address of their own; the others are products.
const PAGES: [&str; 10] =
    ["/", "/products", "/search", "/cart", "/login", "/checkout", "/account", "/offers", "/help", "/orders"];

/// The kinds of events with their shares in a thousand, and the page where one happens if it is a certain one.
const TYPES: [(u64, &str, Option<usize>); 7] = [
    (700, "page_view", None),
    (140, "click", None),
    (50, "search", Some(2)),
    (40, "add_to_cart", Some(3)),
    (35, "login", Some(4)),
    (20, "purchase", Some(5)),
    (15, "logout", Some(4)),
];

#[derive(Debug)]
pub(super) struct UserActivity {
    users: u64,
    pages: Vec<Box<str>>,
}

impl UserActivity {
    pub(super) fn new(settings: &Settings) -> UserActivity {
        UserActivity { users: settings.users, pages: (0..settings.urls as usize).map(page).collect() }
    }
}

impl Events for UserActivity {
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>) {
        let user = dice.rank(self.users) + 1;
        let (kind, place) = event_type(dice);
        let any = dice.rank(self.pages.len() as u64) as usize;
        let page = place.filter(|&place| place < self.pages.len()).unwrap_or(any);
        write(out, record, user, &self.pages[page], kind);
    }

    fn write_last(&self, record: Record, out: &mut Vec<u8>) {
        write(out, record, 0, "/", "finalizer");
    }
}

fn write(out: &mut Vec<u8>, record: Record, user: u64, page: &str, kind: &str) {
    Event::begin(out)
        .time("event_time", record.time)
        .numbered("user_id", "user_", user)
        .text("page_url", &[page])
        .text("event_type", &[kind])
        .end();
}

fn page(index: usize) -> Box<str> {
    PAGES.get(index).map_or_else(|| format!("/products/{}", index - PAGES.len() + 1).into(), |&page| page.into())
}

fn event_type(dice: &mut Dice) -> (&'static str, Option<usize>) {
    let mut roll = dice.below(1000);
    for (share, kind, place) in TYPES {
        if roll < share {
            return (kind, place);
        }
        roll -= share;
    }
    (TYPES[0].1, TYPES[0].2)
}
