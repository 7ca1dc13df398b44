//! A Schema Registry as Confluent's, Apicurio's and others offer it: schemas by their ids.
//!
//! A schema never changes under its id, so each is asked for once. Whoever needs one that is not known yet waits, together with all that comes after it in
//! its reader, until the registry has answered: [`Registry::schema`] says [`Trouble::Away`] at once while its [circuit](crate::circuit) allows no attempt,
//! and leaves it to the reader to come back. All readers of a source in a process share the circuit, and so a single probe.
//!
//! What an answer means:
//!
//! | answer | means |
//! |---|---|
//! | 200 | the schema |
//! | 404 with a code of the registry's own | there is none of this id: a dead letter |
//! | 401, 403 | the credentials are wrong: the job stops |
//! | another 4xx | the address is not that of a registry: the job stops |
//! | 5xx, 408, 429, or none | it is away: it is waited for, for as long as the circuit's policy says |

mod client;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Deserialize;

use self::client::{Client, Reply};
use crate::Error;
use crate::circuit::{Circuit, Gauge};
use crate::retry::Policy;

/// Answers of so many ids are kept.
const MAX_ANSWERS: usize = 10_000;

/// A schema may refer to so many others, directly or not.
const MAX_REFERENCES: usize = 100;

/// Where a registry is, and how it is spoken to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// `http://host:port/path` or `https://…`, without user and password.
    pub url: String,
    /// The name of a user, for basic authentication.
    pub user: Option<String>,
    /// Their password.
    pub password: Option<String>,
    /// A file with the certificates (PEM) that may sign the registry's; by default those that the system trusts.
    pub ca: Option<PathBuf>,
}

/// Shows no password.
impl std::fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryOptions").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// The language in which a schema is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Avro,
    Protobuf,
}

impl Language {
    /// Returns its name among registries; one that says none means Avro.
    fn code(self) -> &'static str {
        match self {
            Language::Avro => "AVRO",
            Language::Protobuf => "PROTOBUF",
        }
    }

    /// Returns its name among people.
    fn name(self) -> &'static str {
        match self {
            Language::Avro => "Avro",
            Language::Protobuf => "Protobuf",
        }
    }
}

/// Another schema that one refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// What it is called there: of Protobuf, the path that is imported.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What a registry knows of an id.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The schema of this text, and those that it refers to, the innermost first.
    Schema { text: String, references: Vec<Reference> },
    /// A schema of another language, or one that refers to what is not there: why it is of no use.
    Unreadable(String),
    /// Nothing.
    Unknown,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The registry is away; the same question may be answered later.
    Away,
    /// It has been borne for long enough, or a person has to change something.
    Lasting(Error),
}

/// A registry and what it has said so far.
pub(crate) struct Registry {
    client: Client,
    /// Schemas in any other are of no use.
    language: Language,
    known: Mutex<Known>,
}

/// What is remembered.
struct Known {
    answers: HashMap<u32, Answer>,
    circuit: Arc<Circuit>,
}

impl Registry {
    /// Prepares to ask a registry for whoever `thing` names, and to wait for it forever unless it is [guarded](Self::guard). Nothing is sent yet.
    ///
    /// # Errors
    /// The address or the file of certificates is wrong.
    pub(crate) fn open(thing: &str, options: &RegistryOptions, language: Language) -> Result<Registry, Error> {
        let client = Client::new(thing, options)?;
        let circuit = Circuit::new(&format!("registry of {thing}"), Policy::default(), Arc::new(Gauge::default()));
        Ok(Registry { client, language, known: Mutex::new(Known { answers: HashMap::new(), circuit }) })
    }

    /// Takes the circuit by which attempts are repeated.
    pub(crate) fn guard(&self, circuit: &Arc<Circuit>) {
        self.lock().circuit = Arc::clone(circuit);
    }

    /// Makes one that knows these schemas and is never asked.
    #[cfg(test)]
    pub(crate) fn known(schemas: &[(u32, &str)]) -> Registry {
        let options = RegistryOptions { url: "http://localhost".to_owned(), ..RegistryOptions::default() };
        let registry = Registry::open("source 's'", &options, Language::Avro).expect("a url");
        let mut known = registry.known.lock().expect("not poisoned");
        for (id, text) in schemas {
            known.answers.insert(*id, Answer::Schema { text: (*text).to_owned(), references: Vec::new() });
        }
        // Small ids are of tests; what they do not know, nobody does.
        for id in 0..10 {
            known.answers.entry(id).or_insert(Answer::Unknown);
        }
        drop(known);
        registry
    }

    /// Returns what the registry knows of an id.
    pub(crate) fn schema(&self, id: u32) -> Result<Answer, Trouble> {
        // One at a time: the others would ask the same.
        let mut known = self.lock();
        if let Some(answer) = known.answers.get(&id) {
            return Ok(answer.clone());
        }
        let answer = known.attempt(|| self.fetch(id))?;
        if known.answers.len() >= MAX_ANSWERS {
            known.answers.clear();
        }
        known.answers.insert(id, answer.clone());
        Ok(answer)
    }

    /// Registers a schema under a subject, unless it is there already, and returns its id.
    pub(crate) fn register(&self, subject: &str, schema: &str) -> Result<u32, Trouble> {
        #[derive(Deserialize)]
        struct Registered {
            id: u32,
        }
        let body = serde_json::json!({ "schema": schema }).to_string();
        let reply = self.lock().attempt(|| self.client.post(&["subjects", subject, "versions"], &body))?;
        match reply {
            Reply::Found(text) => {
                self.client.parse::<Registered>(&text).map(|registered| registered.id).map_err(Trouble::Lasting)
            }
            Reply::Refused(why) => Err(Trouble::Lasting(self.client.refused(subject, &why))),
            Reply::Missing => Err(Trouble::Lasting(self.client.refused(subject, "it takes no schemas"))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch(&self, id: u32) -> Result<Answer, Error> {
        let text = match self.client.get(&["schemas", "ids", &id.to_string()])? {
            Reply::Found(text) => text,
            Reply::Missing | Reply::Refused(_) => return Ok(Answer::Unknown),
        };
        let found: Found = self.client.parse(&text)?;
        let (mut met, mut references) = (Vec::new(), Vec::new());
        match self.collect(&found, &mut met, &mut references)? {
            Some(missing) => Ok(Answer::Unreadable(missing)),
            None => Ok(Answer::Schema { text: found.schema, references }),
        }
    }

    /// Adds the schemas that one refers to, except those that have been `met`, innermost first; returns why that cannot be done.
    fn collect(&self, found: &Found, met: &mut Vec<Pointer>, all: &mut Vec<Reference>) -> Result<Option<String>, Error> {
        let (language, wanted) = (found.language.as_deref().unwrap_or(Language::Avro.code()), self.language);
        if language != wanted.code() {
            return Ok(Some(format!("it is {language}, not {}", wanted.name())));
        }
        for pointer in &found.references {
            if met.contains(pointer) {
                continue;
            }
            if met.len() >= MAX_REFERENCES {
                return Ok(Some(format!("it refers to more than {MAX_REFERENCES} schemas")));
            }
            met.push(pointer.clone());
            let Pointer { name, subject, version } = pointer;
            let Reply::Found(text) = self.client.get(&["subjects", subject, "versions", &version.to_string()])? else {
                return Ok(Some(format!("it refers to version {version} of '{subject}', which is not there")));
            };
            let inner: Found = self.client.parse(&text)?;
            if let Some(problem) = self.collect(&inner, met, all)? {
                return Ok(Some(problem));
            }
            all.push(Reference { name: name.clone(), text: inner.schema });
        }
        Ok(None)
    }
}

impl Known {
    /// Makes an attempt, unless the circuit allows none.
    fn attempt<T>(&self, attempt: impl FnOnce() -> Result<T, Error>) -> Result<T, Trouble> {
        if !self.circuit.may_try() {
            return Err(Trouble::Away);
        }
        let began = Instant::now();
        match attempt() {
            Ok(answer) => {
                self.circuit.succeeded();
                Ok(answer)
            }
            Err(error) => Err(self.circuit.failed(began, error).map_or_else(Trouble::Lasting, |()| Trouble::Away)),
        }
    }
}

/// A schema as a registry tells it.
#[derive(Deserialize)]
struct Found {
    schema: String,
    #[serde(rename = "schemaType")]
    language: Option<String>,
    #[serde(default)]
    references: Vec<Pointer>,
}

/// Where another schema is that one refers to.
#[derive(Clone, PartialEq, Eq, Deserialize)]
struct Pointer {
    #[serde(default)]
    name: String,
    subject: String,
    version: u32,
}

#[cfg(test)]
mod tests;
