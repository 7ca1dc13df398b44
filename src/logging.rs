//! Sets up the log: to standard error, as text or JSON, as much as the command line asks for.
//!
//! `FRESHET_LOG` overrules the command line with the filters of `tracing`, such as `freshet=debug,rdkafka=warn`.

use std::sync::Arc;

use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, LogOptions};
use crate::screen::{LogWriter, Screen};

/// Name of the environment variable with filters.
const FILTER_VARIABLE: &str = "FRESHET_LOG";

/// Begins to log; a second call changes nothing.
pub fn start(options: &LogOptions, screen: &Arc<Screen>) {
    let writer = LogWriter(Arc::clone(screen));
    let default = default_filter(options);
    let filter = std::env::var(FILTER_VARIABLE).ok().and_then(|filters| EnvFilter::try_new(filters).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
    let _ = match options.log_format {
        LogFormat::Text => builder.with_ansi(screen.is_watched()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Returns the filter for a number of `-v` and `-q`: what others log is told one step later than what Freshet does.
fn default_filter(options: &LogOptions) -> String {
    let (own, others) = match (options.quiet, options.verbose) {
        (true, _) => (Level::ERROR, Level::ERROR),
        (false, 0) => (Level::INFO, Level::WARN),
        (false, 1) => (Level::DEBUG, Level::INFO),
        (false, _) => (Level::TRACE, Level::DEBUG),
    };
    format!("{others},freshet={own},freshet_connectors={own},freshet_dataflows={own}")
}
