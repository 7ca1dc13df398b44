//! What a restart may need is kept, and nothing else.

use super::*;

#[test]
fn the_newest_checkpoints_and_the_log_behind_them_are_kept() {
    for place in Place::all() {
        let mut state = place.begin();
        for epoch in 0..12 {
            state.append(&epochs(epoch..epoch + 1)).expect("durable");
            if epoch % 2 == 1 {
                publish(&state, epoch);
                state.collect(2).expect("collected");
            }
            if epoch == 6 {
                state = place.begin();
            }
        }
        let kept: Vec<Epoch> = state.checkpoints().expect("a list").iter().map(|id| id.epoch).collect();
        assert_eq!(kept, [11, 9]);
        let log = place.read(0).expect("a log");
        assert_eq!((log.first, log.next, numbers(&log)), (10, 12, vec![10, 11]), "a segment begins after each checkpoint");
        assert!(matches!(log.entries[0], Entry::Start { generation: 2, .. }), "the log still says whose it is");
        assert_eq!(place.list("floors").len(), 1);
        for id in state.checkpoints().expect("a list") {
            state.verify(id).expect("whole");
        }
    }
}

#[test]
fn with_too_few_checkpoints_the_log_is_kept_whole() {
    for place in Place::all() {
        let state = place.begin();
        state.append(&epochs(0..3)).expect("durable");
        publish(&state, 2);
        state.append(&epochs(3..5)).expect("durable");
        state.collect(2).expect("collected");
        assert_eq!(place.read(0).expect("a log").first, 0);
        state.collect(0).expect("collected");
        assert_eq!(place.read(0).expect("a log").first, 3);
        assert_eq!(state.checkpoints().expect("a list").len(), 1, "at least one is kept");
    }
}

#[test]
fn unfinished_checkpoints_go_unless_they_may_be_in_the_making() {
    for place in Place::all() {
        let old = place.begin();
        old.append(&epochs(0..2)).expect("durable");
        old.files().part(old.checkpoint(1), "f", 0..=9).expect("a part").finish().expect("a part");
        let state = place.begin();
        state.append(&epochs(2..6)).expect("durable");
        state.files().part(state.checkpoint(3), "f", 0..=9).expect("a part").finish().expect("a part");
        let open = state.files().part(state.checkpoint(5), "f", 0..=9).expect("a part");
        publish(&state, 4);
        state.collect(1).expect("collected");
        open.finish().expect("still there");
        let mut left: Vec<_> =
            place.list("checkpoints").into_iter().filter_map(|path| crate::names::parse_checkpoint(&path)).collect();
        left.dedup();
        assert_eq!(left, [state.checkpoint(4), state.checkpoint(5)]);
    }
}

#[test]
fn a_missing_segment_is_damage_unless_it_was_collected() {
    for place in Place::all() {
        for _ in 0..3 {
            let state = place.begin();
            let next = place.read(0).expect("a log").next;
            state.append(&epochs(next..next + 2)).expect("durable");
        }
        let of_second = place.list("log").into_iter().filter(|path| path.contains("02-"));
        of_second.for_each(|path| place.store.delete(&path).expect("deleted"));
        let error = place.read(0).expect_err("a gap").to_string();
        assert!(error.contains("generation 2") && error.contains("--reset"), "{error}");
    }
}

#[test]
fn versions_of_tables_are_written_once_and_go_when_nobody_can_name_them() {
    for place in Place::all() {
        let state = place.begin();
        assert!(state.put_version("users", 1, b"one").expect("written"));
        assert!(!state.put_version("users", 1, b"another").expect("there already"));
        assert!(state.put_version("users", 2, b"two").expect("written"));
        assert!(state.put_version("prices", 7, &[7; 100_000]).expect("written"));
        let files = state.files().clone();
        assert_eq!(files.version("users", 1).expect("read"), b"one");
        assert_eq!(files.version("prices", 7).expect("read"), [7; 100_000]);
        assert_eq!((files.versions("users").expect("a list"), files.versions("none").expect("a list")), (vec![1, 2], vec![]));
        state.collect_versions(&[("users".to_owned(), 2)]).expect("collected");
        assert_eq!((files.versions("users").expect("a list"), files.versions("prices").expect("a list")), (vec![2], vec![]));
        let missing = files.version("users", 1).expect_err("collected").to_string();
        assert!(missing.contains("the version is missing"), "{missing}");
        assert!(matches!(state.put_version("../users", 1, b""), Err(Error::Order(_))));
        let newer = place.take_over();
        assert!(matches!(state.put_version("users", 3, b"three"), Err(Error::Fenced { .. })));
        assert!(matches!(state.collect_versions(&[]), Err(Error::Fenced { .. })));
        drop(newer);
    }
}
