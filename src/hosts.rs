//! The cluster file: where the processes of a job listen, how they know each other, and when one counts as lost.
//!
//! ```toml
//! hosts = ["10.0.0.1:2101", "10.0.0.2:2101"]
//! secret = "${FRESHET_SECRET}"
//! ```

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use freshet_cluster::{Secret, Timeouts};
use serde::Deserialize;
use toml::Spanned;

use crate::job::{Context, Error, Lookup, Origin};

/// Read when a job has several processes and no file is named.
pub const DEFAULT_FILE: &str = "cluster.toml";

/// A secret that is shorter could be found by trying.
const MIN_SECRET_BYTES: usize = 16;

/// A cluster file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where each process listens, in the order of their indices.
    pub hosts: Vec<String>,
    /// What the processes know and nobody else.
    pub secret: Secret,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Worker threads of each process, if the file says so.
    pub workers: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    hosts: Vec<Spanned<String>>,
    secret: Option<Spanned<String>>,
    secret_file: Option<Spanned<String>>,
    heartbeat: Option<Spanned<String>>,
    lost_after: Option<Spanned<String>>,
    join: Option<Spanned<String>>,
    workers: Option<NonZeroU16>,
}

/// Reads a cluster file; it must list `processes` hosts when a number is given.
///
/// # Errors
/// The file cannot be read, a host is none or stands twice, their number is another one, or a secret is needed and missing.
pub fn read(path: &Path, processes: Option<usize>) -> Result<Cluster, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read the cluster file: {error}");
        Error::of_file(path, what, "name one with --cluster; it lists hosts = [\"host:port\", …], one for each process")
    })?;
    parse(path, &text, processes, &|name| std::env::var(name).ok())
}

fn parse(path: &Path, text: &str, processes: Option<usize>, lookup: Lookup<'_>) -> Result<Cluster, Error> {
    let origin = Origin { path: path.to_owned(), text: Arc::from(text) };
    let file: ClusterFile = toml::from_str(text).map_err(|error| origin.toml_error(&error))?;
    let context = Context::new(&origin, lookup);
    let hosts = hosts(&context, &file.hosts)?;
    match processes {
        Some(processes) if processes != hosts.len() => {
            let what = format!("it lists {} hosts, but the job has {processes} processes", hosts.len());
            return Err(Error::of_file(path, what, "make -n and the list agree"));
        }
        _ if hosts.is_empty() => return Err(Error::of_file(path, "it lists no hosts", "list one for each process")),
        _ => {}
    }
    let timeouts = timeouts(&context, &file)?;
    let workers = file.workers.map(|workers| usize::from(workers.get()));
    Ok(Cluster { secret: secret(&context, path, &file, &hosts)?, hosts, timeouts, workers })
}

fn hosts(context: &Context<'_>, written: &[Spanned<String>]) -> Result<Vec<String>, Error> {
    let mut hosts: Vec<String> = Vec::new();
    for host in written {
        if !is_address(host.get_ref()) {
            let what = format!("'{}' is not an address", host.get_ref());
            return Err(context.error(host, what, "write it like 10.0.0.1:2101 or node-1.example:2101"));
        }
        if hosts.contains(host.get_ref()) {
            let what = format!("'{}' stands twice", host.get_ref());
            return Err(context.error(host, what, "give each process an address of its own"));
        }
        hosts.push(host.get_ref().clone());
    }
    Ok(hosts)
}

fn timeouts(context: &Context<'_>, file: &ClusterFile) -> Result<Timeouts, Error> {
    let usual = Timeouts::default();
    let heartbeat = context.positive("heartbeat", file.heartbeat.as_ref(), usual.heartbeat)?;
    let lost_after = context.positive("lost_after", file.lost_after.as_ref(), usual.lost_after)?;
    if let Some(place) = file.lost_after.as_ref().or(file.heartbeat.as_ref())
        && lost_after < heartbeat * 2
    {
        let what = "a process would be lost between two of its heartbeats";
        return Err(context.error(place, what, "make lost_after at least twice as long as heartbeat"));
    }
    let join = file.join.as_ref().map(|join| context.positive("join", Some(join), usual.lost_after)).transpose()?;
    Ok(Timeouts { heartbeat, lost_after, join })
}

/// Returns the secret; without one, processes of one machine have a known one.
fn secret(context: &Context<'_>, path: &Path, file: &ClusterFile, hosts: &[String]) -> Result<Secret, Error> {
    let (key, place, bytes) = match (&file.secret, &file.secret_file) {
        (Some(_), Some(place)) => {
            return Err(context.error(place, "'secret' and 'secret_file' are two secrets", "leave one of them out"));
        }
        (Some(place), None) => ("secret", place, context.value("secret", place)?.into_bytes()),
        (None, Some(place)) => ("secret_file", place, secret_of_file(context, path, place)?),
        (None, None) => return secret_of_machine(path, hosts),
    };
    match bytes.trim_ascii() {
        [] if key == "secret" => secret_of_machine(path, hosts),
        secret if secret.len() < MIN_SECRET_BYTES => {
            let what = format!("'{key}' has fewer than {MIN_SECRET_BYTES} characters");
            Err(context.error(place, what, "take a longer one, such as from openssl rand -hex 16"))
        }
        secret => Ok(Secret::new(secret)),
    }
}

fn secret_of_file(context: &Context<'_>, path: &Path, place: &Spanned<String>) -> Result<Vec<u8>, Error> {
    let named = context.value("secret_file", place)?;
    let file = path.parent().unwrap_or(Path::new("")).join(named);
    std::fs::read(&file).map_err(|error| {
        let what = format!("cannot read {}: {error}", file.display());
        context.error(place, what, "name a file that this process may read; a relative path begins at the cluster file's folder")
    })
}

fn secret_of_machine(path: &Path, hosts: &[String]) -> Result<Secret, Error> {
    let Some(other) = hosts.iter().find(|host| !is_of_this_machine(host)) else { return Ok(Secret::of_this_machine()) };
    let what = format!("without a secret anybody who reaches '{other}' could join the cluster");
    Err(Error::of_file(path, what, "add secret = \"${FRESHET_SECRET}\" or secret_file = \"…\", the same for all processes"))
}

/// Tells whether the text is `host:port`.
fn is_address(text: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@'));
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Tells whether only processes of the same machine reach the address.
fn is_of_this_machine(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.parse::<Ipv4Addr>().is_ok_and(|host| host.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: &str = "0123456789abcdef";

    fn read(text: &str, processes: Option<usize>) -> Result<Cluster, String> {
        let lookup = |name: &str| (name == "LONG").then(|| LONG.to_owned());
        parse(Path::new("cluster.toml"), text, processes, &lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_read() {
        let example = read(include_str!("../cluster.toml"), Some(2)).expect("it is right");
        assert_eq!(example.hosts, ["127.0.0.1:2101", "127.0.0.1:2102"]);
        assert_eq!(example.secret, Secret::of_this_machine(), "its variable is not set here");
        assert_eq!((example.timeouts, example.workers), (Timeouts::default(), None), "it shows what holds without it");
        assert_eq!(read("hosts = [\"127.0.0.1:2101\", \"127.0.0.1:2102\"]", None), Ok(example), "hosts suffice");
    }

    #[test]
    fn every_key_is_read() {
        let text = "hosts = [\"a:1\"]\nsecret = \"${LONG}\"\nheartbeat = \"1s\"\nlost_after = \"5s\"\njoin = \"2m\"\nworkers = 3";
        let [heartbeat, lost_after, join] = [1, 5, 120].map(Duration::from_secs);
        let timeouts = Timeouts { heartbeat, lost_after, join: Some(join) };
        let expected = Cluster { hosts: vec!["a:1".to_owned()], secret: Secret::new(LONG), timeouts, workers: Some(3) };
        assert_eq!(read(text, Some(1)), Ok(expected));
    }

    #[test]
    fn a_secret_may_be_in_a_file_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), format!("{LONG}\n")).expect("written");
        let text = "hosts = [\"a:1\"]\nsecret_file = \"secret\"";
        let cluster = parse(&folder.path().join("cluster.toml"), text, None, &|_| None).expect("it is right");
        assert_eq!(cluster.secret, Secret::new(LONG), "without the end of the line");
    }

    #[test]
    fn a_secret_is_needed_as_soon_as_other_machines_take_part() {
        for host in ["localhost:1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1"] {
            assert!(read(&format!("hosts = [\"{host}\"]"), None).is_ok(), "{host}");
        }
        for host in ["10.0.0.1:1", "0.0.0.0:1", "[::]:1", "node-1:1", "127.example:1"] {
            let error = read(&format!("hosts = [\"localhost:2\", \"{host}\"]\nsecret = \"${{SHORT:-}}\""), None).expect_err(host);
            assert!(error.contains(&format!("without a secret anybody who reaches '{host}'")), "{error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("hosts = [\"a:1\", \"b\"]", "cluster.toml:1:17: 'b' is not an address"),
            ("hosts = [\"a:1\", \"a:1\"]", "cluster.toml:1:17: 'a:1' stands twice"),
            ("hosts = [\"a:1\"]", "cluster.toml: it lists 1 hosts, but the job has 2 processes"),
            ("host = [\"a:1\"]", "cluster.toml:1:1: unknown key 'host'\n  did you mean 'hosts'?"),
            ("hosts = [\"a:1\", \"b:1\"]\nsecret = \"geheim\"", "cluster.toml:2:10: 'secret' has fewer than 16 characters"),
            ("hosts = [\"a:1\", \"b:1\"]\nsecret = \"\"\nsecret_file = \"\"", "cluster.toml:3:15: 'secret' and 'secret_file'"),
            ("hosts = [\"a:1\", \"b:1\"]\nsecret_file = \"none\"", "cluster.toml:2:15: cannot read none: "),
            ("hosts = [\"a:1\", \"b:1\"]\nlost_after = \"900ms\"", "cluster.toml:2:14: a process would be lost between two"),
            ("hosts = [\"a:1\", \"b:1\"]\nheartbeat = \"soon\"", "cluster.toml:2:13: 'soon' is not a duration, in 'heartbeat'"),
        ] {
            let error = read(text, Some(2)).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
