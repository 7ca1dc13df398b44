//! Who holds a generation: what its file says to people and to the next one who starts.

use freshet_model::Timestamp;

use crate::Error;

/// The owner of a generation, as its file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) job: String,
    pub(crate) pid: String,
    pub(crate) host: String,
    pub(crate) since: String,
    /// When its lease ends unless renewed, in microseconds since 1970; 0 if it has been given back. Object stores only.
    pub(crate) expires_us: i64,
}

impl Owner {
    /// Describes this process.
    pub(crate) fn this(job: &str) -> Owner {
        Owner {
            job: job.to_owned(),
            pid: std::process::id().to_string(),
            host: host(),
            since: Timestamp::now().to_string(),
            expires_us: 0,
        }
    }

    /// Writes the owner as lines of `name: value`.
    pub(crate) fn text(&self) -> String {
        let Owner { job, pid, host, since, expires_us } = self;
        format!("job: {job}\npid: {pid}\nhost: {host}\nsince: {since}\nexpires_us: {expires_us}\n")
    }

    /// Reads what can be read; the file is for people, nothing but the expiry depends on it.
    pub(crate) fn parse(bytes: &[u8]) -> Owner {
        let text = String::from_utf8_lossy(bytes);
        let find = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or("?").chars().filter(|c| !c.is_control()).take(200).collect::<String>()
        };
        let expires_us = find("expires_us").parse().unwrap_or(0);
        Owner { job: find("job"), pid: find("pid"), host: find("host"), since: find("since"), expires_us }
    }

    /// Refuses a start because this owner lives.
    pub(crate) fn held(self, place: &str, generation: u64) -> Error {
        Error::Held { place: place.to_owned(), generation, since: self.since, pid: self.pid, host: self.host }
    }
}

fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = kernel.ok().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "?".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_back_and_garbage_is_borne() {
        let owner = Owner { expires_us: 12, ..Owner::this("clicks") };
        assert_eq!(Owner::parse(owner.text().as_bytes()), owner);
        let garbage = Owner::parse(&[0xff, 0, b'\n', 0x1b]);
        assert_eq!((garbage.pid.as_str(), garbage.expires_us), ("?", 0));
    }
}
