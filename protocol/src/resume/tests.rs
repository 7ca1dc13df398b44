use proptest::prelude::*;

use super::*;
use crate::unapplied;

fn sink(name: &str, epoch: Option<Epoch>) -> Held {
    Held { sink: name.to_owned(), epoch, strict: true }
}

fn durable(log: Range<Epoch>, checkpoints: &[Epoch]) -> Durable {
    Durable { log, checkpoints: checkpoints.to_vec() }
}

fn at(checkpoint: Option<Epoch>, replay: Range<Epoch>) -> Result<Resume, Refusal> {
    Ok(Resume { checkpoint, replay })
}

#[test]
fn a_new_job_begins_at_the_beginning() {
    assert_eq!(resume(&durable(0..0, &[]), &[sink("a", None)]), at(None, 0..0));
}

#[test]
fn the_newest_checkpoint_that_no_sink_is_behind_is_taken() {
    let state = durable(0..10, &[8, 2, 5]);
    assert_eq!(resume(&state, &[sink("a", Some(9)), sink("b", Some(8))]), at(Some(8), 9..10));
    assert_eq!(resume(&state, &[sink("a", Some(9)), sink("b", Some(7))]), at(Some(5), 6..10));
    assert_eq!(resume(&state, &[sink("a", Some(9)), sink("b", None)]), at(None, 0..10));
}

#[test]
fn a_checkpoint_whose_log_was_collected_does_not_count() {
    assert_eq!(resume(&durable(4..10, &[1, 3]), &[sink("a", Some(9))]), at(Some(3), 4..10));
    let refused = resume(&durable(4..10, &[1]), &[sink("a", Some(9))]);
    assert_eq!(refused, Err(Refusal::NoCheckpoint { first: 4 }));
}

#[test]
fn a_sink_that_writes_only_when_there_are_rows_holds_nothing_back() {
    let lazy = Held { strict: false, ..sink("lake", Some(1)) };
    assert_eq!(resume(&durable(4..10, &[3, 6]), &[sink("a", Some(9)), lazy]), at(Some(6), 7..10));
}

#[test]
fn refusals_name_the_thing_and_the_way_out() {
    let cases = [
        (durable(0..3, &[]), Some(3), "sink 'a' holds epoch 3, but the job's log ends with epoch 2"),
        (durable(0..0, &[]), Some(0), "sink 'a' holds epoch 0, but the job's log is empty"),
        (durable(4..9, &[3, 6]), Some(1), "sink 'a' holds epoch 1 only, but it had held epoch 3"),
        (durable(4..9, &[3, 6]), None, "sink 'a' holds no epoch, but it had held epoch 3"),
        (durable(4..9, &[]), Some(8), "the job's log begins at epoch 4, and there is no valid checkpoint"),
        (durable(0..3, &[3]), Some(2), "there is a checkpoint of epoch 3, but the job's log ends with epoch 2"),
    ];
    for (state, held, says) in cases {
        let refusal = resume(&state, &[sink("a", held)]).expect_err(says);
        assert!(refusal.to_string().contains(says), "{refusal}");
        assert!(refusal.way_out().contains("--reset"), "{}", refusal.way_out());
    }
}

proptest! {
    /// Whatever is there: what the checkpoint holds and what is replayed follow each other up to the log's end, and every sink either
    /// has each epoch or gets it.
    #[test]
    fn nothing_is_skipped(
        first in 0u64..6, more in 0u64..8, checkpoints in prop::collection::vec(0u64..14, 0..4),
        held in prop::collection::vec(prop::option::of(0u64..14), 1..4),
    ) {
        let state = durable(first..first + more, &checkpoints);
        let sinks: Vec<Held> = held.iter().map(|&epoch| sink("s", epoch)).collect();
        if let Ok(Resume { checkpoint, replay }) = resume(&state, &sinks) {
            prop_assert_eq!(replay.start, checkpoint.map_or(0, |c| c + 1));
            prop_assert_eq!(replay.end, state.log.end);
            prop_assert!(replay.start >= first);
            for held in held {
                let lacked = unapplied(held, replay.clone());
                prop_assert_eq!(lacked.start, held.map_or(0, |h| h + 1));
            }
        }
    }
}
