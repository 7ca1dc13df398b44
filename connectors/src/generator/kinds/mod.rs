//! The kinds of events, one file a kind.

mod clickstream;
mod events;
mod payments;
mod sensors;
mod streaming_events;
#[cfg(test)]
mod tests;
mod user_activity;

use std::fmt;
use std::sync::Arc;

use freshet_model::Timestamp;

use super::Settings;
use super::dice::Dice;
use super::malformed::Shape;
use super::timeline::Timeline;

/// What events are about; also the name of the topic that they usually lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who did what on which page.
    UserActivity,
    /// The pages of visits, with referrers and addresses.
    Clickstream,
    /// A shop's logins, views, clicks, baskets, purchases and searches.
    StreamingEvents,
    /// Logs, clicks and transactions of services.
    Events,
    /// What people pay, and where.
    Payments,
    /// The logins that go with the payments.
    Logins,
    /// Readings of sensors.
    Sensors,
}

/// All kinds by name, with a sentence about each.
pub const KINDS: [(&str, Kind, &str); 7] = [
    ("user_activity", Kind::UserActivity, "who did what on which page"),
    ("clickstream", Kind::Clickstream, "the pages of visits, with referrers and addresses"),
    ("streaming-events", Kind::StreamingEvents, "a shop's logins, views, clicks, baskets, purchases and searches"),
    ("events", Kind::Events, "logs, clicks and transactions of services"),
    ("payments", Kind::Payments, "what people pay and where, some of it with stolen data"),
    ("logins", Kind::Logins, "the logins that go with the payments of the same seed, rate and start"),
    ("sensors", Kind::Sensors, "readings of sensors, with gaps and drifts"),
];

/// Finds a kind by its name.
#[must_use]
pub fn kind(name: &str) -> Option<Kind> {
    KINDS.iter().find(|(known, _, _)| *known == name).map(|(_, kind, _)| *kind)
}

impl Kind {
    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind, _)| *kind == self).map_or("", |(name, _, _)| name)
    }

    /// Returns the parameters of high volume that differ from those of user activity.
    pub(super) fn settings(self, common: Settings) -> Settings {
        let settings = Settings { kind: self, rate: 1_000.0, users: 20_000, repeated: 0.002, rhythm: 0.8, ..common };
        match self {
            Kind::UserActivity => Settings { kind: self, ..common },
            Kind::Clickstream => Settings { repeated: 0.01, urls: 300, ..settings },
            Kind::StreamingEvents => settings,
            Kind::Events => Settings { incidents: 0.01, urls: 200, ..settings },
            Kind::Payments | Kind::Logins => Settings { incidents: 0.002, rate: 100.0, ..settings },
            Kind::Sensors => Settings { incidents: 0.01, users: 5_000, rhythm: 0.0, ..settings },
        }
    }

    /// Returns where the fields are that malformed records spoil.
    pub(super) fn shape(self) -> Shape {
        match self {
            Kind::UserActivity => user_activity::SHAPE,
            Kind::Clickstream => clickstream::SHAPE,
            Kind::StreamingEvents => streaming_events::SHAPE,
            Kind::Events => events::SHAPE,
            Kind::Payments => payments::PAYMENTS,
            Kind::Logins => payments::LOGINS,
            Kind::Sensors => sensors::SHAPE,
        }
    }

    /// Makes what writes its events.
    pub(super) fn events(self, settings: &Settings, timeline: &Timeline) -> Arc<dyn Events> {
        match self {
            Kind::UserActivity => Arc::new(user_activity::UserActivity::new(settings)),
            Kind::Clickstream => Arc::new(clickstream::Clickstream::new(settings, timeline)),
            Kind::StreamingEvents => Arc::new(streaming_events::StreamingEvents::new(settings, timeline)),
            Kind::Events => Arc::new(events::Mixed::new(settings)),
            Kind::Payments => Arc::new(payments::Payments::new(settings, timeline)),
            Kind::Logins => Arc::new(payments::Logins::new(settings, timeline)),
            Kind::Sensors => Arc::new(sensors::Sensors::new(settings)),
        }
    }
}

/// The place of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// Its number among those of all partitions.
    pub(super) number: u64,
    /// Its event time.
    pub(super) time: Timestamp,
}

/// Writes the events of one kind; what it writes is a function of the record's place, its dice and the settings.
pub(super) trait Events: fmt::Debug + Send + Sync {
    /// Appends the event of a record.
    fn write(&self, record: Record, dice: &mut Dice, out: &mut Vec<u8>);

    /// Appends an event that is only there to close windows.
    fn write_last(&self, record: Record, out: &mut Vec<u8>) {
        self.write(record, &mut Dice::at(0, 0, 0), out);
    }
}
