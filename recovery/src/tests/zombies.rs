//! A leader that has been replaced goes on writing past its last look for a higher generation: nothing of it is in the log.

use proptest::prelude::*;

use super::*;
use crate::log::Writer;

/// A leader that no longer looks.
fn zombie(place: &Place, generation: u64, next: Epoch, start: &[u8]) -> Writer {
    let chain = crate::log::read(&*place.store, 0).expect("a log");
    Writer::begin(&*place.store, generation, &chain, next, start).expect("a beginning")
}

#[test]
fn what_is_logged_after_the_next_one_has_read_is_not_in_the_log() {
    for place in Place::all() {
        let first = place.take_over();
        let mut old = zombie(&place, first.generation(), 0, b"old");
        old.append(&*place.store, &epochs(0..2)).expect("durable");
        let second = place.take_over();
        assert_eq!(second.read_log(0).expect("a log").next, 2);
        old.append(&*place.store, &[(2, b"phantom".to_vec())]).expect("written");
        second.begin(2, b"new").expect("a beginning");
        second.append(&epochs(2..4)).expect("durable");
        old.roll();
        old.append(&*place.store, &[(3, b"phantom".to_vec()), (4, b"phantom".to_vec())]).expect("written");
        let log = place.read(0).expect("a log");
        assert_eq!((log.next, numbers(&log)), (4, vec![0, 1, 2, 3]));
        assert!(!format!("{log:?}").contains(&format!("{:?}", b"phantom")), "{log:?}");
    }
}

#[test]
fn a_generation_that_begins_after_a_newer_one_is_not_in_the_log() {
    for place in Place::all() {
        place.begin().append(&epochs(0..2)).expect("durable");
        let slow = place.take_over();
        let chain = crate::log::read(&*place.store, 0).expect("a log");
        let newest = place.begin();
        newest.append(&epochs(2..4)).expect("durable");
        let mut writer = Writer::begin(&*place.store, slow.generation(), &chain, 2, b"slow").expect("written");
        writer.append(&*place.store, &[(2, b"phantom".to_vec())]).expect("written");
        let log = place.read(0).expect("a log");
        assert_eq!(log.entries.iter().filter(|entry| matches!(entry, Entry::Start { .. })).count(), 2);
        assert_eq!(log.entries[4], Entry::Epoch { epoch: 2, payload: b"cut of 2".to_vec() });
        assert_eq!(log.next, 4);
    }
}

/// What may happen to a job.
#[derive(Debug, Clone)]
enum Step {
    /// The leader logs some epochs.
    Append(u64),
    /// A new leader starts; the old one logs some epochs between its reading and its beginning, others after, and in segments of
    /// their own if so.
    Replace { between: u64, after: u64, rolls: bool },
    /// A new leader starts and ends before it begins.
    StartInVain,
    /// The leader publishes a checkpoint and collects, keeping so many.
    Collect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u64).prop_map(Step::Append),
        3 => (0..3u64, 0..3u64, any::<bool>()).prop_map(|(between, after, rolls)| Step::Replace { between, after, rolls }),
        1 => Just(Step::StartInVain),
        2 => (1..3usize).prop_map(Step::Collect),
    ]
}

/// Runs the steps and compares every reading with what was acknowledged.
fn play(place: &Place, steps: Vec<Step>) {
    let mut state = place.take_over();
    state.read_log(0).expect("a log");
    let mut writer = zombie(place, state.generation(), 0, b"start");
    let mut logged: Vec<(Epoch, Vec<u8>)> = Vec::new();
    let mut checkpoints: Vec<Epoch> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let group = |tag: &str, from: u64, count: u64| -> Vec<_> {
            (from..from + count).map(|epoch| (epoch, format!("{tag} {number}: {epoch}").into_bytes())).collect()
        };
        match step {
            Step::Append(count) => {
                let group = group("real", writer.next(), count);
                writer.append(&*place.store, &group).expect("durable");
                logged.extend(group);
            }
            Step::Replace { between, after, rolls } => {
                let next = place.take_over();
                let log = next.read_log(0).expect("a log");
                let chain = crate::log::read(&*place.store, 0).expect("a log");
                let expected = &logged[usize::try_from(log.first).expect("small")..];
                assert_eq!(entries(&log), expected);
                writer.append(&*place.store, &group("phantom", writer.next(), between)).expect("written");
                let begun = Writer::begin(&*place.store, next.generation(), &chain, log.next, b"start").expect("a beginning");
                let mut old = std::mem::replace(&mut writer, begun);
                if rolls {
                    old.roll();
                }
                old.append(&*place.store, &group("phantom", old.next(), after)).expect("written");
                state = next;
            }
            Step::StartInVain => {
                let vain = place.take_over();
                assert_eq!(vain.read_log(0).expect("a log").next, writer.next());
            }
            Step::Collect(keep) => {
                let Some(epoch) = writer.next().checked_sub(1).filter(|epoch| checkpoints.last() < Some(epoch)) else { continue };
                let id = Checkpoint { epoch, generation: state.generation() };
                let manifest = crate::Manifest { id, payload: vec![], folds: vec![] };
                place.store.put_new(&crate::names::manifest(id), &manifest.encode()).expect("a manifest");
                checkpoints.push(epoch);
                writer.roll();
                let mine = state.generation();
                crate::collect::checkpoints(&*place.store, mine, 0, keep).expect("collected");
                crate::collect::log(&*place.store, mine, 0, keep, &writer.segments).expect("collected");
                let oldest = checkpoints.iter().rev().nth(keep - 1).map_or(0, |epoch| epoch + 1);
                let log = place.read(0).expect("a log");
                assert!(log.first <= oldest, "what the oldest checkpoint needs is there");
            }
        }
    }
    let log = place.read(0).expect("a log");
    assert_eq!(entries(&log), &logged[usize::try_from(log.first).expect("small")..]);
}

fn entries(log: &Log) -> Vec<(Epoch, Vec<u8>)> {
    let entry = |entry: &Entry| match entry {
        Entry::Epoch { epoch, payload } => Some((*epoch, payload.clone())),
        Entry::Start { .. } => None,
    };
    log.entries.iter().filter_map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_acknowledged_is_read_whatever_replaced_leaders_write(steps in prop::collection::vec(step(), 1..25)) {
        play(&Place::memory(), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn the_same_in_plain_files(steps in prop::collection::vec(step(), 1..25)) {
        play(&Place::disk(), steps);
    }
}
