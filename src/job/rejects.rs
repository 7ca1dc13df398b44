//! The places of dead letters and late events: `[dead_letters]` and `[late_events]`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use freshet_connectors::letters::{Kind, RejectsOptions, Shelf};

use super::forms::Setting;
use super::resolve::DEFAULT_MAX_RECORD_BYTES;
use super::values::Context;
use super::written::{DeadLetterTable, LateEventTable, Named, Text};
use super::{Error, Job, SinkSpec, SourceSpec};
use crate::redact;

/// A place is named in progress rows, transactions and metrics like a sink.
const NAMES: [(Kind, &str); 2] = [(Kind::Dead, "dead_letters"), (Kind::Late, "late_events")];

const SCHEMES: [&str; 5] = ["kafka", "postgres", "postgresql", "sqlite", "file"];

/// A place for dead letters or late events.
#[derive(Clone)]
pub struct RejectsSpec {
    /// What it takes.
    pub kind: Kind,
    /// Where it is; may hold a password.
    pub url: String,
    /// So much of a dead letter's record is kept.
    pub max_payload_bytes: usize,
    /// The client library's settings; may hold passwords.
    pub settings: BTreeMap<String, String>,
    pub(crate) place: Range<usize>,
}

impl RejectsSpec {
    /// Returns the name of its sink.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES[usize::from(self.kind == Kind::Late)].1
    }
}

impl fmt::Debug for RejectsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = redact::url(&self.url);
        f.debug_struct("RejectsSpec").field("kind", &self.kind).field("url", &url).finish_non_exhaustive()
    }
}

/// A sink is made for dead letters and late events if the job has none that could hold them.
pub(crate) const LAST_RESORT: (&str, &str) = ("rejects", "file://data/rejects");

impl Job {
    /// Returns the places that need a sink of their own: a database that holds views anyway keeps rejects beside them.
    pub fn places(&self) -> impl Iterator<Item = &RejectsSpec> {
        let own = |spec: &&RejectsSpec| !self.sinks.iter().any(|sink| sink.url == spec.url);
        self.dead_letters.iter().chain(&self.late_events).filter(own)
    }

    /// Returns how much of a dead letter's record a sink keeps beside its views, if it is more than usual.
    #[must_use]
    pub fn max_payload_bytes(&self, sink: &SinkSpec) -> Option<usize> {
        self.dead_letters.as_ref().filter(|spec| spec.url == sink.url).map(|spec| spec.max_payload_bytes)
    }

    /// Returns what a place's sink is to know.
    #[must_use]
    pub fn rejects_options(&self, spec: &RejectsSpec) -> RejectsOptions {
        let topics = self.sources.iter().filter_map(|source| Some((source.name.clone(), topic(&source.url)?)));
        RejectsOptions { kind: spec.kind, max_payload_bytes: spec.max_payload_bytes, topics: topics.collect() }
    }

    /// Returns where rejects of a kind are to be read: their own place if there is one, or beside the views of the first of `tables`, the
    /// sinks that hold tables.
    #[must_use]
    pub fn shelf(&self, kind: Kind, tables: &[&SinkSpec]) -> Shelf {
        let spec = match kind {
            Kind::Dead => &self.dead_letters,
            Kind::Late => &self.late_events,
        };
        let shelf = |name: &str, url: &str, alone, settings: &BTreeMap<String, String>| Shelf {
            job: self.name.clone(),
            name: name.to_owned(),
            url: url.to_owned(),
            alone,
            settings: settings.clone(),
        };
        let beside = |sink: &SinkSpec| shelf(&sink.name, &sink.url, false, &sink.settings);
        match spec {
            Some(spec) => match self.sinks.iter().find(|sink| sink.url == spec.url) {
                Some(sink) => beside(sink),
                None => shelf(spec.name(), &spec.url, true, &spec.settings),
            },
            None => match tables.iter().find(|sink| !sink.url.starts_with("console://")) {
                Some(sink) => beside(sink),
                None => shelf(LAST_RESORT.0, LAST_RESORT.1, false, &BTreeMap::new()),
            },
        }
    }
}

/// Returns the topic of a URL, if it is one of Kafka.
fn topic(url: &str) -> Option<String> {
    let rest = url.strip_prefix("kafka://")?;
    let path = rest.split('?').next()?;
    path.split_once('/').map(|(_, topic)| topic.to_owned())
}

impl Context<'_> {
    pub(super) fn dead_letters(&self, table: DeadLetterTable, sources: &[SourceSpec]) -> Result<RejectsSpec, Error> {
        let largest = sources.iter().map(|source| source.max_record_bytes as u64).max().unwrap_or(DEFAULT_MAX_RECORD_BYTES);
        let max = self.positive_size("dead_letters.max_payload_bytes", table.max_payload_bytes.as_ref(), largest)?;
        let spec = self.place_of(Kind::Dead, &table.url, table.kafka)?;
        Ok(RejectsSpec { max_payload_bytes: usize::try_from(max).unwrap_or(usize::MAX), ..spec })
    }

    pub(super) fn late_events(&self, table: LateEventTable) -> Result<RejectsSpec, Error> {
        self.place_of(Kind::Late, &table.url, table.kafka)
    }

    fn place_of(&self, kind: Kind, url: &Text, settings: Named<toml::Spanned<Setting>>) -> Result<RejectsSpec, Error> {
        let name = NAMES[usize::from(kind == Kind::Late)].1;
        let place = url.span();
        let url = self.url(&format!("{name}.url"), url, &SCHEMES)?;
        let settings = self.settings(&format!("{name}.kafka"), settings)?;
        Ok(RejectsSpec { kind, url, max_payload_bytes: usize::MAX, settings, place })
    }

    /// Refuses places that would get into the way of a sink or of each other.
    pub(super) fn check_places(&self, places: [Option<&RejectsSpec>; 2], sinks: &[SinkSpec]) -> Result<(), Error> {
        for spec in places.into_iter().flatten() {
            let name = spec.name();
            if let Some(sink) = sinks.iter().find(|sink| sink.name == name) {
                let what = format!("a sink is called '{name}', as the place of [{name}] is");
                return Err(self.error_at(&sink.place, what, "give the sink another name"));
            }
            let is_taken = |sink: &&SinkSpec| sink.url == spec.url && !is_database(&spec.url);
            if let Some(sink) = sinks.iter().find(is_taken) {
                let what = format!("[{name}] and the sink '{}' have the same url", sink.name);
                return Err(self.error_at(&spec.place, what, "give each a place of its own"));
            }
        }
        match places {
            [Some(dead), Some(late)] if dead.url == late.url && !is_database(&dead.url) => {
                let what = "[dead_letters] and [late_events] have the same url";
                Err(self.error_at(&late.place, what, "give each a place of its own"))
            }
            _ => Ok(()),
        }
    }
}

/// Tells whether several sinks can share a place, in tables that name the sink of each row.
fn is_database(url: &str) -> bool {
    ["postgres://", "postgresql://", "sqlite://"].iter().any(|scheme| url.starts_with(scheme))
}
