//! `clickstream`: the pages that people open one after the other in a visit, with where they came from and their address.
//!
//! Some URLs carry a campaign's parameters or a fragment, a few are empty, and a few events name nobody: what a job has to clean.

use std::time::Duration;

use super::super::Settings;
use super::super::dice::Dice;
use super::super::json::Event;
use super::super::malformed::Shape;
use super::super::places::People;
use super::super::timeline::Timeline;
use super::super::visits::{Visit, Visits};
use super::{Events, Record};

/// What malformed records spoil.
pub(super) const SHAPE: Shape = Shape { time: "event_ts", text: "user_id", other: "url" };

/// Between two pages.
const PAUSE: Duration = Duration::from_secs(8);
/// Where visits come from.
const REFERRERS: [&str; 5] =
    ["https://www.google.com/", "https://duckduckgo.com/", "https://news.example.org/daily", "https://mail.example.com/", ""];
/// The pages that are no article.
const PAGES: [&str; 6] = ["/", "/pricing", "/search", "/docs", "/about", "/signup"];

#[derive(Debug)]
pub(super) struct Clickstream {
    visits: Visits,
    people: People,
    pages: Vec<Box<str>>,
}

impl Clickstream {
    pub(super) fn new(settings: &Settings, timeline: &Timeline) -> Clickstream {
        let page = |index: usize| {
            PAGES.get(index).map_or_else(|| format!("/articles/{}", index - PAGES.len() + 1).into(), |&p| p.into())
        };
        Clickstream {
            visits: Visits::new(settings, timeline, PAUSE),
            people: People::new(settings.seed, settings.users),
            pages: (0..settings.urls as usize).map(page).collect(),
        }
    }

    fn page(&self, visit: &Visit, step: u64) -> &str {
        let mut dice = visit.dice_of(step);
        let is_start = step == 0 && dice.unit() < 0.4;
        &self.pages[if is_start { 0 } else { dice.rank(self.pages.len() as u64) as usize }]
    }
}

/// How many pages a visit sees: five in the mean.
fn steps(visit: u64) -> u64 {
    1 + Dice::at(visit, 2, 0).exponential(4.0) as u64
}

impl Events for Clickstream {
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>) {
        let visit = self.visits.at(record.number, steps);
        let person = self.people.any(&mut visit.dice());
        let page = self.page(&visit, visit.step);
        let referrer = match visit.step {
            0 => REFERRERS[visit.dice_of(u64::MAX).below(REFERRERS.len() as u64) as usize],
            step => self.page(&visit, step - 1),
        };
        let event = Event::begin(out).uuid("event_id", dice.bits(), dice.bits());
        let event = match dice.below(1000) {
            0 => event.null("user_id"),
            _ => event.numbered("user_id", "user_", person),
        };
        let event = event.time("event_ts", record.time);
        let event = match dice.below(1000) {
            0..2 => event.text("url", &[""]),
            2..32 => event.text("url", &[page, "?utm_source=newsletter"]),
            32..42 => event.text("url", &[page, "#top"]),
            _ => event.text("url", &[page]),
        };
        let address = self.people.address(person, self.people.home(person));
        event.text("referrer", &[referrer]).address("ip", address).end();
    }
}
