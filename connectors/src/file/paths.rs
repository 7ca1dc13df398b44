//! Which files a source's URL means.

use std::path::{Path, PathBuf};

use crate::Error;

/// Lists the files that a path means, in the order of their names: the file itself, those in a folder that fit a pattern for folders, or those that fit a
/// pattern with `*` in the last part of the path. (In a URL, `?` begins the query.)
pub(super) fn find(thing: &str, path: &str, in_folder: &str) -> Result<Vec<PathBuf>, Error> {
    let whole = Path::new(path);
    let last = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let files = if whole.is_dir() {
        matching(thing, whole, in_folder)?
    } else if last.contains('*') {
        matching(thing, parent(whole), &last)?
    } else {
        vec![whole.to_path_buf()]
    };
    if files.is_empty() {
        return Err(Error::setup(
            thing,
            format!("no file fits '{path}'"),
            format!("put files called {in_folder} there, or correct its url"),
        ));
    }
    for file in &files {
        check(thing, file)?;
    }
    Ok(files)
}

/// Returns the folder of a file; of a bare name the current one.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn matching(thing: &str, folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::setup(thing, format!("cannot list {}: {error}", folder.display()), "check the path and its permissions")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if fits(name.as_bytes(), pattern.as_bytes()) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check(thing: &str, file: &Path) -> Result<(), Error> {
    let shown = file.display();
    if let Some(extension @ ("gz" | "zst" | "bz2" | "xz")) = file.extension().and_then(|extension| extension.to_str()) {
        return Err(Error::setup(
            thing,
            format!("{shown} is compressed (.{extension})"),
            "unpack it first, or pipe it into stdin://",
        ));
    }
    match std::fs::metadata(file) {
        Err(error) => Err(Error::setup(thing, format!("cannot read {shown}: {error}"), "check the path and its permissions")),
        Ok(found) if !found.is_file() => Err(Error::setup(thing, format!("{shown} is not a file"), "pipe it into stdin://")),
        Ok(_) => Ok(()),
    }
}

/// Tells whether a name fits a pattern in which `*` stands for any bytes.
fn fits(name: &[u8], pattern: &[u8]) -> bool {
    // `fitting[n]`: the first n bytes of the name fit the part of the pattern seen so far. One pass a pattern byte: no backtracking.
    let mut fitting = vec![false; name.len() + 1];
    fitting[0] = true;
    for &part in pattern {
        let mut next = vec![false; name.len() + 1];
        next[0] = part == b'*' && fitting[0];
        for at in 0..name.len() {
            next[at + 1] = match part {
                b'*' => next[at] || fitting[at + 1],
                byte => fitting[at] && name[at] == byte,
            };
        }
        fitting = next;
    }
    fitting[name.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (name, pattern) in [("a.ndjson", "*.ndjson"), ("", "*"), ("aXbXc", "a*b*c"), ("aab", "*ab")] {
            assert!(fits(name.as_bytes(), pattern.as_bytes()), "{name} {pattern}");
        }
        for (name, pattern) in [("a.json", "*.ndjson"), ("abc", "ab"), ("b", "a*"), ("a", "")] {
            assert!(!fits(name.as_bytes(), pattern.as_bytes()), "{name} {pattern}");
        }
    }

    #[test]
    fn a_folder_means_its_ndjson_files_by_name_and_a_pattern_those_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.ndjson", "a.ndjson", "c.txt", "a.ndjson.gz"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |path: &Path| -> Vec<String> {
            let files = find("source 's'", path.to_str().unwrap(), "*.ndjson").unwrap();
            files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(folder.path()), ["a.ndjson", "b.ndjson"]);
        assert_eq!(names(&folder.path().join("*.nd*on")), ["a.ndjson", "b.ndjson"]);
        assert_eq!(names(&folder.path().join("c.txt")), ["c.txt"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.ndjson.gz"), "").unwrap();
        for (path, part) in [
            ("a.ndjson.gz", "unpack it first"),
            ("none.ndjson", "check the path"),
            ("*.ndjson", "no file fits"),
            ("", "no file fits"),
        ] {
            let error = find("source 's'", folder.path().join(path).to_str().unwrap(), "*.ndjson").unwrap_err().to_string();
            assert!(error.starts_with("source 's': ") && error.contains(part), "{error}");
        }
    }
}
