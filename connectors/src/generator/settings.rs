//! The parameters of a generator, from a URL's query or a command line's options.

use std::fmt;
use std::time::Duration;

use freshet_model::Timestamp;

use super::kinds::{KINDS, Kind, kind};
use super::profile::{PROFILES, Profile, profile};
use super::value::Value;
use crate::Error;
use crate::open::{path_of, query_of};

/// The names of all parameters.
pub const PARAMETERS: [&str; 17] = [
    "kind",
    "profile",
    "events",
    "rate",
    "seed",
    "partitions",
    "users",
    "urls",
    "span",
    "disorder",
    "late",
    "repeated",
    "malformed",
    "incidents",
    "rhythm",
    "start",
    "at",
];

const MAX_PARTITIONS: u64 = 10_000;
const MAX_USERS: u64 = 1_000_000_000;
const MAX_URLS: u64 = 1_000_000;

/// The parameters of a generator.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the events are about.
    pub kind: Kind,
    /// What it is for.
    pub profile: Profile,
    /// Number of events over all partitions; `None` for no end (the finalizer: one a partition).
    pub events: Option<u64>,
    /// Events a second over all partitions; 0 for as fast as possible.
    pub rate: f64,
    /// Another seed gives other events.
    pub seed: u64,
    /// Number of partitions.
    pub partitions: i32,
    /// Number of users, of whom few make many of the events; or of sensors.
    pub users: u64,
    /// Number of pages or products, skewed like the users.
    pub urls: u64,
    /// The event time that `events` events cover; `None` lets event time follow the rate.
    pub span: Option<Duration>,
    /// How much events lag behind their place in the order, in the mean.
    pub disorder: Duration,
    /// Share of events that lag 2.5 to 15 minutes.
    pub late: f64,
    /// Share of records that repeat one of the last minute.
    pub repeated: f64,
    /// Share of records that are no valid event.
    pub malformed: f64,
    /// Share of what goes wrong in the world: visits of fraudsters, bad minutes of services, stretches of faulty readings.
    pub incidents: f64,
    /// How much busier the evenings of a span are than its nights, from 0 to 1.
    pub rhythm: f64,
    /// Event time of the first event; `None` for now, or for so long ago that `span` ends now.
    pub start: Option<Timestamp>,
    /// Event time of the finalizer's events; `None` for 4.5 minutes ahead.
    pub at: Option<Timestamp>,
}

impl Settings {
    /// Reads `generator://local/user_activity?profile=full&rate=10000`; a profile may also stand in the place of the kind.
    ///
    /// # Errors
    /// A parameter is unknown, cannot be read or does not fit the others.
    pub fn from_url(url: &str) -> Result<Settings, Error> {
        let name = path_of(url).split_once('/').map_or("", |(_, name)| name.trim_end_matches('/'));
        let (kind, profile) = match (kind(name), profile(name)) {
            (Some(kind), _) => (kind, Profile::Full),
            (None, Some(profile)) => (Kind::UserActivity, profile),
            (None, None) if name.is_empty() => (Kind::UserActivity, Profile::Full),
            (None, None) => return Err(unknown("kind or profile", name, &format!("{}, {}", kind_names(), profile_names()))),
        };
        Settings::from_params(kind, profile, &query_of(url))
    }

    /// Reads parameters by name, over the defaults of the kind and profile that they name, or else of those given.
    ///
    /// # Errors
    /// As for [`from_url`](Self::from_url).
    pub fn from_params(default_kind: Kind, default: Profile, params: &[(String, String)]) -> Result<Settings, Error> {
        let last = |wanted: &str| params.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let kind = match last("kind") {
            Some(name) => kind(name).ok_or_else(|| unknown("kind", name, &kind_names()))?,
            None => default_kind,
        };
        let chosen = match last("profile") {
            Some(name) => profile(name).ok_or_else(|| unknown("profile", name, &profile_names()))?,
            None => default,
        };
        let mut settings = chosen.settings(kind);
        for (name, text) in params {
            settings.set(&Value { name, text })?;
        }
        // A span is there to fill a topic with history; nobody wants to wait for it at the pace of live events.
        if last("span").is_some() && last("rate").is_none() {
            settings.rate = 0.0;
        }
        settings.check()?;
        Ok(settings)
    }

    fn set(&mut self, value: &Value<'_>) -> Result<(), Error> {
        match value.name {
            "kind" | "profile" => {}
            "events" => self.events = Some(value.whole(0, u64::MAX >> 8)?),
            "rate" => self.rate = value.number()?,
            "seed" => self.seed = value.whole(0, u64::MAX)?,
            "partitions" => self.partitions = i32::try_from(value.whole(1, MAX_PARTITIONS)?).unwrap_or(1),
            "users" => self.users = value.whole(1, MAX_USERS)?,
            "urls" => self.urls = value.whole(1, MAX_URLS)?,
            "span" => self.span = Some(value.duration()?),
            "disorder" => self.disorder = value.duration()?,
            "late" => self.late = value.share()?,
            "repeated" => self.repeated = value.share()?,
            "malformed" => self.malformed = value.share()?,
            "incidents" => self.incidents = value.share()?,
            "rhythm" => self.rhythm = value.share()?,
            "start" => self.start = Some(value.time()?),
            "at" => self.at = Some(value.time()?),
            name => return Err(unknown("parameter", name, &PARAMETERS.join(", "))),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let refused = |problem: &str, remedy: &str| Err(Error::setup("generator", problem, remedy));
        if self.profile == Profile::Finalizer {
            return Ok(());
        }
        if self.at.is_some() {
            return refused("at= is for the profile finalizer", "use start= for the first event's time, or profile=finalizer");
        }
        if self.events.is_none() && self.span.is_some() {
            return refused("a span needs a number of events to fill it", "add events=…");
        }
        if self.events.is_none() && self.rate == 0.0 {
            return refused("as fast as possible and without end is too much", "add events=… or rate=…");
        }
        Ok(())
    }
}

impl fmt::Display for Settings {
    /// Writes all settings, for comparison.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PROFILES.iter().find(|(_, profile, _)| *profile == self.profile).map_or("", |(name, _, _)| name);
        let Settings { rate, seed, partitions, users, urls, late, repeated, malformed, incidents, rhythm, .. } = self;
        write!(
            f,
            "kind={} profile={name} rate={rate} seed={seed} partitions={partitions} users={users} urls={urls}",
            self.kind.name()
        )?;
        write!(f, " disorder={}us late={late} repeated={repeated} malformed={malformed}", self.disorder.as_micros())?;
        write!(f, " incidents={incidents} rhythm={rhythm}")?;
        self.events.map_or(Ok(()), |events| write!(f, " events={events}"))?;
        self.span.map_or(Ok(()), |span| write!(f, " span={}us", span.as_micros()))?;
        self.start.map_or(Ok(()), |start| write!(f, " start={start}"))?;
        self.at.map_or(Ok(()), |at| write!(f, " at={at}"))
    }
}

fn unknown(kind: &str, name: &str, known: &str) -> Error {
    Error::setup("generator", format!("there is no {kind} '{name}'"), format!("known are {known}"))
}

fn kind_names() -> String {
    KINDS.map(|(name, _, _)| name).join(", ")
}

fn profile_names() -> String {
    PROFILES.map(|(name, _, _)| name).join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_sets_what_it_names_and_leaves_the_rest_to_the_profile() {
        let url = "generator://local/user_activity?profile=basic&rate=2.5&events=4_000&span=2h&late=0&start=2026-01-29T09:30:00Z";
        let settings = Settings::from_url(url).unwrap();
        let expected = Settings {
            rate: 2.5,
            events: Some(4000),
            span: Some(Duration::from_secs(7200)),
            late: 0.0,
            start: Some(Timestamp(1_769_679_000_000_000)),
            ..Profile::Basic.settings(Kind::UserActivity)
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn the_path_may_name_the_profile() {
        assert_eq!(
            Settings::from_url("generator://local/time-series").unwrap(),
            Profile::TimeSeries.settings(Kind::UserActivity)
        );
        assert_eq!(Settings::from_url("generator://local").unwrap(), Profile::Full.settings(Kind::UserActivity));
        assert_eq!(Settings::from_url("generator://local/user_activity").unwrap(), Profile::Full.settings(Kind::UserActivity));
    }

    #[test]
    fn the_path_may_name_the_kind_and_a_parameter_may_too() {
        let expected = Profile::Basic.settings(Kind::Clickstream);
        assert_eq!(Settings::from_url("generator://local/clickstream?profile=basic").unwrap(), expected);
        assert_eq!(Settings::from_url("generator://local/basic?kind=clickstream").unwrap(), expected);
        assert!(expected.rate < 10.0 && expected.repeated > 0.0, "the profile says how much, the kind says what");
    }

    #[test]
    fn a_span_without_a_rate_is_generated_at_once() {
        let settings = Settings::from_url("generator://local/full?span=2h&events=10").unwrap();
        assert_eq!(settings.rate, 0.0);
    }

    #[test]
    fn what_is_wrong_is_refused_with_a_way_out() {
        let cases = [
            ("rat=5", "there is no parameter 'rat'; known are kind, profile, events, rate,"),
            ("rate=-1", "rate=-1 is not"),
            ("rate=NaN", "rate=NaN is not"),
            ("partitions=0", "partitions=0 is not a whole number from 1 to 10000"),
            ("late=1.5", "share from 0 to 1"),
            ("span=soon", "a duration, like 500ms, 15m or 2h"),
            ("start=yesterday", "a time, like 2026-01-29T09:30:00Z"),
            ("kind=clicks", "there is no kind 'clicks'; known are user_activity, clickstream, streaming-events, events,"),
            ("repeated=2", "share from 0 to 1"),
            ("profile=fool", "there is no profile 'fool'; known are basic, time-series, full, finalizer"),
            ("rate=0", "add events=… or rate=…"),
            ("span=2h", "add events=…"),
            ("at=2026-01-29T09:30:00Z", "profile=finalizer"),
        ];
        for (query, part) in cases {
            let error = Settings::from_url(&format!("generator://local/user_activity?{query}")).unwrap_err().to_string();
            assert!(error.contains(part), "{query}: {error}");
        }
        let error = Settings::from_url("generator://local/clicks").unwrap_err().to_string();
        assert!(error.contains("known are user_activity, clickstream") && error.contains("sensors, basic"), "{error}");
    }
}
