//! What all Kafka clients have in common: their settings, and what they notice on the way.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;

use super::address::Address;
use crate::Error;

/// A setting that Freshet decides, and why.
pub(super) type Owned = (&'static str, &'static str);

const FROM_URL: &str = "the brokers come from the url";

/// Settings that no client may be given.
const OWNED_BY_ALL: [Owned; 2] = [("bootstrap.servers", FROM_URL), ("metadata.broker.list", FROM_URL)];

/// Joins Freshet's settings with the user's, which come verbatim but may not touch what Freshet `owned`.
pub(super) fn configure(
    thing: &str,
    address: &Address,
    own: &[(&str, &str)],
    owned: &[Owned],
    settings: &BTreeMap<String, String>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &address.brokers).set("client.id", "freshet");
    // Connections that the broker closes because they idle are no news.
    config.set("log.connection.close", "false");
    for (key, value) in own {
        config.set(*key, *value);
    }
    for (key, value) in settings {
        if let Some((key, reason)) = OWNED_BY_ALL.iter().chain(owned).find(|(owned, _)| owned == key) {
            return Err(Error::setup(thing, format!("the setting {key} is Freshet's: {reason}"), "remove it"));
        }
        config.set(key, value);
    }
    Ok(config)
}

/// Describes why a client could not be made; the value of a setting is never repeated, it may be a password.
pub(super) fn refused(thing: &str, error: &KafkaError) -> Error {
    // The client's own words for a setting that it knows and has been built without.
    let remedy = match error.to_string().contains("build time") {
        true => "this build has neither TLS nor SCRAM: build Freshet with --features kafka-tls",
        false => "see the list of properties in librdkafka's CONFIGURATION.md",
    };
    match error {
        KafkaError::ClientConfig(_, _, key, _) => Error::setup(thing, format!("the client refuses the setting {key}"), remedy),
        error => Error::setup(thing, format!("the client cannot be made with these settings: {error}"), remedy),
    }
}

/// Sorts an error code: what a person must change, or what may pass.
pub(super) fn sort(thing: &str, topic: &str, code: RDKafkaErrorCode) -> Error {
    use RDKafkaErrorCode as Code;
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => Error::setup(
            thing,
            format!("topic '{topic}' or one of its partitions does not exist"),
            "create it, or correct the url",
        ),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            Error::setup(thing, format!("the user may not use topic '{topic}' ({code})"), "grant it by an ACL")
        }
        Code::GroupAuthorizationFailed | Code::TransactionalIdAuthorizationFailed => Error::setup(
            thing,
            format!("the user may not write topic '{topic}' in transactions ({code})"),
            "grant by ACLs: write and describe the transactional ids and read the groups that begin with 'freshet/', read the topic",
        ),
        Code::InvalidTransactionTimeout => Error::setup(
            thing,
            "the brokers do not allow transactions that may stay open for so long".to_owned(),
            "set transaction.timeout.ms no larger than the brokers' transaction.max.timeout.ms",
        ),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Error::setup(thing, format!("the brokers refuse the credentials ({code})"), "check sasl.username and sasl.password")
        }
        Code::MessageSizeTooLarge => Error::setup(
            thing,
            format!("a row is larger than topic '{topic}' takes"),
            "raise message.max.bytes in the settings and max.message.bytes of the topic",
        ),
        Code::BadCompression | Code::NotImplemented => Error::setup(
            thing,
            format!("topic '{topic}' uses what this client cannot do ({code})"),
            "use lz4, zstd, gzip or no compression",
        ),
        _ => Error::unavailable(thing, format!("topic '{topic}': {code}")),
    }
}

/// Hears what a client notices: outages, once each, and messages that could not be delivered.
#[derive(Debug)]
pub(super) struct Context {
    thing: String,
    brokers: String,
    /// Its owner speaks of outages itself.
    quiet: bool,
    away: AtomicBool,
    doubted: AtomicBool,
    broken: Mutex<Option<String>>,
    last_error: Mutex<Option<String>>,
    failure: Mutex<Option<RDKafkaErrorCode>>,
}

impl Context {
    pub(super) fn new(thing: &str, address: &Address) -> Context {
        Context {
            thing: thing.to_owned(),
            brokers: address.brokers.clone(),
            quiet: false,
            away: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            broken: Mutex::new(None),
            last_error: Mutex::new(None),
            failure: Mutex::new(None),
        }
    }

    /// Hears the same, and leaves it to the client's owner to speak of outages.
    pub(super) fn quiet(thing: &str, address: &Address) -> Context {
        Context { quiet: true, ..Context::new(thing, address) }
    }

    /// Returns the client's words for a connection that broke while it was in use: requests on it may have been sent a second time.
    ///
    /// The client keeps this to its log, where it is written only if `log.connection.close` is on and the level is `info`.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Notes that a broker has answered.
    pub(super) fn heard(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("{}: the brokers at {} answer again", self.thing, self.brokers);
        }
    }

    /// Tells, once, whether the client has found a topic to be gone or closed to it.
    ///
    /// librdkafka keeps this from those who take messages in batches: it comes to light in the client's log alone.
    pub(super) fn take_doubt(&self) -> bool {
        self.doubted.load(Ordering::Relaxed) && self.doubted.swap(false, Ordering::Relaxed)
    }

    /// Returns the client's own words for the latest trouble.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Returns why the first undelivered message was not delivered, once.
    pub(super) fn take_failure(&self) -> Option<RDKafkaErrorCode> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("{}: librdkafka: {facility}: {message}", self.thing);
        if facility == "ERROR" {
            self.doubted.store(true, Ordering::Relaxed);
        }
        // A broker that could not be connected to had nothing to lose; neither had a connection that was being made.
        if facility == "FAIL" && message.contains(" in state UP") {
            let mut broken = self.broken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            broken.get_or_insert_with(|| message.to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("{}: {error}: {reason}", self.thing);
        // That all are away follows from what was said of each before, and tells nothing about why.
        let all_away = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if all_away && !self.quiet && !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}: none of the brokers at {} can be reached; waiting for them", self.thing, self.brokers);
        }
        let mut last = self.last_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !all_away || last.is_none() {
            *last = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let Err((error, message)) = result else { return };
        tracing::debug!("{}: a message for {} was not delivered: {error}", self.thing, message.topic());
        let mut failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.get_or_insert(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
    }
}
