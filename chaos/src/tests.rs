//! A short portion for every test run, and that the report tells a clean run from another.

use clap::Parser;

use crate::options::Options;
use crate::report::{Event, Report};
use crate::round;
use crate::supervisor::Size;

/// Kills for some twenty seconds; needs the program to be built, as the tests of the root package do.
#[test]
fn a_short_run_loses_repeats_and_tears_nothing() {
    let line =
        "chaos --minutes 0.4 --seed 7 --rate 1000 --faults kill_leader,kill_all,kill_again,rescale --workers 1,2 --processes 1";
    let report = round::run(&Options::parse_from(line.split(' ')));
    println!("{} kills\n{report}", report.kills());
    assert!(report.is_clean(), "{report}");
    assert!(report.kills() >= 5, "some kills were made");
}

fn event(result: Result<f64, String>, until_micros: i64) -> Event {
    let size = Size { processes: 1, workers: 1 };
    Event { fault: "kill_all", at: 0.0, size, until_micros, result, torn: 0, sentences: Vec::new() }
}

#[test]
fn a_report_is_clean_only_without_any_finding() {
    let mut report = Report::new(1);
    report.add(event(Ok(0.4), 100));
    report.add(event(Ok(0.8), 200));
    assert!(report.is_clean());
    assert!(report.to_string().contains("0.40    0.80    0.80"), "{report}");

    report.blame(150, 0, 1);
    assert!(!report.is_clean(), "an event came twice");

    let mut report = Report::new(1);
    report.add(event(Err("no commit".to_owned()), 100));
    assert!(!report.is_clean(), "a fault was not survived");

    let mut report = Report::new(1);
    report.torn_before(1, vec!["the progress went back".to_owned()]);
    assert!(!report.is_clean() && report.to_string().contains("went back"));
}
