//! `streaming-events`: a shop's six types of events, each with fields of its own, in visits that lead from looking to buying, or do not.
//!
//! What a visitor is about decides what each step is: most only look, some search and find nothing, some fill a basket and leave it, and a tenth
//! buys. The amount of a purchase is what was put into the basket before.

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
pub(super) const SHAPE: Shape = Shape { time: "timestamp", text: "user_id", other: "session_id" };

/// Between two steps.
const PAUSE: Duration = Duration::from_secs(10);
/// What people look for.
const QUERIES: [&str; 10] =
    ["shoes", "red shoes", "jacket", "phone case", "headphones", "gift", "coffee", "lamp", "usb c cable", "backpack"];
/// Sets the dice of products apart from those of steps.
const PRODUCTS: u64 = 1 << 32;
/// A basket can only be filled from this step on.
const FIRST_ADD: u64 = 3;

#[derive(Debug)]
pub(super) struct StreamingEvents {
    visits: Visits,
    people: People,
    products: u64,
    seed: u64,
}

/// What a visitor is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Look,
    Search,
    /// Fill a basket, and leave it.
    Fill,
    Buy,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Login,
    View,
    Click,
    Add,
    Purchase,
    Search,
}

/// A product put into the basket.
#[derive(Debug, Clone, Copy)]
struct Item {
    product: u64,
    /// In hundredths.
    price: i64,
    quantity: u64,
}

impl Aim {
    fn of(visit: u64) -> Aim {
        match Dice::at(visit, 2, 0).below(100) {
            0..58 => Aim::Look,
            58..75 => Aim::Search,
            75..90 => Aim::Fill,
            _ => Aim::Buy,
        }
    }

    fn steps(visit: u64) -> u64 {
        let more = |mean: f64| Dice::at(visit, 3, 0).exponential(mean) as u64;
        match Aim::of(visit) {
            Aim::Look => 1 + more(4.0),
            Aim::Search => 3 + more(2.0),
            Aim::Fill | Aim::Buy => FIRST_ADD + 2 + more(3.0),
        }
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Login => "user_login",
            Step::View => "page_view",
            Step::Click => "item_click",
            Step::Add => "cart_add",
            Step::Purchase => "purchase",
            Step::Search => "search",
        }
    }

    fn of(visit: &Visit, step: u64) -> Step {
        // The end of a block may have cut the visit so short that nothing comes of it.
        let aim = if visit.steps < FIRST_ADD + 2 && Aim::of(visit.id) != Aim::Search { Aim::Look } else { Aim::of(visit.id) };
        let mut dice = visit.dice_of(step);
        match (aim, step) {
            (_, 0) => {
                if dice.below(100) < 60 {
                    Step::Login
                } else {
                    Step::View
                }
            }
            (Aim::Search, _) => [Step::Click, Step::Search, Step::View][(step % 3) as usize],
            (Aim::Buy, step) if step + 1 == visit.steps => Step::Purchase,
            (Aim::Fill | Aim::Buy, FIRST_ADD) => Step::Add,
            (Aim::Fill | Aim::Buy, step) if step > FIRST_ADD && step % 2 == 1 && dice.below(100) < 40 => Step::Add,
            (_, step) => {
                if step % 2 == 1 {
                    Step::View
                } else {
                    Step::Click
                }
            }
        }
    }
}

impl StreamingEvents {
    pub(super) fn new(settings: &Settings, timeline: &Timeline) -> StreamingEvents {
        StreamingEvents {
            visits: Visits::new(settings, timeline, PAUSE),
            people: People::new(settings.seed, settings.users),
            products: settings.urls,
            seed: settings.seed,
        }
    }

    /// The product of a step; what is put into the basket is what was looked at just before.
    fn item(&self, visit: &Visit, step: u64) -> Item {
        let seen = if Step::of(visit, step) == Step::Add { step - 1 } else { step };
        let product = visit.dice_of(seen + PRODUCTS).rank(self.products) + 1;
        let price = 299 + Dice::at(self.seed, u64::MAX, product).below(15_000).cast_signed();
        Item { product, price, quantity: 1 + visit.dice_of(step).rank(4) }
    }

    fn basket(&self, visit: &Visit) -> impl Iterator<Item = Item> + Clone {
        let (this, visit) = (self, *visit);
        (FIRST_ADD..visit.step).filter(move |&step| Step::of(&visit, step) == Step::Add).map(move |step| this.item(&visit, step))
    }

    fn details<'a>(&self, event: Event<'a>, visit: &Visit, step: Step, currency: &str) -> Event<'a> {
        let mut dice = visit.dice_of(visit.step);
        match step {
            Step::Login => event.text("method", &[["password", "google", "apple"][dice.below(3) as usize]]),
            Step::View => event.numbered("page_url", "/products/", self.item(visit, visit.step).product),
            Step::Click | Step::Add => write_item(event, self.item(visit, visit.step)),
            Step::Search => {
                let query = QUERIES[dice.rank(QUERIES.len() as u64) as usize];
                event.text("query", &[query]).integer("results", dice.rank(200))
            }
            Step::Purchase => {
                let basket = self.basket(visit);
                let amount = basket.clone().map(|item| item.price * item.quantity.cast_signed()).sum();
                let event = event.uuid("order_id", dice.bits(), dice.bits()).hundredths("amount", amount);
                event.text("currency", &[currency]).objects("items", basket, write_item)
            }
        }
    }
}

fn write_item(event: Event<'_>, item: Item) -> Event<'_> {
    event.numbered("product_id", "p_", item.product).hundredths("price", item.price).integer("quantity", item.quantity)
}

impl Events for StreamingEvents {
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>) {
        let visit = self.visits.at(record.number, Aim::steps);
        let step = Step::of(&visit, visit.step);
        let mut of_visit = visit.dice();
        let person = self.people.any(&mut of_visit);
        let device = ["mobile", "mobile", "mobile", "desktop", "desktop", "tablet"][of_visit.below(6) as usize];
        let home = self.people.home(person);
        let event = Event::begin(out)
            .uuid("event_id", dice.bits(), dice.bits())
            .text("event_type", &[step.name()])
            .numbered("user_id", "user_", person)
            .time("timestamp", record.time)
            .text("device", &[device])
            .text("location", &[home.country])
            .numbered("session_id", "s_", visit.id);
        self.details(event, &visit, step, home.currency).end();
    }
}
