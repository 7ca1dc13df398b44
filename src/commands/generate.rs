//! `freshet generate`: makes up events, with a progress bar for who watches and lines for who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freshet_connectors::generator::{self, Generator};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{GenerateOptions, LogOptions};
use crate::exit::Failure;
use crate::redact;
use crate::screen::Screen;
use crate::text::{rate, thousands};

/// Without a bar, progress is told this often.
const TELL: Duration = Duration::from_secs(5);

pub(super) fn generate(options: &GenerateOptions, log: &LogOptions, screen: &Arc<Screen>) -> Result<(), Failure> {
    let wrong = |what: &str| Failure::usage(what, "freshet generate --help lists profiles, kinds and options");
    let profile = generator::profile(&options.profile).ok_or_else(|| wrong("unknown profile"))?;
    let kind = generator::kind(&options.kind).ok_or_else(|| wrong("unknown kind"))?;
    let generator = Generator::from_params(kind, profile, &options.parameters()).map_err(|error| wrong(&error.to_string()))?;
    if !["kafka://", "file://"].iter().any(|scheme| options.to.starts_with(scheme)) {
        return Err(Failure::usage(
            "--to is neither kafka:// nor file://",
            "write kafka://host:port/topic or file://path.ndjson",
        ));
    }
    let mut progress = Progress::new(generator.events(), screen.is_watched() && !log.quiet);
    let stop = stop_on_signal()?;
    let made = generator::fill(&options.to, generator, &mut |made| {
        progress.tell(made);
        !stop.load(Ordering::Relaxed)
    })?;
    progress.finish(made, &redact::url(&options.to));
    Ok(())
}

/// Stops cleanly on the first signal, at once on the second.
fn stop_on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    super::run::on_signal(Arc::clone(&stop), || {})?;
    Ok(stop)
}

/// Tells how far the work is.
struct Progress {
    bar: ProgressBar,
    all: Option<u64>,
    is_drawn: bool,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(all: Option<u64>, is_drawn: bool) -> Progress {
        let bar = match (is_drawn, all) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(all)) => {
                ProgressBar::new(all).with_style(style("{bar:30} {human_pos} of {human_len} events  {per_sec}  {eta} to go"))
            }
            (true, None) => ProgressBar::no_length().with_style(style("{spinner} {human_pos} events  {per_sec}  Ctrl-C stops")),
        };
        let now = Instant::now();
        Progress { bar, all, is_drawn, started: now, told: now }
    }

    fn tell(&mut self, made: u64) {
        self.bar.set_position(made);
        if !self.is_drawn && self.told.elapsed() >= TELL {
            self.told = Instant::now();
            let of = self.all.map_or(String::new(), |all| format!(" of {}", thousands(all)));
            tracing::info!("made {}{of} events, {}", thousands(made), rate(self.per_second(made)));
        }
    }

    fn finish(&self, made: u64, target: &str) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        tracing::info!("made {} events in {seconds:.1} s, {}, into {target}", thousands(made), rate(self.per_second(made)));
    }

    fn per_second(&self, made: u64) -> f64 {
        made as f64 / self.started.elapsed().as_secs_f64().max(1e-6)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
