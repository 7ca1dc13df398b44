//! A throw-away PostgreSQL cluster, shared by the tests that run at the same time and stopped by the last of them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use postgres::{Client, NoTls};
use tempfile::TempDir;

/// A running cluster.
pub(crate) struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
    pub(crate) port: u16,
}

/// A new database in the cluster.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) cluster: Arc<Cluster>,
}

static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    /// Returns the running cluster, or starts one.
    pub(crate) fn shared() -> Arc<Cluster> {
        let mut running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(cluster) = running.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Cluster::start());
        *running = Arc::downgrade(&cluster);
        cluster
    }

    fn start() -> Cluster {
        let found =
            Command::new("pg_config").arg("--bindir").output().expect("pg_config, of PostgreSQL's packages, is installed");
        let binaries = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Cluster { folder, binaries, port };
        let data = cluster.data();
        run(cluster
            .command("initdb")
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data));
        let options = format!("-p {port} -k {} -c listen_addresses=127.0.0.1 -c fsync=off", cluster.folder.path().display());
        let log = cluster.folder.path().join("log");
        run(cluster.command("pg_ctl").args(["-w", "start", "-o", &options, "-l"]).arg(&log).arg("-D").arg(&data));
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Builds a command; PostgreSQL refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let path = self.binaries.join(program);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path).current_dir(self.folder.path());
        command
    }

    /// Returns the URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data();
        run(self.command("pg_ctl").args(["-w", "stop", "-m", "immediate", "-D"]).arg(&data));
    }
}

impl Database {
    /// Creates an empty database.
    pub(crate) fn create() -> Database {
        let cluster = Cluster::shared();
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        connect(&cluster.url("postgres")).batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Database { url: cluster.url(&name), cluster }
    }

    /// Connects as an outside reader.
    pub(crate) fn client(&self) -> Client {
        connect(&self.url)
    }
}

/// Connects to a URL.
fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).unwrap()
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(Path::new("/proc/self")).unwrap()) == 0
}

fn run(command: &mut Command) {
    let output = command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
