//! What is appended is read back, whoever appended it.

use super::*;

#[test]
fn epochs_of_several_generations_are_one_log() {
    for place in Place::all() {
        let first = place.begin();
        first.append(&epochs(0..3)).expect("durable");
        first.append(&epochs(3..4)).expect("durable");
        let second = place.begin();
        second.append(&epochs(4..6)).expect("durable");
        let log = place.read(0).expect("a log");
        assert_eq!((log.first, log.next, numbers(&log)), (0, 6, vec![0, 1, 2, 3, 4, 5]));
        let start = |generation, next| Entry::Start { generation, next, payload: b"start".to_vec() };
        assert_eq!(log.entries[0], start(1, 0));
        assert_eq!(log.entries[5], start(2, 4));
        assert_eq!(log.entries[1], Entry::Epoch { epoch: 0, payload: b"cut of 0".to_vec() });
    }
}

#[test]
fn a_log_is_read_from_an_epoch_on_with_the_start_before_it() {
    for place in Place::all() {
        place.begin().append(&epochs(0..4)).expect("durable");
        place.begin().append(&epochs(4..8)).expect("durable");
        let log = place.read(6).expect("a log");
        assert_eq!((log.first, log.next, numbers(&log)), (0, 8, vec![6, 7]));
        assert!(matches!(log.entries[0], Entry::Start { generation: 2, next: 4, .. }), "{:?}", log.entries);
        let log = place.read(100).expect("a log");
        assert_eq!((log.next, log.entries.len()), (8, 1), "the last start is always there");
        assert_eq!(numbers(&place.read(3).expect("a log")), [3, 4, 5, 6, 7]);
    }
}

#[test]
fn an_empty_log_begins_where_it_is_told_to() {
    for place in Place::all() {
        assert_eq!(place.read(0).expect("a log"), Log::default());
        let state = place.take_over();
        state.read_log(0).expect("a log");
        state.begin(500, b"").expect("a beginning");
        state.append(&epochs(500..502)).expect("durable");
        let log = place.read(0).expect("a log");
        assert_eq!((log.first, log.next, numbers(&log)), (500, 502, vec![500, 501]));
    }
}

#[test]
fn generations_that_log_nothing_are_links_too() {
    for place in Place::all() {
        drop(place.begin());
        drop(place.begin());
        drop(place.take_over());
        place.begin().append(&epochs(0..1)).expect("durable");
        let log = place.read(0).expect("a log");
        assert_eq!((log.first, log.next, numbers(&log)), (0, 1, vec![0]));
    }
}

#[test]
fn calls_out_of_order_are_refused_and_write_nothing() {
    for place in Place::all() {
        let state = place.take_over();
        assert!(matches!(state.begin(0, b""), Err(Error::Order(_))));
        assert!(matches!(state.append(&epochs(0..1)), Err(Error::Order(_))));
        state.read_log(0).expect("a log");
        assert!(matches!(state.append(&epochs(0..1)), Err(Error::Order(_))));
        state.begin(0, b"").expect("a beginning");
        assert!(matches!(state.begin(0, b""), Err(Error::Order(_))));
        assert!(matches!(state.read_log(0), Err(Error::Order(_))));
        assert!(matches!(state.reset(), Err(Error::Order(_))));
        assert!(matches!(state.append(&epochs(1..2)), Err(Error::Order(_))));
        assert!(matches!(state.publish(0, &[], b""), Err(Error::Order(_))), "a checkpoint ahead of the log");
        let gap = [epochs(0..1), epochs(2..3)].concat();
        assert!(matches!(state.append(&gap), Err(Error::Order(_))));
        state.append(&[]).expect("nothing to do");
        state.append(&epochs(0..1)).expect("nothing was written before");
        let next = place.take_over();
        next.read_log(0).expect("a log");
        let error = next.begin(0, b"").expect_err("the log goes on elsewhere").to_string();
        assert!(error.contains("goes on with epoch 1"), "{error}");
    }
}

#[test]
fn a_log_of_many_segments_is_one_log() {
    for place in [Place::disk(), Place::memory()] {
        let state = place.begin();
        let payload = vec![7; 6 << 20];
        for epoch in 0..9 {
            state.append(&[(epoch, payload.clone())]).expect("durable");
        }
        let mut segments: Vec<_> =
            place.list("log").into_iter().filter_map(|path| crate::names::SegmentName::parse(&path)).collect();
        segments.dedup();
        assert_eq!(segments.iter().map(|segment| segment.first).collect::<Vec<_>>(), [0, 3, 6]);
        assert_eq!(numbers(&place.read(0).expect("a log")), (0..9).collect::<Vec<_>>());
    }
}
