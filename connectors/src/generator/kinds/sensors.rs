//! `sensors`: readings of temperature, humidity and battery, one of each sensor in turn.
//!
//! A sensor has a level of its own and follows the day. A share of the stretches of 64 readings, `incidents`, goes wrong: the sensor is silent, drifts
//! away, or repeats one value. Where one is silent, the next that is not is read twice.

use std::f64::consts::TAU;

use super::super::Settings;
use super::super::dice::Dice;
use super::super::json::Event;
use super::super::malformed::Shape;
use super::{Events, Record};

/// What malformed records spoil.
pub(super) const SHAPE: Shape = Shape { time: "reading_time", text: "sensor_id", other: "site" };

const SITES: [&str; 6] = ["bremen", "dresden", "essen", "kiel", "mainz", "ulm"];
const STRETCH: u64 = 64;
const DAY_MICROS: f64 = 86.4e9;
/// So many sensors are asked instead of a silent one.
const MOST_ASKED: u64 = 8;
/// Sets the dice of sensors apart from those of records.
const SENSORS: u64 = 0x7365_6e73_6f72;

#[derive(Debug)]
pub(super) struct Sensors {
    count: u64,
    seed: u64,
    incidents: f64,
}

/// How a sensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Silent,
    /// Reads more than there is, and ever more.
    Drifting,
    /// Repeats a value.
    Stuck,
}

impl Sensors {
    pub(super) fn new(settings: &Settings) -> Sensors {
        Sensors { count: settings.users, seed: settings.seed ^ SENSORS, incidents: settings.incidents }
    }

    fn health(&self, sensor: u64, reading: u64) -> Health {
        let mut dice = Dice::at(self.seed, sensor, reading / STRETCH);
        match dice.unit() < self.incidents {
            true => [Health::Silent, Health::Drifting, Health::Stuck][dice.below(3) as usize],
            false => Health::Good,
        }
    }

    /// Returns the temperature in hundredths of a degree.
    fn temperature(&self, sensor: u64, reading: u64, record: Record, dice: &mut Dice) -> i64 {
        let level = 1_500.0 + 1_000.0 * Dice::at(self.seed, sensor, u64::MAX).unit();
        // Coldest at midnight, warmest at noon.
        let day = -400.0 * (record.time.0 as f64 / DAY_MICROS * TAU).cos();
        let noise = 20.0 * (dice.unit() - dice.unit());
        match self.health(sensor, reading) {
            Health::Stuck => level as i64,
            Health::Drifting => (level + day + noise + 25.0 * (reading % STRETCH) as f64) as i64,
            _ => (level + day + noise) as i64,
        }
    }
}

impl Events for Sensors {
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>) {
        let (first, reading) = (record.number % self.count, record.number / self.count);
        let mut asked = (first..first + MOST_ASKED).map(|sensor| sensor % self.count);
        let sensor = asked.find(|&sensor| self.health(sensor, reading) != Health::Silent).unwrap_or(first);
        let temperature = self.temperature(sensor, reading, record, dice);
        // Warm air is dry.
        let humidity = (9_000 - temperature + dice.below(200).cast_signed()).clamp(0, 10_000);
        let battery = 100 - (reading / 500 + sensor) % 90;
        Event::begin(out)
            .numbered("sensor_id", "sensor_", sensor + 1)
            .text("site", &[SITES[(sensor % SITES.len() as u64) as usize]])
            .time("reading_time", record.time)
            .hundredths("temperature", temperature)
            .hundredths("humidity", humidity)
            .integer("battery", battery)
            .end();
    }
}
