//! The fail points of all parts of the program, and what it takes to pass them.

/// When a point is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Once or a few times at each start.
    Starting,
    /// Once at each start of several processes.
    Forming,
    /// Many times a second.
    Running,
    /// Every few seconds.
    Seldom,
    /// When the job drains.
    Draining,
}

/// A fail point.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) name: &'static str,
    pub(super) when: When,
}

const fn point(name: &'static str, when: When) -> Point {
    Point { name, when }
}

/// Those that the job passes, in the order of a start and then of an epoch.
pub(super) const POINTS: &[Point] = &[
    point("generation::raised", When::Starting),
    point("cluster::before_hello", When::Forming),
    point("lake::fence", When::Starting),
    point("lake::progress_read", When::Starting),
    point("kafka::fence", When::Starting),
    point("kafka::progress_read", When::Starting),
    point("postgres::fence", When::Starting),
    point("postgres::progress_read", When::Starting),
    point("cluster::before_gather", When::Forming),
    point("cluster::before_scatter", When::Forming),
    point("cluster::started", When::Forming),
    point("restore::half", When::Starting),
    point("log::before_write", When::Running),
    point("log::after_write", When::Running),
    point("log::after_sync", When::Running),
    point("announce::before", When::Running),
    point("announce::after", When::Running),
    point("postgres::after_compare_and_set", When::Running),
    point("postgres::mid_copy", When::Running),
    point("postgres::commit_sent", When::Running),
    point("postgres::after_commit", When::Running),
    point("kafka::begin", When::Running),
    point("kafka::half_produced", When::Running),
    point("kafka::offsets_added", When::Running),
    point("kafka::endtxn_sent", When::Running),
    point("kafka::committed", When::Running),
    point("lake::partial_file", When::Seldom),
    point("lake::before_manifest", When::Seldom),
    point("lake::after_manifest", When::Seldom),
    point("lake::half_renamed", When::Seldom),
    point("lake::parts_half_deleted", When::Seldom),
    point("checkpoint::part_half", When::Seldom),
    point("checkpoint::before_manifest", When::Seldom),
    point("checkpoint::after_manifest", When::Seldom),
    point("collect::half", When::Seldom),
    point("drain::begun", When::Draining),
    point("drain::before_close", When::Draining),
    point("drain::closed", When::Draining),
];

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// What another job passes, or another start: the tests of the connectors do.
    const ELSEWHERE: &[&str] = &[
        "sqlite::fence",
        "sqlite::progress_read",
        "sqlite::before_commit",
        "file::fence",
        "file::progress_read",
        "file::before_sidecar",
        "lake::half_reset",
    ];

    #[test]
    fn every_point_in_the_sources_is_known_here_and_every_one_here_is_in_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = ["src", "cluster/src", "connectors/src", "recovery/src"].map(|folder| root.join(folder));
        let mut found: Vec<String> = folders.iter().flat_map(|folder| sources(folder)).flat_map(|text| names(&text)).collect();
        found.sort();
        found.dedup();
        let mut known: Vec<&str> = POINTS.iter().map(|point| point.name).chain(ELSEWHERE.iter().copied()).collect();
        known.sort_unstable();
        assert_eq!(found, known);
    }

    fn sources(folder: &Path) -> Vec<String> {
        let entries: Vec<PathBuf> = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
        let below = entries.iter().filter(|path| path.is_dir()).flat_map(|folder| sources(folder));
        let files = entries.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        below.chain(files.map(|file| std::fs::read_to_string(file).expect("a file"))).collect()
    }

    /// Finds the texts `part::place`, in lower case, that stand alone between quotes.
    fn names(text: &str) -> Vec<String> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
        let is_name = |text: &&str| text.split_once("::").is_some_and(|(part, place)| is_word(part) && is_word(place));
        text.split('"').filter(is_name).map(str::to_owned).collect()
    }
}
