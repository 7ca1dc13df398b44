//! One throw-away PostgreSQL cluster for the whole test run, with a database for each test.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use postgres::{Client, NoTls};

use crate::server::{Server, free_ports, run, wait_for};

/// A role that has to give [`LOCKED_PASSWORD`].
pub const LOCKED_ROLE: &str = "locked";
/// Its password.
pub const LOCKED_PASSWORD: &str = "open-sesame-42";

/// The database server.
pub struct Postgres {
    port: u16,
    /// To be killed, stopped and started again, by those who have the database for themselves.
    pub server: Server,
}

/// A database of one test.
pub struct Database {
    /// Its URL, as a job takes it.
    pub url: String,
}

impl Postgres {
    /// Returns the server, which the first caller starts.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Postgres::start(false))
    }

    /// Starts a cluster of one's own; with `fsync`, what it has committed survives a crash of the machine too.
    pub fn start(fsync: bool) -> Postgres {
        let folder = tempfile::Builder::new().prefix("freshet-postgres-").tempdir().expect("a temporary folder").keep();
        let data = folder.join("data").to_string_lossy().into_owned();
        let as_owner = as_owner(&folder);
        let binaries = binaries();
        let command = |words: &[&str]| -> Vec<String> {
            as_owner.iter().map(String::as_str).chain(words.iter().copied()).map(str::to_owned).collect()
        };

        let initdb = command(&[
            &format!("{binaries}/initdb"),
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
            &data,
        ]);
        run(Command::new(&initdb[0]).args(&initdb[1..]).current_dir(&folder));
        let hba =
            format!("host all {LOCKED_ROLE} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n");
        std::fs::write(format!("{data}/pg_hba.conf"), hba).expect("the cluster's folder can be written");

        let [port] = free_ports();
        let (number, socket) = (port.to_string(), folder.to_string_lossy().into_owned());
        let settings =
            ["-c", "listen_addresses=127.0.0.1", "-c", if fsync { "fsync=on" } else { "fsync=off" }, "-c", "max_connections=60"];
        let server =
            command(&[&[&format!("{binaries}/postgres"), "-D", &data, "-p", &number, "-k", &socket], &settings[..]].concat());
        let mut server = Server::start("postgres", &folder, "INT", &server);
        let url = |database: &str| format!("postgres://postgres@127.0.0.1:{port}/{database}");
        server.wait_until(|| Client::connect(&url("postgres"), NoTls).is_ok());
        let role = format!("CREATE ROLE {LOCKED_ROLE} LOGIN SUPERUSER PASSWORD '{LOCKED_PASSWORD}'");
        Client::connect(&url("postgres"), NoTls).and_then(|mut c| c.batch_execute(&role)).expect("a role");
        Postgres { port, server }
    }

    /// Waits until the server answers, after it has been started again.
    pub fn wait_until_ready(&mut self) {
        let url = self.existing("postgres").url;
        self.server.wait_until(|| Client::connect(&url, NoTls).is_ok());
    }

    /// Creates an empty database.
    pub fn database(&self, name: &str) -> Database {
        let create = format!("CREATE DATABASE {name}");
        self.existing("postgres").connect().batch_execute(&create).unwrap_or_else(|e| panic!("{create}: {e}"));
        self.existing(name)
    }

    /// Names a database that exists, or that shall not.
    pub fn existing(&self, name: &str) -> Database {
        Database { url: format!("postgres://postgres@127.0.0.1:{}/{name}", self.port) }
    }

    /// Returns a URL with another role and password.
    pub fn url_as(&self, role: &str, password: &str, name: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{name}", self.port)
    }
}

impl Database {
    /// Opens a connection.
    pub fn connect(&self) -> Client {
        Client::connect(&self.url, NoTls).unwrap_or_else(|e| panic!("cannot connect to {}: {e}", self.url))
    }

    /// Returns the number that a query asks for; `None` if the query fails (no such table yet) or finds none.
    pub fn number(&self, query: &str) -> Option<i64> {
        let row = self.connect().query_opt(query, &[]).ok()??;
        row.try_get::<_, Option<i64>>(0).ok()?
    }

    /// Waits until a query gives this number.
    pub fn wait_for(&self, query: &str, expected: i64, limit: Duration) {
        let mut last = None;
        let met = wait_for(limit, || {
            last = self.number(query);
            last == Some(expected)
        });
        assert!(met, "{query} gave {last:?} and not {expected} within {limit:?}");
    }
}

/// Returns the words in front of a server command: PostgreSQL refuses to run as root, so root becomes `postgres`.
fn as_owner(folder: &Path) -> Vec<String> {
    if run(Command::new("id").arg("-u")).trim() != "0" {
        return Vec::new();
    }
    run(Command::new("chown").arg("postgres").arg(folder));
    ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"].map(str::to_owned).to_vec()
}

/// Returns the folder of the server's programs: pg_config's, or that of the newest Debian package.
fn binaries() -> String {
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = configured.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<String> = packaged.map(|e| e.path().join("bin").to_string_lossy().into_owned()).collect();
    packaged.sort();
    packaged.reverse();
    let all = configured.into_iter().chain(packaged);
    let has_server = |folder: &String| Path::new(folder).join("initdb").exists() && Path::new(folder).join("postgres").exists();
    all.into_iter().find(has_server).expect("the programs of a PostgreSQL server; on Debian: apt-get install postgresql")
}
