//! What is not as it was left is said, with the way out, and never guessed.

use std::fs;
use std::path::Path;

use fail::FailScenario;
use freshet_connectors::{BatchSink, Error, Past, SinkOptions};

use super::support::{lake, list, newest_manifest, options, put, row, seen, staged, start};

/// Leaves three parts and the manifest that names them.
fn leave_parts(lake: &Path) {
    let (mut sink, _) = start(lake, options(1)).unwrap();
    (1..=3).for_each(|number| put(&mut sink, number).unwrap());
}

fn refusal(lake: &Path, generation: u64) -> String {
    match start(lake, options(generation)) {
        Err(error @ Error::Setup { .. }) => error.to_string(),
        Err(error) => panic!("not the right kind of error: {error}"),
        Ok(_) => panic!("nothing was noticed"),
    }
}

#[test]
fn each_changed_byte_of_the_newest_manifest_is_noticed() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    leave_parts(lake.path());
    let path = newest_manifest(lake.path());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        fs::write(&path, &damaged).unwrap();
        let error = refusal(lake.path(), 2);
        assert!(error.contains("is damaged") && error.contains("--reset") && error.contains("m-0"), "{error}");
    }
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(refusal(lake.path(), 2).contains("is damaged"));
    }
    fs::write(&path, &whole).unwrap();
    let (mut sink, held) = start(lake.path(), options(2)).unwrap();
    assert_eq!(held[&0], 3);
    sink.close().unwrap();
    assert_eq!(seen(lake.path()), [1, 2, 3]);
}

#[test]
fn a_reset_leads_out_of_a_damaged_manifest() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    leave_parts(lake.path());
    fs::write(newest_manifest(lake.path()), "torn").unwrap();
    let (mut sink, held) = start(lake.path(), SinkOptions { past: Past::Forgotten, ..options(2) }).unwrap();
    assert!(held.is_empty() && staged(lake.path()).is_empty());
    put(&mut sink, 7).unwrap();
    sink.close().unwrap();
    assert_eq!(seen(lake.path()), [7]);
    start(lake.path(), options(3)).unwrap();
}

#[test]
fn a_part_that_is_missing_or_changed_is_named() {
    let _scenario = FailScenario::setup();
    for change in ["gone", "shorter", "other"] {
        let lake = lake();
        leave_parts(lake.path());
        let part = staged(lake.path()).remove(1);
        let mut content = fs::read(&part).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        match change {
            "gone" => fs::remove_file(&part).unwrap(),
            "shorter" => fs::write(&part, &content[..middle]).unwrap(),
            _ => fs::write(&part, &content).unwrap(),
        }
        let (error, again) = (refusal(lake.path(), 2), refusal(lake.path(), 3));
        let name = part.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.contains(&name) && error.contains("--reset") && error == again, "{change}: {error}");
    }
}

#[test]
fn files_without_manifests_are_not_added_to() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut sink, _) = start(lake.path(), options(1)).unwrap();
    put(&mut sink, 1).unwrap();
    sink.close().unwrap();
    fs::remove_dir_all(lake.path().join("_freshet")).unwrap();
    for generation in 2..4 {
        let error = refusal(lake.path(), generation);
        assert!(error.contains("no manifest") && error.contains("--reset"), "{error}");
    }
}

#[test]
fn another_job_whose_files_would_have_the_same_names_is_refused() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    start(lake.path(), SinkOptions { job: "a b".to_owned(), ..options(1) }).unwrap();
    for past in [Past::Kept, Past::Forgotten] {
        let error = start(lake.path(), SinkOptions { job: "a:b".to_owned(), past, ..options(2) }).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("'a b'"), "{error}");
    }
}

#[test]
fn leftovers_that_no_manifest_names_are_removed_and_nothing_else() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut other, _) = start(lake.path(), SinkOptions { job: "other".to_owned(), ..options(1) }).unwrap();
    put(&mut other, 1).unwrap();
    leave_parts(lake.path());
    let (mut open, _) = start(lake.path(), options(2)).unwrap();
    open.write(4, 0, &row(4)).unwrap();
    open.seal(4).unwrap();
    assert_eq!(staged(lake.path()).len(), 4);
    drop(open);
    let strange = staged(lake.path())[0].with_file_name("notes.txt");
    fs::write(&strange, "").unwrap();
    start(lake.path(), options(3)).unwrap();
    assert_eq!(staged(lake.path()).len(), 4, "three parts and the stranger");
    assert!(strange.exists() && list(&lake.path().join("_staging/other.lake"), true).len() == 1);
}
