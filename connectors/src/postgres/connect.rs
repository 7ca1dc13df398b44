//! Connections: from a URL to a session, and from the driver's errors to sentences.

use std::error::Error as StdError;
use std::time::Duration;

use postgres::config::{Host, SslMode};
pub(super) use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::Error;

/// Where the database is, and how it is called in messages.
pub(super) struct Place {
    config: Config,
    /// Set if connections are to be encrypted.
    tls: Option<MakeRustlsConnect>,
    /// The sink or table with host, port and database; never the password.
    pub(super) thing: String,
}

impl Place {
    /// Reads a URL; `unnamed` is what it is of, such as `sink 'warehouse'`.
    pub(super) fn parse(url: &str, unnamed: &str) -> Result<Place, Error> {
        let form = "write postgres://user:password@host:port/database, with %-escapes for special characters";
        let (url, tls) = tls::split(url);
        let tls = tls.map(|wanted| wanted.connector()).transpose();
        let tls = tls.map_err(|problem| Error::setup(unnamed, problem, "name a file of certificates in PEM as sslrootcert"))?;
        let mut config = url.parse::<Config>().map_err(|error| Error::setup(unnamed, chain(&error), form))?;
        let Some(Host::Tcp(host)) = config.get_hosts().first().cloned() else {
            return Err(Error::setup(unnamed, "its url names no host", form));
        };
        let Some(database) = config.get_dbname().map(str::to_owned) else {
            return Err(Error::setup(unnamed, "its url names no database", form));
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        config
            .application_name("freshet")
            .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable })
            .connect_timeout(Duration::from_secs(10))
            // A server that has gone without a word is noticed after half a minute.
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(4)
            .tcp_user_timeout(Duration::from_secs(30));
        Ok(Place { config, tls, thing: format!("{unnamed} (postgres {host}:{port}/{database})") })
    }

    /// Connects and sets the session up for a statement that reads a table as a whole.
    pub(super) fn connect_to_read(&self) -> Result<Client, postgres::Error> {
        let mut client = self.open()?;
        // Who changes the table meanwhile must not be waited for without end.
        client.batch_execute("SET TimeZone = 'UTC'; SET lock_timeout = '10s'; SET default_transaction_read_only = on")?;
        Ok(client)
    }

    fn open(&self) -> Result<Client, postgres::Error> {
        match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        }
    }

    /// Connects and sets the session up for statements that find their rows by key.
    pub(super) fn connect(&self) -> Result<Client, postgres::Error> {
        let mut client = self.open()?;
        // Every statement here touches a few rows of a table that may be large, so an index is always right; a plan made while
        // the table was small must not stay a scan of all of it. Plans are made once, so that a commit does not pay for them.
        client.batch_execute(
            "SET TimeZone = 'UTC'; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
             SET jit = off; SET plan_cache_mode = force_generic_plan; SET client_min_messages = warning",
        )?;
        Ok(client)
    }

    /// Says why a connection could not be made, and what to do.
    pub(super) fn explain_connect(&self, error: &postgres::Error) -> Error {
        let user = self.config.get_user().unwrap_or("");
        let database = self.config.get_dbname().unwrap_or("");
        let Some(db) = error.as_db_error() else {
            let remedy = match chain(error) {
                text if text.contains("password") => "put the password into the url: postgres://user:password@host:port/database",
                _ => "is PostgreSQL running there, and can this machine reach it?",
            };
            return Error::setup(&self.thing, chain(error), remedy);
        };
        let remedy = match *db.code() {
            SqlState::INVALID_PASSWORD => format!("check the password of user '{user}' in its url"),
            SqlState::INVALID_CATALOG_NAME => format!("create it: createdb {} {database}", self.command_arguments()),
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                format!(
                    "create the user '{user}' or allow it in pg_hba.conf; with sslmode=verify-full in the url the connection is by TLS"
                )
            }
            SqlState::TOO_MANY_CONNECTIONS => "raise max_connections or end other sessions".to_owned(),
            SqlState::CANNOT_CONNECT_NOW => "wait until the server has started".to_owned(),
            _ => "see the server's log".to_owned(),
        };
        Error::setup(&self.thing, db.message(), remedy)
    }

    /// Says why a connection could not be made *again*: what has worked before may work later.
    pub(super) fn explain_reconnect(&self, error: &postgres::Error) -> Error {
        let lasting = [SqlState::INVALID_PASSWORD, SqlState::INVALID_CATALOG_NAME, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
        if error.code().is_some_and(|code| lasting.contains(code)) {
            return self.explain_connect(error);
        }
        Error::unavailable(&self.thing, format!("cannot connect: {}", chain(error)))
    }

    /// Says why a statement failed.
    pub(super) fn explain(&self, error: &postgres::Error) -> Error {
        match error.as_db_error() {
            None => Error::unavailable(&self.thing, chain(error)),
            Some(db) if may_pass(db.code()) => Error::unavailable(&self.thing, db.message()),
            Some(db) => {
                let remedy = match *db.code() {
                    SqlState::INSUFFICIENT_PRIVILEGE => {
                        "give the user the right: CREATE and TEMPORARY on the database, SELECT, INSERT, UPDATE and DELETE on the tables"
                    }
                    SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN => {
                        "restart the job, which creates and checks its tables"
                    }
                    _ => "see the server's log for the statement",
                };
                Error::setup(&self.thing, format!("{} (SQLSTATE {})", db.message(), db.code().code()), remedy)
            }
        }
    }

    fn command_arguments(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            _ => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("-h {host} -p {port} -U {}", self.config.get_user().unwrap_or("postgres"))
    }
}

/// Tells whether a refusal is about the server's state, not about what was asked.
fn may_pass(code: &SqlState) -> bool {
    // Connection lost, rolled back for concurrency, out of resources, ended by an operator, locked, timed out, read-only standby.
    let classes = ["08", "40", "53", "57", "58"];
    let codes = ["55P03", "25006", "25P03"];
    classes.iter().any(|class| code.code().starts_with(class)) || codes.contains(&code.code())
}

/// Tells whether a refusal is about a value in a row, which others need not suffer for.
pub(super) fn is_about_a_row(error: &postgres::Error) -> bool {
    // Data exception, integrity constraint, program limit (index entry, row size), a trigger's RAISE, a view's check option.
    let classes = ["22", "23", "54", "44"];
    error.code().is_some_and(|code| classes.iter().any(|class| code.code().starts_with(class)) || code.code() == "P0001")
}

/// Tells whether a refusal says that the database has no such value at all.
pub(super) fn is_no_value(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22"))
}

/// Joins an error with its causes.
fn chain(error: &postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        Place::parse(url, "sink 'db'").map(|place| place.thing).expect_err(url).to_string()
    }

    #[test]
    fn messages_name_the_place_and_never_the_password() {
        let place = Place::parse("postgres://me:secret@db.example:5433/stream_data", "sink 'warehouse'").unwrap();
        assert_eq!(place.thing, "sink 'warehouse' (postgres db.example:5433/stream_data)");
        for url in ["postgres://me:secret@h:x/db", "postgres://me:secret@h:1"] {
            assert!(!refusal(url).contains("sec"), "{}", refusal(url));
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_a_person_has_to_change() {
        for code in ["08006", "40001", "40P01", "53300", "57P01", "57P03", "57014", "58030", "55P03", "25006", "25P03"] {
            assert!(may_pass(&SqlState::from_code(code)), "{code}");
        }
        for code in ["42P01", "42703", "42501", "42804", "28P01", "3D000", "22001", "23505"] {
            assert!(!may_pass(&SqlState::from_code(code)), "{code}");
        }
    }

    #[test]
    fn tls_is_used_if_the_url_insists_on_it() {
        let is_encrypted = |url: &str| Place::parse(url, "sink 'db'").unwrap().tls.is_some();
        assert!(is_encrypted("postgres://h/db?sslmode=require"));
        assert!(is_encrypted("postgres://u@h/db?connect_timeout=3&sslmode=verify-full"));
        assert!(!is_encrypted("postgres://u@h/db?sslmode=prefer") && !is_encrypted("postgres://u@h/db"));
        assert!(refusal("postgres://u@h/db?sslmode=verify-full&sslrootcert=/none.pem").contains("cannot read /none.pem"));
    }
}
