//! What a bounded run prints at its end.

use std::sync::atomic::Ordering;

use crate::stats::Stats;
use crate::text::{rate, table, thousands};

/// Returns the summary of a run that has read `events` in `seconds`.
#[must_use]
pub fn text(job: &str, stats: &Stats, events: u64, seconds: f64) -> String {
    let load = |number: &std::sync::atomic::AtomicU64| thousands(number.load(Ordering::Relaxed));
    let mut views = vec![["view", "counted", "filtered", "late", "rows written", "deleted"].map(str::to_owned).to_vec()];
    for view in &stats.views {
        let numbers = [&view.counted, &view.filtered, &view.late, &view.upserts, &view.deletes].map(load);
        views.push(std::iter::once(view.name.clone()).chain(numbers).collect());
    }
    let mut streams = vec![["stream", "repeats", "late", "keys"].map(str::to_owned).to_vec()];
    for stream in &stats.streams {
        let numbers = [&stream.duplicates, &stream.late, &stream.keys];
        if numbers.iter().any(|number| number.load(Ordering::Relaxed) > 0) {
            streams.push(std::iter::once(stream.name.clone()).chain(numbers.map(load)).collect());
        }
    }
    let mut sinks = vec![["sink", "where", "commits", "rows"].map(str::to_owned).to_vec()];
    for sink in &stats.sinks {
        sinks.push(vec![sink.name.clone(), sink.url.clone(), load(&sink.commits), load(&sink.rows)]);
    }
    let speed = rate(events as f64 / seconds.max(1e-6));
    let dead = thousands(stats.dead_letters());
    let head = format!("{job}: {} events in {seconds:.2} s, {speed}; dead letters: {dead}", thousands(events));
    let mut lines = vec![head, String::new()];
    lines.extend(table(&views, 1));
    lines.push(String::new());
    // Records that a stream left out never came to its views.
    if streams.len() > 1 {
        lines.extend(table(&streams, 1));
        lines.push(String::new());
    }
    lines.extend(table(&sinks, 2));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_accounts_for_every_event() {
        let stats = Stats::new(&["clicks".into()], &["hits".into()], &[("warehouse".into(), "postgres://a:pw@db/x".into())]);
        stats.sources[0].dead_letters.store(7, Ordering::Relaxed);
        stats.views[0].counted.store(1_234_567, Ordering::Relaxed);
        stats.views[0].late.store(3, Ordering::Relaxed);
        stats.sinks[0].commits.store(12, Ordering::Relaxed);
        let expected = "\
activity: 1,234,577 events in 2.00 s, 617,289/s; dead letters: 7

view    counted  filtered  late  rows written  deleted
hits  1,234,567         0     3             0        0

sink       where                  commits  rows
warehouse  postgres://a:***@db/x       12     0
";
        assert_eq!(text("activity", &stats, 1_234_577, 2.0), expected);
        let stats = stats.with_streams(["dedupe(clicks, id, 60 s)", "union(a, b)"].map(str::to_owned).into_iter());
        stats.streams[0].duplicates.store(1_000, Ordering::Relaxed);
        let streams = "\
stream                    repeats  late  keys
dedupe(clicks, id, 60 s)    1,000     0     0

sink";
        let text = text("activity", &stats, 1_234_577, 2.0);
        assert!(text.contains(streams) && !text.contains("union"), "{text}");
    }
}
