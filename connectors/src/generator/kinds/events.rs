//! `events`: logs, clicks and transactions of a company's services in one topic.
//!
//! Now and then a service has a bad minute: every third of its logs is an error then, and all is slow.

use super::super::Settings;
use super::super::dice::Dice;
use super::super::json::Event;
use super::super::malformed::Shape;
use super::super::places::People;
use super::{Events, Record};

/// What malformed records spoil.
pub(super) const SHAPE: Shape = Shape { time: "event_time", text: "event_type", other: "event_id" };

const SERVICES: [&str; 8] = ["auth", "cart", "catalog", "checkout", "gateway", "mail", "payment", "search"];
const MICROS_PER_MINUTE: i64 = 60_000_000;
/// Sets the dice of bad minutes apart from those of records.
const MINUTES: u64 = 0x6d69_6e75_7465;

#[derive(Debug)]
pub(super) struct Mixed {
    people: People,
    seed: u64,
    urls: u64,
    incidents: f64,
}

impl Mixed {
    pub(super) fn new(settings: &Settings) -> Mixed {
        let people = People::new(settings.seed, settings.users);
        Mixed { people, seed: settings.seed, urls: settings.urls, incidents: settings.incidents }
    }

    fn is_bad(&self, service: usize, record: Record) -> bool {
        let minute = record.time.0.div_euclid(MICROS_PER_MINUTE).cast_unsigned();
        Dice::at(self.seed ^ MINUTES, service as u64, minute).unit() < self.incidents
    }

    fn log<'a>(&self, event: Event<'a>, record: Record, dice: &mut Dice) -> Event<'a> {
        let service = (SERVICES.len() as f64 * dice.unit().powi(2)) as usize;
        let is_bad = self.is_bad(service, record);
        let (level, message) = match dice.below(1000) {
            0..10 => ("ERROR", "upstream timed out"),
            10..340 if is_bad => ("ERROR", "connection refused"),
            340..400 => ("WARN", "slow request"),
            400..500 => ("DEBUG", "cache miss"),
            _ => ("INFO", "request served"),
        };
        let slowness = if is_bad { 8.0 } else { 1.0 };
        let duration = 1 + (dice.exponential(40.0) * slowness) as u64;
        event
            .text("level", &[level])
            .text("service", &[SERVICES[service]])
            .text("message", &[message])
            .integer("duration_ms", duration)
    }

    fn transaction<'a>(&self, event: Event<'a>, person: u64, dice: &mut Dice) -> Event<'a> {
        let amount = 100 + dice.exponential(4_000.0) as i64;
        let status = ["ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "declined", "failed"][dice.below(10) as usize];
        let event = event.numbered("user_id", "user_", person).hundredths("amount", amount);
        event.text("currency", &[self.people.home(person).currency]).text("status", &[status])
    }
}

impl Events for Mixed {
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>) {
        let event = Event::begin(out).uuid("event_id", dice.bits(), dice.bits()).time("event_time", record.time);
        let roll = dice.below(100);
        let person = self.people.any(dice);
        let event = match roll {
            0..60 => self.log(event.text("event_type", &["log"]), record, dice),
            60..90 => {
                let event = event.text("event_type", &["click"]).numbered("user_id", "user_", person);
                event.numbered("url", "/pages/", dice.rank(self.urls) + 1)
            }
            _ => self.transaction(event.text("event_type", &["transaction"]), person, dice),
        };
        event.end();
    }
}
