//! How many events and how fast: the four producers of the user-activity pipeline, as default parameters.

use std::time::Duration;

use super::{Kind, Settings};

/// What a generator is for; decides the parameters that are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A trickle of current events, five a second, without end.
    Basic,
    /// Fifteen minutes of event time that end now, as fast as possible, then nothing more.
    TimeSeries,
    /// A high volume of current events, without end: 10,000 a second of user activity, 1,000 of most other kinds.
    Full,
    /// One event a partition, stamped late enough to close the windows that are open.
    Finalizer,
}

/// All profiles by name, with a sentence about each.
pub const PROFILES: [(&str, Profile, &str); 4] = [
    ("basic", Profile::Basic, "a trickle of current events, five a second"),
    ("time-series", Profile::TimeSeries, "fifteen minutes of events spread over event time, ending now"),
    ("full", Profile::Full, "a high volume of current events, 10,000 a second of user activity and 1,000 of most other kinds"),
    ("finalizer", Profile::Finalizer, "one late-stamped event a partition, which closes the open windows"),
];

/// Finds a profile by its name.
#[must_use]
pub fn profile(name: &str) -> Option<Profile> {
    PROFILES.iter().find(|(known, _, _)| *known == name).map(|(_, profile, _)| *profile)
}

impl Profile {
    /// Returns the parameters of a generator of this profile and kind that names none.
    #[must_use]
    pub fn settings(self, kind: Kind) -> Settings {
        let full = kind.settings(Settings {
            kind,
            profile: self,
            events: None,
            rate: 10_000.0,
            seed: 1,
            partitions: 4,
            users: 80_000,
            urls: 500,
            span: None,
            disorder: Duration::from_secs(2),
            late: 0.003,
            repeated: 0.0,
            malformed: 0.0005,
            incidents: 0.0,
            rhythm: 0.0,
            start: None,
            at: None,
        });
        match self {
            Profile::Basic => Settings { rate: 5.0, partitions: 1, users: 50, urls: 20, ..full },
            Profile::TimeSeries => {
                let span = Some(Duration::from_secs(15 * 60));
                Settings { events: Some(9_000), rate: 0.0, span, partitions: 1, users: 500, urls: 50, ..full }
            }
            Profile::Full => full,
            Profile::Finalizer => {
                let disorder = Duration::ZERO;
                Settings { rate: 0.0, partitions: 1, late: 0.0, repeated: 0.0, malformed: 0.0, disorder, ..full }
            }
        }
    }
}
