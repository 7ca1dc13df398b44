//! One drawing of the live view: lines that fit the screen.
//!
//! What matters most stands first, since a low screen shows only the beginning, and the last line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use freshet_connectors::circuit::Gauge;
use freshet_model::Timestamp;

use super::Moment;
use crate::stats::{Stats, ViewStats};
use crate::text::{elapsed, latency, rate, table, thousands};

/// Returns the lines for a screen of this size.
pub(super) fn lines(moment: &Moment<'_>, rows: usize, columns: usize) -> Vec<String> {
    let mut lines = head(moment);
    lines.push(String::new());
    lines.extend(views(moment.stats));
    lines.push(String::new());
    lines.extend(sinks(moment.stats));
    lines.extend(asked(moment.stats));
    let views = moment.stats.views.len().max(1);
    let left = rows.saturating_sub(lines.len() + 4) / views;
    lines.extend(newest(moment.stats, left.max(1)));
    lines.push(String::new());
    // The cursor stands below the last line, which takes a row of its own.
    lines.truncate(rows.saturating_sub(2).max(1));
    lines.push(hint(moment));
    let fit = |line: String| console::truncate_str(&line, columns.saturating_sub(1).max(1), "…").into_owned();
    lines.into_iter().map(fit).collect()
}

/// Returns the watermark of the source that is furthest behind.
pub(super) fn watermark(stats: &Stats) -> Timestamp {
    let all = stats.sources.iter().map(|source| source.watermark.load(Ordering::Relaxed));
    all.min().map_or(Timestamp::MIN, Timestamp)
}

fn head(moment: &Moment<'_>) -> Vec<String> {
    let stats = moment.stats;
    let quantile = |q| latency(moment.freshness.quantile(q));
    let title = console::style(format!("freshet  {}", moment.job)).for_stderr().bold();
    let epoch = stats.epoch.load(Ordering::Relaxed);
    vec![
        format!("{title}   up {}   epoch {}", elapsed(moment.uptime), thousands(epoch)),
        format!(
            "events      {}   now {}   mean {}   lag {}",
            thousands(moment.records),
            rate(moment.rate_now),
            rate(moment.rate_mean),
            thousands(stats.lag())
        ),
        format!("watermark   {}", behind(watermark(stats), moment.now)),
        format!("freshness   p50 {}   p99 {}   (created to committed, last 10 s)", quantile(0.5), quantile(0.99)),
        format!("dead letters  {}", thousands(stats.dead_letters())),
    ]
}

/// Says where the watermark is, and how far behind the clock.
fn behind(watermark: Timestamp, now: Timestamp) -> String {
    match watermark {
        Timestamp::MIN => "none yet".to_owned(),
        Timestamp::MAX => "at the end: all windows are closed".to_owned(),
        Timestamp(micros) => {
            let text = watermark.to_string();
            let seconds = text.split('.').next().unwrap_or_default();
            let distance = Duration::from_micros(now.0.abs_diff(micros));
            let side = if micros <= now.0 { "behind" } else { "ahead of" };
            format!("{seconds}Z, {} {side} the clock", elapsed(distance))
        }
    }
}

fn views(stats: &Stats) -> Vec<String> {
    let number = |number: &AtomicU64| thousands(number.load(Ordering::Relaxed));
    let mut rows = vec![["view", "written", "deleted", "late", "state"].map(str::to_owned).to_vec()];
    for view in &stats.views {
        let numbers = [&view.upserts, &view.deletes, &view.late, &view.state_keys].map(number);
        rows.push(std::iter::once(view.name.clone()).chain(numbers).collect());
    }
    table(&rows, 1)
}

fn sinks(stats: &Stats) -> Vec<String> {
    let mut rows = vec![["sink", "where", "circuit", "epoch", "rows", "commit p99"].map(str::to_owned).to_vec()];
    for sink in &stats.sinks {
        rows.push(vec![
            sink.name.clone(),
            sink.url.clone(),
            sink.circuit.state().name().to_owned(),
            thousands(sink.epoch.load(Ordering::Relaxed)),
            thousands(sink.rows.load(Ordering::Relaxed)),
            latency(sink.commit.snapshot().quantile(0.99)),
        ]);
    }
    table(&rows, 3)
}

/// Returns the circuits of what is asked beside sources and sinks, after an empty line; nothing if there is none.
fn asked(stats: &Stats) -> Vec<String> {
    let row = |(thing, circuit): (String, &Arc<Gauge>)| {
        let [opened, retries] = [&circuit.opened, &circuit.retries].map(|number| thousands(number.load(Ordering::Relaxed)));
        vec![thing, circuit.state().name().to_owned(), opened, retries]
    };
    let mut rows: Vec<_> = stats.asked().map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    rows.insert(0, ["asked", "circuit", "opened", "retries"].map(str::to_owned).to_vec());
    std::iter::once(String::new()).chain(table(&rows, 2)).collect()
}

/// Returns the newest rows of each view that has some, at most `each` of a view.
fn newest(stats: &Stats, each: usize) -> Vec<String> {
    let rows = |view: &ViewStats| {
        let name = console::style(view.name.clone()).for_stderr().dim().to_string();
        let all = view.newest();
        let shown = all.iter().skip(all.len().saturating_sub(each));
        shown.map(|row| format!("{name}  {}", visible(row))).collect::<Vec<_>>()
    };
    let rows: Vec<String> = stats.views.iter().flat_map(rows).collect();
    if rows.is_empty() { rows } else { std::iter::once(String::new()).chain(rows).collect() }
}

/// Takes out what could move the cursor: rows hold what strangers have sent.
fn visible(row: &str) -> String {
    row.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

fn hint(moment: &Moment<'_>) -> String {
    match (moment.stats.failure(), moment.is_stopping) {
        (Some(reason), _) => format!("failed: {}", visible(&reason)),
        (None, true) => "draining what has been read; Ctrl-C again gives up".to_owned(),
        (None, false) => "Ctrl-C drains and stops".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Snapshot;

    fn stats() -> Stats {
        let sinks = [("warehouse".to_owned(), "postgres://app:hunter2@db/x".to_owned())];
        let stats = Stats::new(&["clicks".into()], &["hits".into()], &sinks);
        stats.sources[0].watermark.store(1_769_679_063_027_000, Ordering::Relaxed);
        stats.views[0].late.store(1234, Ordering::Relaxed);
        stats.views[0].show(["/cart | 5".to_owned(), "\x1b[2J\n | 6".to_owned()]);
        stats
    }

    fn moment(stats: &Stats) -> Moment<'_> {
        Moment {
            job: "activity",
            stats,
            now: Timestamp(1_769_679_063_027_000 + 125_000_000),
            uptime: Duration::from_secs(62),
            records: 1_000_000,
            rate_now: 20_000.0,
            rate_mean: 16_129.0,
            freshness: Snapshot::default(),
            is_stopping: false,
        }
    }

    #[test]
    fn a_drawing_shows_what_matters() {
        console::set_colors_enabled_stderr(false);
        let expected = "\
freshet  activity   up 1m02s   epoch 0
events      1,000,000   now 20,000/s   mean 16,129/s   lag 0
watermark   2026-01-29T09:31:03Z, 2m05s behind the clock
freshness   p50 -   p99 -   (created to committed, last 10 s)
dead letters  0

view  written  deleted   late  state
hits        0        0  1,234      0

sink       where                    circuit  epoch  rows  commit p99
warehouse  postgres://app:***@db/x  closed       0     0           -

hits  /cart | 5
hits  ·[2J· | 6

Ctrl-C drains and stops";
        assert_eq!(lines(&moment(&stats()), 40, 100).join("\n"), expected);
    }

    #[test]
    fn what_is_asked_and_is_away_is_shown() {
        console::set_colors_enabled_stderr(false);
        let stats = stats().with_registries([true].into_iter()).with_tables(["prices".to_owned()].into_iter());
        let registry = stats.sources[0].registry.as_ref().expect("it has one");
        registry.state.store(2, Ordering::Relaxed);
        registry.opened.store(1, Ordering::Relaxed);
        registry.retries.store(1234, Ordering::Relaxed);
        let text = lines(&moment(&stats), 40, 100).join("\n");
        let expected = "

asked                        circuit  opened  retries
registry of source 'clicks'  open          1    1,234
table 'prices'               closed        0        0

";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_drawing_fits_every_screen() {
        let stats = stats();
        for (rows, columns) in [(1, 1), (5, 20), (12, 40), (24, 80)] {
            let lines = lines(&moment(&stats), rows, columns);
            assert!(lines.len() < rows.max(3), "{} lines on {rows}", lines.len());
            assert!(lines.iter().all(|line| console::measure_text_width(line) < columns.max(2)), "{columns}");
        }
    }

    #[test]
    fn the_end_is_told() {
        let stats = stats();
        let stopping = Moment { is_stopping: true, ..moment(&stats) };
        assert!(lines(&stopping, 24, 80).last().is_some_and(|line| line.starts_with("draining")));
        stats.fail("the sink is gone");
        assert!(lines(&stopping, 24, 80).last().is_some_and(|line| line == "failed: the sink is gone"));
    }
}
