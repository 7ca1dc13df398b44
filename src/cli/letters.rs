//! The options of `freshet dlq` and `freshet late`.

use std::time::Duration;

use clap::{Args, Subcommand};
use freshet_connectors::format::read_time;
use freshet_connectors::letters::Place;
use freshet_model::Timestamp;

use super::JobOptions;
use crate::job::duration;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List records that were not accepted, the newest last
    List(ListOptions<DeadFilter>),
    /// Show one of them, with its payload and the reason
    Show(ShowOptions),
    /// Put them back into the topic of their source, each once
    ///
    /// A record that is put back has the header freshet-replay: job/source/partition/offset. A second replay does nothing, and one that was
    /// interrupted goes on. What is put back unchanged is not accepted again, unless the job accepts it by now.
    Replay(ReplayOptions),
}

/// What to do with late events.
#[derive(Debug, Subcommand)]
pub enum LateCommand {
    /// List events that came after their windows had closed, the newest last
    List(ListOptions<LateFilter>),
    /// Show one of them, with the windows that it was late for
    Show(ShowOptions),
}

/// What to list.
#[derive(Debug, Args)]
pub struct ListOptions<F: Args> {
    /// The job file.
    #[command(flatten)]
    pub job: JobOptions,
    /// Which of them.
    #[command(flatten)]
    pub filter: F,
    /// So many at most, the newest
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct DeadFilter {
    /// Only those with this reason, such as malformed or oversized
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,
    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only those since a time such as 2026-01-29T09:30:00Z, or for so long: 2h
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
}

/// Which late events.
#[derive(Debug, Args)]
pub struct LateFilter {
    /// Only those of this view
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only those since a time such as 2026-01-29T09:30:00Z, or for so long: 2h
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// Which one: source/partition/offset, as `list` shows it
    #[arg(value_name = "PLACE")]
    pub place: Place,
    /// The job file.
    #[command(flatten)]
    pub job: JobOptions,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// What to put back, and where.
#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// The job file.
    #[command(flatten)]
    pub job: JobOptions,
    /// Which of them.
    #[command(flatten)]
    pub filter: DeadFilter,
    /// Where to, instead of the source's topic: kafka://host:port/topic or file://path.ndjson
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Reads a time, or a duration before now.
fn since(text: &str) -> Result<Timestamp, String> {
    let ago = |ago: Duration| Timestamp::now().plus_micros(-i64::try_from(ago.as_micros()).unwrap_or(i64::MAX));
    let time = read_time(text).or_else(|| duration(text).ok().map(ago));
    time.ok_or_else(|| "write a time such as 2026-01-29T09:30:00Z, or a duration such as 2h".to_owned())
}
