//! Requests to a registry, and what their answers mean.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http::Response};
use url::Url;

use super::RegistryOptions;
use crate::{Error, trust};

/// A registry that has not answered within this is away.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A larger answer is refused.
const MAX_BYTES: u64 = 10 << 20;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A connection to a registry, made anew as needed.
pub(super) struct Client {
    thing: String,
    url: Url,
    authorization: Option<String>,
    agent: Agent,
}

/// An answer that is worth something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The text that was asked for.
    Found(String),
    /// The registry says itself that there is no such thing.
    Missing,
    /// It does not want what it was given, in its own words.
    Refused(String),
}

/// What a registry says of an error.
#[derive(Deserialize)]
struct Problem {
    error_code: Option<i64>,
    message: Option<String>,
}

impl Client {
    pub(super) fn new(thing: &str, options: &RegistryOptions) -> Result<Client, Error> {
        let refuse = |problem: String, remedy: &str| Error::setup(thing, problem, remedy);
        let url = Url::parse(&options.url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            return Err(refuse("the url of its registry is no url".to_owned(), "write http://host:port or https://host:port"));
        };
        let authorization = options.user.as_ref().map(|user| {
            let password = options.password.as_deref().unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        let tls = match url.scheme() {
            "https" => Some(tls(options).map_err(|problem| refuse(problem, "name a file of certificates in PEM as 'ca'"))?),
            _ => None,
        };
        let mut config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).user_agent("freshet");
        if let Some(tls) = tls {
            config = config.tls_config(tls);
        }
        Ok(Client { thing: thing.to_owned(), url, authorization, agent: config.build().into() })
    }

    /// Asks for what lies at a path. A registry that is away is an error that passes.
    pub(super) fn get(&self, path: &[&str]) -> Result<Reply, Error> {
        let mut request = self.agent.get(self.at(path)?).header("Accept", MEDIA_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.sort(request.call())
    }

    /// Gives a text to what lies at a path.
    pub(super) fn post(&self, path: &[&str], body: &str) -> Result<Reply, Error> {
        let mut request = self.agent.post(self.at(path)?).header("Accept", MEDIA_TYPE).header("Content-Type", MEDIA_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.sort(request.send(body))
    }

    /// Reads an answer.
    pub(super) fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|_| self.not_a_registry("it answers in a language of its own"))
    }

    /// Describes that the registry does not want a schema.
    pub(super) fn refused(&self, subject: &str, why: &str) -> Error {
        let problem = format!("the registry at {} refuses the schema of the rows for '{subject}': {why}", self.url);
        Error::setup(&self.thing, problem, "keep the view's columns compatible with the schemas there, or write another topic")
    }

    /// Describes that nobody answers, or not now.
    fn away(&self, why: &str) -> Error {
        Error::unavailable(&self.thing, format!("the registry at {} does not answer ({why})", self.url))
    }

    fn not_a_registry(&self, why: &str) -> Error {
        let problem = format!("there is no schema registry at {}: {why}", self.url);
        Error::setup(&self.thing, problem, "correct the registry's url; of Apicurio it ends in /apis/ccompat/v7")
    }

    fn at(&self, path: &[&str]) -> Result<String, Error> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().extend(path)),
            Err(()) => return Err(self.not_a_registry("its url has no path")),
        }
        Ok(url.into())
    }

    /// Sorts an answer by its status.
    fn sort(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Reply, Error> {
        let mut response = response.map_err(|error| self.sort_error(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MAX_BYTES).read_to_string();
        let text = text.map_err(|error| self.away(&format!("its answer broke off: {error}")))?;
        let problem: Option<Problem> = serde_json::from_str(&text).ok();
        let own = problem.as_ref().is_some_and(|problem| problem.error_code.is_some());
        match status {
            200..=299 => Ok(Reply::Found(text)),
            404 if own => Ok(Reply::Missing),
            409 | 422 if own => Ok(Reply::Refused(problem.and_then(|problem| problem.message).unwrap_or_default())),
            401 | 403 => {
                let problem = format!("the registry at {} refuses the credentials (status {status})", self.url);
                Err(Error::setup(&self.thing, problem, "set 'user' and 'password' of its registry"))
            }
            408 | 429 | 500.. => Err(self.away(&format!("status {status}"))),
            _ => Err(self.not_a_registry(&format!("status {status}"))),
        }
    }

    /// Sorts what came instead of an answer.
    fn sort_error(&self, error: &ureq::Error) -> Error {
        match error {
            ureq::Error::Io(cause) if is_mistrust(cause) => Error::setup(
                &self.thing,
                format!("no secure connection to the registry at {}: {error}", self.url),
                "name the file of the certificate that has signed the registry's as 'ca'",
            ),
            error => self.away(&error.to_string()),
        }
    }
}

/// Tells whether the other side has shown a certificate that nobody trusted has signed, or that is another's.
fn is_mistrust(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// Trusts the certificates of a file, or else those of the system.
fn tls(options: &RegistryOptions) -> Result<TlsConfig, String> {
    let certificates = trust::certificates(options.ca.as_deref())?;
    let certificates: Vec<_> = certificates.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let roots = RootCerts::new_with_certs(&certificates);
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(trust::provider()).build())
}
