//! The cluster file: where the processes of a job listen.
//!
//! ```toml
//! hosts = ["127.0.0.1:2101", "127.0.0.1:2102"]
//! ```

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::job::{Error, Origin};

/// Read when a job has several processes and no file is named.
pub const DEFAULT_FILE: &str = "cluster.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    hosts: Vec<Spanned<String>>,
}

/// Reads the addresses of the processes; there must be `processes` of them when a number is given.
///
/// # Errors
/// The file cannot be read, an address is none or stands twice, or their number is another one.
pub fn read(path: &Path, processes: Option<usize>) -> Result<Vec<String>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read the cluster file: {error}");
        Error::of_file(path, what, "name one with --cluster; it lists hosts = [\"host:port\", …], one for each process")
    })?;
    parse(path, &text, processes)
}

fn parse(path: &Path, text: &str, processes: Option<usize>) -> Result<Vec<String>, Error> {
    let origin = Origin { path: path.to_owned(), text: Arc::from(text) };
    let file: ClusterFile = toml::from_str(text).map_err(|error| origin.toml_error(&error))?;
    let mut hosts: Vec<String> = Vec::new();
    for host in &file.hosts {
        if !is_address(host.get_ref()) {
            let what = format!("'{}' is not an address", host.get_ref());
            return Err(origin.error(&host.span(), what, "write it like 10.0.0.1:2101 or node-1.example:2101"));
        }
        if hosts.contains(host.get_ref()) {
            let what = format!("'{}' stands twice", host.get_ref());
            return Err(origin.error(&host.span(), what, "give each process an address of its own"));
        }
        hosts.push(host.get_ref().clone());
    }
    match processes {
        Some(processes) if processes != hosts.len() => {
            let what = format!("it lists {} hosts, but the job has {processes} processes", hosts.len());
            Err(Error::of_file(path, what, "make -n and the list agree"))
        }
        _ if hosts.is_empty() => Err(Error::of_file(path, "it lists no hosts", "list one for each process")),
        _ => Ok(hosts),
    }
}

/// Tells whether the text is `host:port`.
fn is_address(text: &str) -> bool {
    let is_host = |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@'));
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, processes: Option<usize>) -> Result<Vec<String>, String> {
        parse(Path::new("cluster.toml"), text, processes).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_read() {
        let text = include_str!("../cluster.toml");
        assert_eq!(read(text, Some(2)), Ok(vec!["127.0.0.1:2101".to_owned(), "127.0.0.1:2102".to_owned()]));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("hosts = [\"a:1\", \"b\"]", "cluster.toml:1:17: 'b' is not an address"),
            ("hosts = [\"a:1\", \"a:1\"]", "cluster.toml:1:17: 'a:1' stands twice"),
            ("hosts = [\"a:1\"]", "cluster.toml: it lists 1 hosts, but the job has 2 processes"),
            ("host = [\"a:1\"]", "cluster.toml:1:1: unknown key 'host'\n  did you mean 'hosts'? Known here: hosts"),
        ] {
            let error = read(text, Some(2)).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
