//! Two starts of one job: the newer one has the lake, at whatever step the older one falls asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fail::FailScenario;
use freshet_connectors::{BatchSink, Error, Past, SinkOptions};

use super::support::{POINTS, lake, list, options, put, row, seen, staged, start};

#[test]
fn an_older_generation_is_fenced_and_shows_nothing() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut old, _) = start(lake.path(), options(1)).unwrap();
    put(&mut old, 1).unwrap();
    let (mut new, held) = start(lake.path(), options(2)).unwrap();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [(0, 1)]);
    let error = put(&mut old, 2).unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert!(old.close().is_err() && seen(lake.path()).is_empty());
    put(&mut new, 2).unwrap();
    new.close().unwrap();
    assert_eq!((seen(lake.path()), staged(lake.path()).len()), (vec![1, 2], 1));
    start(lake.path(), options(3)).unwrap();
    assert!(staged(lake.path()).is_empty(), "what the old one left is removed");
}

#[test]
fn a_generation_that_wakes_up_after_many_others_is_fenced_too() {
    let _scenario = FailScenario::setup();
    for generations in [2, 3, 5, 50] {
        let lake = lake();
        let (mut old, _) = start(lake.path(), options(1)).unwrap();
        put(&mut old, 1).unwrap();
        for generation in 2..=generations {
            let (mut new, _) = start(lake.path(), options(generation)).unwrap();
            put(&mut new, generation.cast_signed()).unwrap();
            new.close().unwrap();
        }
        let before = seen(lake.path());
        assert!(matches!(old.close(), Err(Error::Fenced { .. }) | Ok(())));
        assert!(matches!(put(&mut old, 9), Err(Error::Fenced { .. } | Error::Unavailable { .. })));
        assert_eq!(seen(lake.path()), before);
        let manifests = list(&lake.path().join("_freshet/job.lake/p00000"), true);
        assert!(manifests.len() >= generations.min(32) as usize, "a manifest by which a generation took over is gone");
        assert!(manifests.len() <= 34, "{} manifests are kept", manifests.len());
    }
}

#[test]
fn a_start_of_an_older_generation_is_refused() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    start(lake.path(), options(2)).unwrap();
    for past in [Past::Kept, Past::Forgotten] {
        let error = start(lake.path(), SinkOptions { past, ..options(1) }).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Fenced { .. }), "{error}");
    }
}

#[test]
fn an_equal_generation_is_not_a_newer_one() {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut first, _) = start(lake.path(), options(1)).unwrap();
    let error = start(lake.path(), options(1)).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Setup { .. }) && error.to_string().contains("same generation"), "{error}");
    put(&mut first, 1).unwrap();
    first.close().unwrap();
    assert_eq!(seen(lake.path()), [1]);
}

/// What happens when, as an older generation comes to a step of a commit, a newer one starts, replays, and ends; and the older one then goes on.
fn overtaken(point: &str, past: Past) {
    let _scenario = FailScenario::setup();
    let lake = lake();
    let (mut old, _) = start(lake.path(), SinkOptions { roll_interval: Duration::MAX, ..options(1) }).unwrap();
    (1..=3).for_each(|number| put(&mut old, number).unwrap());
    old.write(4, 0, &row(4)).unwrap();
    old.write(4, 1, &row(104)).unwrap();
    old.seal(4).unwrap();
    let (root, begun) = (lake.path().to_path_buf(), Arc::new(AtomicBool::new(false)));
    let (once, theirs) = (Arc::clone(&begun), past.clone());
    let overtake = move || {
        if once.swap(true, Ordering::SeqCst) {
            return;
        }
        let (mut new, held) = start(&root, SinkOptions { past: theirs.clone(), ..options(2) }).unwrap();
        let lacks = |partition, epoch| held.get(&partition).is_none_or(|held| *held < epoch);
        for epoch in 1..=4 {
            if lacks(0, epoch) {
                new.write(epoch, 0, &row(epoch.cast_signed())).unwrap();
            }
        }
        if lacks(1, 4) {
            new.write(4, 1, &row(104)).unwrap();
        }
        new.seal(4).unwrap();
        new.close().unwrap();
        assert_eq!(seen(&root), [1, 2, 3, 4, 104], "{}", if theirs.is_forgotten() { "with reset" } else { "without" });
    };
    fail::cfg_callback(point, overtake).unwrap();
    let result = old.close();
    assert!(begun.load(Ordering::SeqCst), "{point} was not reached");
    assert!(matches!(result, Err(Error::Fenced { .. })), "{point}, {past:?}: {result:?}");
    assert_eq!(seen(lake.path()), [1, 2, 3, 4, 104], "{point}, {past:?}");
    fail::remove(point);
    start(lake.path(), options(3)).unwrap().0.close().unwrap();
    assert_eq!(seen(lake.path()), [1, 2, 3, 4, 104], "{point}, {past:?}");
    assert!(staged(lake.path()).is_empty(), "{point}, {past:?}");
}

#[test]
fn a_generation_that_sleeps_at_any_step_while_a_newer_one_lives_repeats_nothing() {
    if fail::has_failpoints() {
        POINTS.iter().for_each(|point| [Past::Kept, Past::Forgotten].into_iter().for_each(|past| overtaken(point, past)));
    }
}
