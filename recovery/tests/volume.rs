//! A checkpoint of a million entries is written and read back within seconds.

use std::time::Instant;

use freshet_recovery::State;

const ENTRIES: u64 = 1_000_000;
const VALUE_BYTES: usize = 84;
/// What one machine under load may take.
const LIMIT_S: f64 = 60.0;

/// A key whose hash spreads evenly and ascends with the number.
fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(number * (u64::MAX / ENTRIES)).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Bytes like those of a state: numbers and zeros.
fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    for (index, bytes) in value.chunks_exact_mut(12).enumerate() {
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(index as u32 * 7).to_le_bytes());
    }
    value
}

#[test]
fn a_million_entries_are_written_and_read_back_in_seconds() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = State::open(&format!("file://{}", folder.path().display()), "job", false).expect("a state");
    state.read_log(0).expect("a log");
    state.begin(0, b"").expect("a beginning");
    state.append(&[(0, Vec::new())]).expect("durable");

    let begin = Instant::now();
    let id = state.checkpoint(0);
    let mut part = state.files().part(id, "fold", 0..=u64::MAX).expect("a part");
    for number in 0..ENTRIES {
        part.push(&key(number), &value(number)).expect("an entry");
    }
    part.finish().expect("a part");
    state.publish(0, &["fold".to_owned()], b"").expect("published");
    let written_s = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    let manifest = state.verify(id).expect("whole");
    let verified_s = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    // As three workers would, each its range.
    let third = u64::MAX / 3;
    let mut next = 0;
    for range in [0..=third, third + 1..=2 * third, 2 * third + 1..=u64::MAX] {
        for entry in state.files().parts(id, "fold", range).expect("a fold") {
            let (found_key, found_value) = entry.expect("an entry");
            assert!(found_key == key(next) && found_value == value(next), "entry {next}");
            next += 1;
        }
    }
    let read_s = begin.elapsed().as_secs_f64();
    assert_eq!(next, ENTRIES);
    let bytes = manifest.folds[0].parts[0].bytes;
    println!(
        "{ENTRIES} entries of 100 bytes: {bytes} bytes; written in {written_s:.2} s, verified in {verified_s:.2} s, read in {read_s:.2} s"
    );
    assert!(written_s + verified_s + read_s < LIMIT_S);
}
