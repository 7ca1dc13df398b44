//! `payments` and `logins`: what people pay and where, and the logins that go with it, in two topics.
//!
//! Record `n` of the one topic goes with record `n` of the other: with the same seed, rate and start, people log in some seconds before the first payment
//! of a visit. A share of the visits, `incidents`, is somebody else's with stolen data:
//!
//! | incident | payments | logins |
//! |---|---|---|
//! | burst | ten within a minute | nine that fail |
//! | odd amount | one, 20 to 60 times of what the user usually pays | as usual |
//! | impossible travel | as usual, at home | from the other side of the world |
//! | stolen card | as usual | none |

use std::time::Duration;

use super::super::Settings;
use super::super::dice::Dice;
use super::super::json::Event;
use super::super::malformed::Shape;
use super::super::places::{City, People};
use super::super::timeline::Timeline;
use super::super::visits::{Visit, Visits};
use super::{Events, Record};

/// What malformed records spoil.
pub(super) const PAYMENTS: Shape = Shape { time: "event_time", text: "user_id", other: "payment_id" };
pub(super) const LOGINS: Shape = Shape { time: "event_time", text: "user_id", other: "login_id" };

/// Between two payments.
const PAUSE: Duration = Duration::from_secs(5);
const BURST: u64 = 10;
const MERCHANTS: [&str; 8] = ["bakery", "bookshop", "cinema", "electronics", "fuel", "grocery", "pharmacy", "travel"];

/// Who pays and logs in when.
#[derive(Debug)]
struct Habits {
    visits: Visits,
    people: People,
    incidents: f64,
}

/// What a visit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Usual,
    Burst,
    OddAmount,
    Travel,
    StolenCard,
}

impl Habits {
    fn new(settings: &Settings, timeline: &Timeline) -> Habits {
        Habits {
            visits: Visits::new(settings, timeline, PAUSE),
            people: People::new(settings.seed, settings.users),
            incidents: settings.incidents,
        }
    }

    fn visit(&self, record: Record) -> (Visit, Story) {
        let visit = self.visits.at(record.number, |id| match self.story(id) {
            Story::Burst => BURST,
            Story::Usual => [1, 1, 1, 1, 1, 1, 1, 2, 2, 3][Dice::at(id, 2, 0).below(10) as usize],
            _ => 1,
        });
        (visit, self.story(visit.id))
    }

    fn story(&self, visit: u64) -> Story {
        let mut dice = Dice::at(visit, 3, 0);
        match dice.unit() < self.incidents {
            true => [Story::Burst, Story::OddAmount, Story::Travel, Story::StolenCard][dice.below(4) as usize],
            false => Story::Usual,
        }
    }
}

/// The kind `payments`.
#[derive(Debug)]
pub(super) struct Payments(Habits);

impl Payments {
    pub(super) fn new(settings: &Settings, timeline: &Timeline) -> Payments {
        Payments(Habits::new(settings, timeline))
    }

    fn amount(&self, person: u64, story: Story, dice: &mut Dice) -> i64 {
        // What a person usually pays is between 10 and 100.
        let usual = 1_000.0 + 9_000.0 * self.0.people.habit(person);
        let factor = if story == Story::OddAmount { 20.0 + 40.0 * dice.unit() } else { 0.5 + dice.unit() };
        (usual * factor) as i64
    }
}

impl Events for Payments {
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>) {
        let (visit, story) = self.0.visit(record);
        let person = self.0.people.any(&mut visit.dice());
        let home = self.0.people.home(person);
        let event = Event::begin(out)
            .uuid("payment_id", dice.bits(), dice.bits())
            .numbered("user_id", "user_", person)
            .time("event_time", record.time)
            .hundredths("amount", self.amount(person, story, dice))
            .text("currency", &[home.currency])
            .text("merchant", &[MERCHANTS[dice.below(MERCHANTS.len() as u64) as usize]]);
        place(event, home).end();
    }
}

/// The kind `logins`.
#[derive(Debug)]
pub(super) struct Logins(Habits);

impl Logins {
    pub(super) fn new(settings: &Settings, timeline: &Timeline) -> Logins {
        Logins(Habits::new(settings, timeline))
    }
}

impl Events for Logins {
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>) {
        let people = &self.0.people;
        let (visit, story) = self.0.visit(record);
        // Who is logged in already, or needs no login, leaves room for somebody who only looks around.
        let is_login = story == Story::Burst || visit.step == 0 && story != Story::StolenCard;
        let person = if is_login { people.any(&mut visit.dice()) } else { people.any(dice) };
        let is_good = !(story == Story::Burst && visit.step + 1 < visit.steps);
        let city = if story == Story::Travel { people.far(person) } else { people.home(person) };
        let before = 2_000_000 + dice.below(8_000_000).cast_signed();
        let event = Event::begin(out)
            .uuid("login_id", dice.bits(), dice.bits())
            .numbered("user_id", "user_", person)
            .time("event_time", record.time.plus_micros(-before))
            .boolean("success", is_good)
            .text("device", &[["mobile", "desktop"][dice.below(2) as usize]])
            .address("ip", people.address(person, city));
        place(event, city).end();
    }
}

fn place<'a>(event: Event<'a>, city: &City) -> Event<'a> {
    event
        .text("city", &[city.name])
        .text("country", &[city.country])
        .ten_thousandths("lat", city.latitude)
        .ten_thousandths("lon", city.longitude)
}
