//! The live view of a running job: drawn in a terminal several times a second, or a log line now and then where nobody watches.
//!
//! One thread samples [`Stats`], keeps the samples of the last seconds for rates and quantiles, and draws. What a drawing
//! holds is a pure function in `frame`.

mod frame;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use freshet_model::Timestamp;

use crate::cli::LogOptions;
use crate::job::Job;
use crate::screen::Screen;
use crate::stats::{Snapshot, Stats};
use crate::text::{latency, rate, thousands};

/// Time between two drawings.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// "Now" is the mean of this time.
const RECENT: Duration = Duration::from_secs(10);

/// The thread that shows what the job does; ends when it is dropped, and leaves the last drawing.
#[derive(Debug)]
pub struct Live {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Begins to show a job.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        screen: &Arc<Screen>,
        log: &LogOptions,
        job: &Job,
        stats: Arc<Stats>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Live> {
        let done = Arc::new(AtomicBool::new(false));
        // Rows that a sink writes to the terminal would tear the drawing.
        let has_console = job.sinks.iter().any(|sink| sink.url.starts_with("console://"));
        let is_drawn = screen.is_watched() && !log.quiet && !has_console;
        let mut view = View { job: job.name.clone(), stats, stop, samples: VecDeque::new() };
        let (screen, mine) = (Arc::clone(screen), Arc::clone(&done));
        let body = move || if is_drawn { view.draw_until(&mine, &screen) } else { view.log_until(&mine) };
        let thread = std::thread::Builder::new().name("live".into()).spawn(body)?;
        Ok(Live { done, thread: Some(thread) })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The numbers at one time.
#[derive(Debug)]
struct Sample {
    at: Instant,
    records: u64,
    freshness: Snapshot,
}

/// What the thread owns.
struct View {
    job: String,
    stats: Arc<Stats>,
    stop: Arc<AtomicBool>,
    samples: VecDeque<Sample>,
}

impl View {
    fn draw_until(&mut self, done: &AtomicBool, screen: &Screen) {
        loop {
            let is_last = done.load(Ordering::Relaxed);
            let moment = self.moment();
            let (rows, columns) = screen.size();
            screen.draw(&frame::lines(&moment, rows, columns));
            if is_last {
                return screen.leave();
            }
            std::thread::park_timeout(DRAW_INTERVAL);
        }
    }

    fn log_until(&mut self, done: &AtomicBool) {
        let mut last = Instant::now();
        while !done.load(Ordering::Relaxed) {
            std::thread::park_timeout(LOG_INTERVAL.saturating_sub(last.elapsed()));
            if last.elapsed() >= LOG_INTERVAL {
                last = Instant::now();
                self.log();
            }
        }
    }

    fn log(&mut self) {
        let moment = self.moment();
        let freshness = |quantile| latency(moment.freshness.quantile(quantile));
        tracing::info!(
            events = moment.records,
            rate = %rate(moment.rate_now),
            lag = moment.stats.lag(),
            watermark = %frame::watermark(moment.stats),
            freshness_p50 = %freshness(0.5),
            freshness_p99 = %freshness(0.99),
            dead_letters = moment.stats.dead_letters(),
            epoch = moment.stats.epoch.load(Ordering::Relaxed),
            "{} events", thousands(moment.records)
        );
    }

    /// Takes a sample and compares it with the oldest recent one.
    fn moment(&mut self) -> Moment<'_> {
        let now = Instant::now();
        // One sample from before the recent time stays, as its beginning.
        while self.samples.get(1).is_some_and(|second| now - second.at >= RECENT) {
            self.samples.pop_front();
        }
        let uptime = self.stats.started.elapsed();
        let (records, freshness) = (self.stats.records(), self.stats.freshness());
        let (since, before, recent) = match self.samples.front() {
            Some(first) => (now - first.at, first.records, freshness.since(&first.freshness)),
            None => (uptime, 0, freshness.clone()),
        };
        self.samples.push_back(Sample { at: now, records, freshness });
        Moment {
            job: &self.job,
            stats: &self.stats,
            now: Timestamp::now(),
            uptime,
            records,
            rate_now: per_second(records.saturating_sub(before), since),
            rate_mean: per_second(records, uptime),
            freshness: recent,
            is_stopping: self.stop.load(Ordering::Relaxed),
        }
    }
}

/// Everything that a drawing shows.
struct Moment<'a> {
    job: &'a str,
    stats: &'a Stats,
    now: Timestamp,
    uptime: Duration,
    records: u64,
    rate_now: f64,
    rate_mean: f64,
    freshness: Snapshot,
    is_stopping: bool,
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(stats: &Arc<Stats>) -> View {
        View { job: "activity".into(), stats: Arc::clone(stats), stop: Arc::default(), samples: VecDeque::new() }
    }

    #[test]
    fn what_is_recent_leaves_out_what_was_before() {
        let stats = Arc::new(Stats::new(&["clicks".into()], &[], &[("a".into(), "console://".into())]));
        let mut view = view(&stats);
        stats.sources[0].records.store(1000, Ordering::Relaxed);
        stats.sinks[0].freshness.observe(Duration::from_secs(5));
        assert_eq!(view.moment().freshness.count(), 1);
        stats.sinks[0].freshness.observe(Duration::from_millis(5));
        let moment = view.moment();
        assert_eq!((moment.records, moment.rate_now, moment.freshness.count()), (1000, 0.0, 1));
        assert!(moment.freshness.quantile(0.99).is_some_and(|seconds| seconds < 0.01));
    }

    #[test]
    fn a_dropped_view_ends_its_thread() {
        let stats = Arc::new(Stats::new(&[], &[], &[]));
        let done = Arc::new(AtomicBool::new(false));
        let (mut view, mine) = (view(&stats), Arc::clone(&done));
        let thread = std::thread::spawn(move || view.log_until(&mine));
        let started = Instant::now();
        drop(Live { done, thread: Some(thread) });
        assert!(started.elapsed() < LOG_INTERVAL / 2);
    }
}
