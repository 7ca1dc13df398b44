//! What is pushed into parts is read back in any ranges.

use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;

fn key(hash: u64, tail: u8) -> Vec<u8> {
    [hash.to_be_bytes().as_slice(), &[tail]].concat()
}

/// Writes entries, which are sorted, as parts that end before each of the bounds.
fn write(state: &State, id: Checkpoint, entries: &[(Vec<u8>, Vec<u8>)], bounds: &[u64]) {
    let mut begin = 0;
    for bound in bounds.iter().copied().filter(|bound| *bound > 0).map(Some).chain([None]) {
        let range = begin..=bound.map_or(u64::MAX, |bound| bound - 1);
        if range.is_empty() {
            continue;
        }
        let mut part = state.files().part(id, "a fold", range.clone()).expect("a part");
        for (key, value) in entries.iter().filter(|(key, _)| range.contains(&crate::checkpoint::hash(key).expect("a hash"))) {
            part.push(key, value).expect("an entry");
        }
        part.finish().expect("a part");
        begin = bound.unwrap_or(0);
    }
}

fn read(state: &State, id: Checkpoint, range: RangeInclusive<u64>) -> Vec<(Vec<u8>, Vec<u8>)> {
    state.files().parts(id, "a fold", range).expect("a fold").collect::<Result<_, _>>().expect("entries")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_is_read_from_parts_of_any_ranges(
        hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0..20u64, Just(u64::MAX)], 0..60),
        sizes in prop::collection::vec(prop_oneof![4 => 0..50usize, 1 => 50_000..300_000usize], 60),
        mut bounds in prop::collection::vec(prop_oneof![any::<u64>(), 0..20u64], 0..4),
        ranges in prop::collection::vec((prop_oneof![any::<u64>(), 0..20u64], prop_oneof![any::<u64>(), 0..20u64]), 4),
    ) {
        let place = Place::memory();
        let state = place.begin();
        state.append(&epochs(0..1)).expect("durable");
        let mut entries: Vec<_> = hashes.iter().enumerate().map(|(i, hash)| (key(*hash, i as u8), vec![i as u8; sizes[i]])).collect();
        entries.sort();
        bounds.sort_unstable();
        bounds.dedup();
        let id = state.checkpoint(0);
        write(&state, id, &entries, &bounds);
        state.publish(0, &["a fold".to_owned()], b"kept").expect("published");
        let manifest = state.verify(id).expect("whole");
        prop_assert_eq!(manifest.payload, b"kept");
        prop_assert_eq!(read(&state, id, 0..=u64::MAX), entries.clone());
        for (a, b) in ranges {
            let range = a.min(b)..=a.max(b);
            let expected: Vec<_> =
                entries.iter().filter(|(key, _)| range.contains(&crate::checkpoint::hash(key).expect("a hash"))).cloned().collect();
            prop_assert_eq!(read(&state, id, range), expected);
        }
    }
}

#[test]
fn large_parts_are_sent_in_pieces_and_read_in_groups() {
    for place in Place::all() {
        let state = place.begin();
        state.append(&epochs(0..1)).expect("durable");
        // Incompressible, 20 MB: more than two pieces of an upload and several reads.
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        let entries: Vec<_> =
            (0..200u64).map(|i| (key(i << 56, 0), (0..100_000).map(|_| noise()).collect::<Vec<u8>>())).collect();
        let id = state.checkpoint(0);
        write(&state, id, &entries, &[77 << 56]);
        state.publish(0, &["a fold".to_owned()], b"").expect("published");
        state.verify(id).expect("whole");
        assert!(read(&state, id, 0..=u64::MAX) == entries);
        assert!(read(&state, id, 70 << 56..=80 << 56) == entries[70..=80]);
    }
}

#[test]
fn a_checkpoint_is_published_whole_or_not_at_all() {
    for place in Place::all() {
        let state = place.begin();
        state.append(&epochs(0..2)).expect("durable");
        let id = state.checkpoint(1);
        let folds = ["a fold".to_owned()];
        let error = state.publish(1, &folds, b"").expect_err("no part").to_string();
        assert!(error.contains("from 0 on"), "{error}");
        drop(state.files().part(id, "a fold", 0..=u64::MAX).expect("a part that is never finished"));
        state.files().part(id, "a fold", 0..=99).expect("a part").finish().expect("a part");
        let error = state.publish(1, &folds, b"").expect_err("a gap").to_string();
        assert!(error.contains("from 64 on"), "{error}");
        assert_eq!(state.checkpoints().expect("a list"), []);
        state.files().part(id, "a fold", 100..=u64::MAX).expect("a part").finish().expect("a part");
        assert_eq!(state.publish(1, &folds, b"").expect("published"), id);
        assert_eq!(state.checkpoints().expect("a list"), [id]);
        assert_eq!(state.publish(1, &folds, b"").expect("the same again"), id);
        assert!(matches!(state.publish(1, &folds, b"other"), Err(Error::Order(_))));
        assert!(matches!(state.files().parts(id, "other", 0..=1), Err(Error::Order(_))));
    }
}

#[test]
fn keys_out_of_order_or_range_are_refused() {
    let place = Place::memory();
    let state = place.begin();
    let mut part = state.files().part(state.checkpoint(0), "a fold", 10..=20).expect("a part");
    part.push(&key(12, 1), b"").expect("an entry");
    part.push(&key(12, 1), b"the same key again").expect("an entry");
    for wrong in [key(12, 0), key(21, 0), key(9, 0), b"short".to_vec()] {
        assert!(matches!(part.push(&wrong, b""), Err(Error::Order(_))), "{wrong:?}");
    }
    part.push(&key(20, 0), b"").expect("an entry");
    assert!(matches!(state.files().part(state.checkpoint(0), "a fold", RangeInclusive::new(2, 1)), Err(Error::Order(_))));
}

#[test]
fn a_replaced_leader_publishes_nothing() {
    for place in Place::all() {
        let first = place.begin();
        first.append(&epochs(0..1)).expect("durable");
        let second = place.take_over();
        assert!(matches!(first.publish(0, &[], b""), Err(Error::Fenced { .. })));
        assert_eq!(second.checkpoints().expect("a list"), []);
    }
}
