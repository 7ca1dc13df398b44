//! Who people are, where they live, and how far that is from elsewhere.

use super::dice::Dice;

/// Sets the dice of people apart from those of records.
const PEOPLE: u64 = 0x7065_6f70_6c65;

/// The greater, the more alike people are in how often they come up.
const EVENNESS: f64 = 0.3;

/// A city of the world.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct City {
    pub(super) name: &'static str,
    /// Its country's code, as in ISO 3166.
    pub(super) country: &'static str,
    pub(super) currency: &'static str,
    /// In ten-thousandths of a degree.
    pub(super) latitude: i64,
    pub(super) longitude: i64,
    /// The first byte of its people's addresses.
    network: u8,
}

const fn city(name: &'static str, country: &'static str, currency: &'static str, place: (i64, i64), network: u8) -> City {
    City { name, country, currency, latitude: place.0, longitude: place.1, network }
}

/// The cities, those first where most people live; each is more than 2,500 km from the one half the list away.
static CITIES: [City; 16] = [
    city("Berlin", "DE", "EUR", (525_200, 134_050), 84),
    city("New York", "US", "USD", (407_128, -740_060), 66),
    city("London", "GB", "GBP", (515_074, -1_278), 81),
    city("Paris", "FR", "EUR", (488_566, 23_522), 90),
    city("San Francisco", "US", "USD", (377_749, -1_224_194), 50),
    city("Madrid", "ES", "EUR", (404_168, -37_038), 83),
    city("Warsaw", "PL", "PLN", (522_297, 210_122), 89),
    city("Toronto", "CA", "CAD", (436_532, -793_832), 99),
    city("Tokyo", "JP", "JPY", (356_762, 1_396_503), 126),
    city("Sydney", "AU", "AUD", (-338_688, 1_512_093), 101),
    city("Mumbai", "IN", "INR", (190_760, 728_777), 103),
    city("Sao Paulo", "BR", "BRL", (-235_505, -466_333), 177),
    city("Singapore", "SG", "SGD", (13_521, 1_038_198), 116),
    city("Johannesburg", "ZA", "ZAR", (-262_041, 280_473), 105),
    city("Mexico City", "MX", "MXN", (194_326, -991_332), 187),
    city("Seoul", "KR", "KRW", (375_665, 1_269_780), 121),
];

/// The people who make events.
#[derive(Debug, Clone)]
pub(super) struct People {
    seed: u64,
    count: u64,
}

impl People {
    /// So many people.
    pub(super) fn new(seed: u64, count: u64) -> People {
        People { seed: seed ^ PEOPLE, count }
    }

    /// Rolls one of them, from 1. A tenth of them comes up in a third of the rolls, but the first only eight times as often as
    /// one in the mean: nobody is there all the time.
    pub(super) fn any(&self, dice: &mut Dice) -> u64 {
        let cube = |x: f64| x.powi(3);
        let skewed = (cube(dice.unit() + EVENNESS) - cube(EVENNESS)) / (cube(1.0 + EVENNESS) - cube(EVENNESS));
        ((self.count as f64 * skewed) as u64).min(self.count - 1) + 1
    }

    /// Returns a number of `[0, 1)` that a person keeps for life.
    pub(super) fn habit(&self, person: u64) -> f64 {
        Dice::at(self.seed, 2, person).unit()
    }

    /// Returns where a person lives.
    pub(super) fn home(&self, person: u64) -> &'static City {
        let unit = Dice::at(self.seed, 0, person).unit();
        &CITIES[(CITIES.len() as f64 * unit * unit) as usize]
    }

    /// Returns a city that is far from where a person lives.
    pub(super) fn far(&self, person: u64) -> &'static City {
        let home = CITIES.iter().position(|city| city == self.home(person)).unwrap_or(0);
        &CITIES[(home + CITIES.len() / 2) % CITIES.len()]
    }

    /// Returns a person's address when in a city.
    pub(super) fn address(&self, person: u64, city: &City) -> [u8; 4] {
        let bits = Dice::at(self.seed, 1, person).bits().to_le_bytes();
        [city.network, bits[0], bits[1], bits[2].max(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance by the haversine formula, in kilometres.
    fn distance(a: &City, b: &City) -> f64 {
        let radians = |ten_thousandths: i64| (ten_thousandths as f64 / 10_000.0).to_radians();
        let (north, east) = (radians(b.latitude - a.latitude), radians(b.longitude - a.longitude));
        let half =
            (north / 2.0).sin().powi(2) + radians(a.latitude).cos() * radians(b.latitude).cos() * (east / 2.0).sin().powi(2);
        2.0 * 6371.0 * half.sqrt().asin()
    }

    #[test]
    fn the_far_city_is_more_than_an_hour_of_flight_away() {
        let people = People::new(1, 10_000);
        for person in 1..=10_000 {
            let (home, far) = (people.home(person), people.far(person));
            assert!(distance(home, far) > 2_500.0, "{} to {}: {}", home.name, far.name, distance(home, far));
        }
    }

    #[test]
    fn a_tenth_of_the_people_comes_up_in_a_third_of_the_rolls_and_the_first_not_all_the_time() {
        let people = People::new(1, 1000);
        let mut dice = Dice::at(1, 0, 0);
        let rolls: Vec<u64> = (0..100_000).map(|_| people.any(&mut dice)).collect();
        assert!(rolls.iter().all(|person| (1..=1000).contains(person)));
        let top = rolls.iter().filter(|&&person| person <= 100).count();
        assert!((31_000..34_000).contains(&top), "{top}");
        let first = rolls.iter().filter(|&&person| person == 1).count();
        assert!((650..950).contains(&first), "{first}");
    }

    #[test]
    fn every_city_is_somebodys_home() {
        let people = People::new(1, 10_000);
        let homes: std::collections::BTreeSet<&str> = (1..=10_000).map(|person| people.home(person).name).collect();
        assert_eq!(homes.len(), CITIES.len());
    }
}
