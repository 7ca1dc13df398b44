//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Breaks one thing after another while a job runs, and counts what was lost, repeated or torn.
#[derive(Debug, Clone, Parser)]
#[command(name = "chaos")]
pub(crate) struct Options {
    /// For how long to break things
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    pub(crate) minutes: f64,
    /// Another seed gives another order of faults and other events
    #[arg(long, default_value_t = 7, value_name = "N")]
    pub(crate) seed: u64,
    /// Stop as soon as so many processes were killed [default: only the time counts]
    #[arg(long, value_name = "N")]
    pub(crate) kills: Option<usize>,
    /// The longest pause between two faults
    #[arg(long, default_value_t = 1500, value_name = "MS")]
    pub(crate) pause: u64,
    /// Only these faults, separated by commas [default: all; --list names them]
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub(crate) faults: Vec<String>,
    /// Numbers of workers a process, taken in turn by the fault `rescale`
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,3", value_name = "N,M")]
    pub(crate) workers: Vec<usize>,
    /// Numbers of processes, taken in turn by the fault `rescale`
    #[arg(long, value_delimiter = ',', default_value = "1,1,2,1,3", value_name = "N,M")]
    pub(crate) processes: Vec<usize>,
    /// Events a second
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub(crate) rate: u64,
    /// The freshet to test [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// Keep the job's folder, with its state, lake and log
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print the names of the faults and end
    #[arg(long)]
    pub(crate) list: bool,
}

impl Options {
    /// Returns for how long to break things.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes.clamp(0.0, 60.0 * 24.0 * 7.0) * 60.0)
    }
}
