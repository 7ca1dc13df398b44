//! Every byte that differs and every cut is seen, or harms nothing: wrong data are never read.

use std::fs;

use super::*;

/// A log of three generations and five segments, with records of a replaced leader behind the end of the first one.
fn log_place() -> (Place, Log) {
    let place = Place::disk();
    let first = place.take_over();
    let chain = crate::log::read(&*place.store, 0).expect("a log");
    let mut old = crate::log::Writer::begin(&*place.store, first.generation(), &chain, 0, b"one").expect("a beginning");
    old.append(&*place.store, &epochs(0..2)).expect("durable");
    old.roll();
    old.append(&*place.store, &epochs(2..4)).expect("durable");
    let second = place.begin();
    old.append(&*place.store, &[(4, b"phantom".to_vec())]).expect("written");
    second.append(&epochs(4..6)).expect("durable");
    publish(&second, 4);
    second.append(&epochs(6..7)).expect("durable");
    place.begin().append(&epochs(7..9)).expect("durable");
    let log = place.read(0).expect("a log");
    assert_eq!(numbers(&log), (0..9).collect::<Vec<_>>());
    (place, log)
}

/// Damages each file by each function in turn, and calls the check with what the damage was.
fn for_each_damage(
    place: &Place,
    folder: &str,
    damages: impl Fn(&[u8]) -> Vec<(String, Vec<u8>)>,
    mut check: impl FnMut(&str, &str),
) {
    for path in place.list(folder) {
        let whole = fs::read(place.path(&path)).expect("a file");
        for (what, bytes) in damages(&whole) {
            fs::write(place.path(&path), bytes).expect("damaged");
            check(&path, &what);
        }
        fs::write(place.path(&path), whole).expect("restored");
    }
}

fn flips(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let flip = |at: usize, mask: u8| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= mask;
        (format!("byte {at} ^ {mask:#x}"), bytes)
    };
    (0..whole.len()).flat_map(|at| [flip(at, 1), flip(at, 0x80), flip(at, 0xff)]).collect()
}

fn cuts(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    (0..whole.len()).map(|at| (format!("cut at {at}"), whole[..at].to_vec())).collect()
}

#[test]
fn every_other_byte_of_a_log_is_seen() {
    let (place, log) = log_place();
    let (mut seen, mut harmless) = (0, 0);
    for_each_damage(&place, "log", flips, |path, what| match place.read(0) {
        Err(Error::Damaged(damaged)) => {
            seen += 1;
            assert!(damaged.file.ends_with(path), "{damaged} for {path}");
        }
        // Only behind the end of a generation that has been replaced.
        Ok(found) if path.contains("0001-00000000000000000002") => {
            harmless += 1;
            assert_eq!(found, log, "{path}, {what}");
        }
        other => panic!("{path}, {what}: {other:?}"),
    });
    let phantom = 56 + b"phantom".len();
    assert_eq!(harmless, 3 * phantom);
    assert!(seen > 2000, "{seen}");
}

#[test]
fn every_cut_of_a_log_is_seen_or_leaves_a_beginning() {
    let (place, log) = log_place();
    let mut shortened = 0;
    for_each_damage(&place, "log", cuts, |path, what| match place.read(0) {
        Err(Error::Damaged(_)) => {}
        Ok(found) => {
            assert_eq!(found.entries, log.entries[..found.entries.len()], "{path}, {what}");
            assert_eq!(found.next, numbers(&found).last().map_or(0, |epoch| epoch + 1));
            let is_last = path.contains("0003-");
            assert!(is_last || found == log, "{path}, {what}: only the newest segment may end early");
            shortened += usize::from(found != log);
        }
        Err(error) => panic!("{path}, {what}: {error}"),
    });
    // The two records of the newest generation, cut anywhere.
    assert_eq!(shortened, 2 * (56 + b"cut of 7".len()));
}

#[test]
fn a_torn_end_is_left_out_and_the_next_generation_goes_on() {
    let place = Place::disk();
    place.begin().append(&epochs(0..3)).expect("durable");
    let path = place.path(&place.list("log")[0]);
    let whole = fs::read(&path).expect("a segment");
    for end in [whole[..whole.len() - 3].to_vec(), [whole.clone(), vec![0; 4096]].concat()] {
        let is_cut = end.len() < whole.len();
        fs::write(&path, end).expect("torn");
        assert_eq!(place.read(0).expect("a log").next, if is_cut { 2 } else { 3 });
    }
    fs::write(&path, &whole[..whole.len() - 3]).expect("torn");
    place.begin().append(&epochs(2..4)).expect("durable");
    assert_eq!(numbers(&place.read(0).expect("a log")), [0, 1, 2, 3]);
}

#[test]
fn damage_names_the_file_the_place_and_the_ways_out() {
    let (place, _) = log_place();
    let path = place.list("log").into_iter().find(|path| path.contains("0002-")).expect("a segment");
    let mut bytes = fs::read(place.path(&path)).expect("a segment");
    bytes[100] ^= 1;
    fs::write(place.path(&path), bytes).expect("damaged");
    let error = place.read(0).expect_err("damage").to_string();
    for part in [path.as_str(), "byte 69", "checksum", "--reset"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

/// A checkpoint of two folds, one of them in three parts of which one is empty.
fn checkpoint_place() -> (Place, State, Checkpoint) {
    let place = Place::disk();
    let state = place.begin();
    state.append(&epochs(0..1)).expect("durable");
    let id = state.checkpoint(0);
    for (fold, range) in [("a", 0..=9), ("a", 10..=19), ("a", 20..=u64::MAX), ("b", 0..=u64::MAX)] {
        let mut part = state.files().part(id, fold, range.clone()).expect("a part");
        for hash in (0..30u64).step_by(3).filter(|hash| range.contains(hash) && *range.start() != 10) {
            part.push(&hash.to_be_bytes(), format!("{fold} of {hash}").as_bytes()).expect("an entry");
        }
        part.finish().expect("a part");
    }
    state.publish(0, &["a".to_owned(), "b".to_owned()], b"kept").expect("published");
    (place, state, id)
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn read_all(state: &State, id: Checkpoint) -> Result<Entries, Error> {
    let mut found = Entries::new();
    for fold in ["a", "b"] {
        for entry in state.files().parts(id, fold, 0..=u64::MAX)? {
            found.push(entry?);
        }
    }
    Ok(found)
}

#[test]
fn every_other_byte_and_every_cut_of_a_checkpoint_is_seen() {
    let (place, state, id) = checkpoint_place();
    let whole = read_all(&state, id).expect("whole");
    assert_eq!(whole.len(), 4 + 3 + 10);
    let mut seen = 0;
    let longer = |bytes: &[u8]| vec![("a byte more".to_owned(), [bytes, &[0]].concat())];
    let damages = |bytes: &[u8]| [flips(bytes), cuts(bytes), longer(bytes)].concat();
    for_each_damage(&place, "checkpoints", damages, |path, what| {
        seen += 1;
        let error = state.verify(id).expect_err(what);
        assert!(matches!(&error, Error::Damaged(damaged) if damaged.file.ends_with(path)), "{path}, {what}: {error}");
        match read_all(&state, id) {
            Err(Error::Damaged(_)) => {}
            other => panic!("{path}, {what}: {other:?}"),
        }
    });
    assert!(seen > 3000, "{seen}");
    state.verify(id).expect("whole again");
    assert_eq!(read_all(&state, id).expect("whole again"), whole);
}

#[test]
fn missing_and_exchanged_files_of_a_checkpoint_are_seen() {
    let (place, state, id) = checkpoint_place();
    for path in place.list("checkpoints") {
        let whole = fs::read(place.path(&path)).expect("a file");
        fs::remove_file(place.path(&path)).expect("removed");
        let error = state.verify(id).expect_err("missing");
        assert!(matches!(&error, Error::Damaged(damaged) if damaged.problem.contains("missing")), "{error}");
        fs::write(place.path(&path), whole).expect("restored");
    }
    let parts: Vec<_> = place.list("checkpoints").into_iter().filter(|path| path.ends_with(".part")).collect();
    fs::copy(place.path(&parts[0]), place.path(&parts[1])).expect("exchanged");
    assert!(matches!(state.verify(id), Err(Error::Damaged(_))));
}
