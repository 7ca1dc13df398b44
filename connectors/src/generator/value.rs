//! Reads the value of one parameter, or says what it should have been.

use std::time::Duration;

use freshet_model::Timestamp;
use jiff::SignedDuration;

use crate::Error;

/// A parameter as written.
pub(super) struct Value<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

impl Value<'_> {
    /// Reads a whole number of a range, in which `_` may separate digits.
    pub(super) fn whole(&self, least: u64, most: u64) -> Result<u64, Error> {
        let parsed = self.text.replace('_', "").parse::<u64>().ok().filter(|number| (least..=most).contains(number));
        parsed.ok_or_else(|| self.refuse(&format!("a whole number from {least} to {most}")))
    }

    /// Reads a finite number that is not negative.
    pub(super) fn number(&self) -> Result<f64, Error> {
        let parsed = self.text.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        parsed.ok_or_else(|| self.refuse("a number from 0 on, like 2.5 or 10000"))
    }

    /// Reads a share of a whole.
    pub(super) fn share(&self) -> Result<f64, Error> {
        let parsed = self.text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        parsed.ok_or_else(|| self.refuse("a share from 0 to 1, like 0.003"))
    }

    /// Reads a duration with its units.
    pub(super) fn duration(&self) -> Result<Duration, Error> {
        let parsed = self.text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
        // A century keeps every computed time inside the range that can be written.
        parsed
            .filter(|duration| duration.as_secs() < 100 * 366 * 86_400)
            .ok_or_else(|| self.refuse("a duration, like 500ms, 15m or 2h"))
    }

    /// Reads a point in time.
    pub(super) fn time(&self) -> Result<Timestamp, Error> {
        let parsed = self.text.parse::<jiff::Timestamp>().map(|time| Timestamp(time.as_microsecond()));
        parsed.map_err(|_| self.refuse("a time, like 2026-01-29T09:30:00Z"))
    }

    fn refuse(&self, expected: &str) -> Error {
        let Value { name, text } = self;
        Error::setup("generator", format!("{name}={text} is not {expected}"), format!("correct the parameter {name}"))
    }
}
