//! The report tells a clean run from another.

use crate::faults::Dealt;
use crate::report::{Event, Report};
use crate::supervisor::Size;

fn event(result: Result<(f64, f64), String>, until_micros: i64) -> Event {
    let size = Size { processes: 1, workers: 1 };
    Event { fault: "kill_all", at: 0.0, size, point: None, until_micros, result, torn: 0, sentences: Vec::new() }
}

#[test]
fn a_report_is_clean_only_without_any_finding() {
    let mut report = Report::new(1);
    report.add(event(Ok((0.4, 0.5)), 100));
    report.add(event(Ok((0.8, 1.0)), 200));
    assert!(report.is_clean());
    assert!(report.to_string().contains("0.40    0.80    0.80         0.50    1.00    1.00"), "{report}");

    report.blame(150, 0, 1);
    assert!(!report.is_clean(), "an event came twice");

    let mut report = Report::new(1);
    report.add(event(Err("no commit".to_owned()), 100));
    assert!(!report.is_clean(), "a fault was not survived");

    let mut report = Report::new(1);
    report.torn_before(1, vec!["the progress went back".to_owned()]);
    assert!(!report.is_clean() && report.to_string().contains("went back"));
}

#[test]
fn a_report_tells_which_fail_points_were_passed_and_survived() {
    let mut report = Report::new(1);
    let mut at = |point, action, passed, result| {
        let point = Some(Dealt { point, action, passed });
        report.add(Event { fault: "failpoint", point, ..event(result, 100) });
    };
    at("log::after_sync", 0, true, Ok((0.4, 0.5)));
    at("log::after_sync", 0, true, Ok((0.4, 0.5)));
    at("log::after_sync", 2, false, Ok((0.4, 0.5)));
    at("collect::half", 1, true, Err("no commit".to_owned()));
    let text = report.to_string();
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("log::after_sync"), ["log::after_sync", "2", "of", "2", "-", "not", "passed"]);
    assert_eq!(line("collect::half"), ["collect::half", "-", "0", "of", "1", "-"]);
    assert!(text.contains("2 fail points, set 4 times, passed 3 times, survived 2 times"), "{text}");
}
