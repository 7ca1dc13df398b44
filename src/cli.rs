//! The command line: every command, option and help text.
//!
//! `run` may be left out: `freshet`, `freshet jobs/x.toml` and `freshet -w 4` run a job.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use freshet_connectors::generator::{KINDS, PROFILES};

use crate::exit;

mod letters;

pub use letters::{DeadFilter, DlqCommand, LateCommand, LateFilter, ListOptions, ReplayOptions, ShowOptions};

const USAGE: &str = "freshet [run] [OPTIONS] [JOB]\n       freshet [OPTIONS] <COMMAND>";

/// Keeps SQL views over Kafka streams correct and fresh.
///
/// A job, one TOML file, names sources, views in SQL, and sinks. `freshet jobs/x.toml` runs it; `freshet` alone runs
/// jobs/user_activity.toml, which needs neither Kafka nor a database unless KAFKA_URL and DATABASE_URL say so.
#[derive(Debug, Parser)]
#[command(name = "freshet", version, max_term_width = 100, override_usage = USAGE, after_help = exit::HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much to log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a job until it is stopped; what `freshet` does when no command is named
    ///
    /// Ctrl-C drains: what has been read is committed, then the program ends. A second Ctrl-C ends it at once; the next start goes on from
    /// the last commit.
    Run(RunOptions),
    /// Check a job file without reading or writing anything else
    Check(JobOptions),
    /// Show what a job computes: inputs, filters, windows, state
    Explain(ExplainOptions),
    /// Make up events of some kind and send them to a Kafka topic or a file
    Generate(Box<GenerateOptions>),
    /// Look at the records that a job did not accept, and put them back
    Dlq {
        /// What to do with them.
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Look at the events that came after their windows had closed
    Late {
        /// What to do with them.
        #[command(subcommand)]
        command: LateCommand,
    },
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of job files, for editors
    Schema,
}

/// A job file.
#[derive(Debug, Args)]
pub struct JobOptions {
    /// The job file, or the name of one that is built in: user_activity, clickstream, ecommerce, events, payments, sensors [default: user_activity]
    #[arg(value_name = "JOB")]
    pub job: Option<PathBuf>,
}

/// How to run a job.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The job file.
    #[command(flatten)]
    pub job: JobOptions,
    /// Worker threads of this process. More than one pays off only on cores that broker, database and client threads leave free
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub workers: usize,
    /// Processes of the cluster, all started with the same job and number [default: 1, or the hosts of --cluster]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub processes: Option<usize>,
    /// Which of the processes this is, counted from 0
    #[arg(short, long, value_name = "I", default_value_t = 0)]
    pub process: usize,
    /// The file that lists where the processes listen [default: cluster.toml when there are several]
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
    /// Read the sources to their ends as they are now, commit, print a summary and end
    #[arg(long)]
    pub bounded: bool,
    /// Where the job keeps what it must know after a crash [default: file://data/state/JOB]
    #[arg(long, value_name = "URL")]
    pub state: Option<String>,
    /// Start although another instance of the job lives, and fence that one off
    #[arg(long)]
    pub takeover: bool,
    /// Compute a view anew from the sources, whose query may have changed, while the others stay as they are; may be given several
    /// times. Without a view: forget the job's state, empty its tables, and compute everything anew
    #[arg(long, value_name = "VIEW", num_args = 0..=1, default_missing_value = "")]
    pub reset: Vec<String>,
    /// Start the job again by itself, after growing pauses, when it ends because a system outside is away
    #[arg(long)]
    pub supervise: bool,
    /// Answer /healthz, /readyz and /metrics here; a port alone means this machine only
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = listen_address)]
    pub listen: Option<SocketAddr>,
}

/// How to explain a job.
#[derive(Debug, Args)]
pub struct ExplainOptions {
    /// The job file.
    #[command(flatten)]
    pub job: JobOptions,
    /// Print a graph for Graphviz: freshet explain --graphviz | dot -Tsvg > job.svg
    #[arg(long)]
    pub graphviz: bool,
}

/// What to make up; an option that is not given is the profile's and the kind's.
#[derive(Debug, Args)]
pub struct GenerateOptions {
    /// How many events, and how fast
    #[arg(value_parser = profiles())]
    pub profile: String,
    /// What the events are about
    #[arg(long, value_name = "KIND", default_value = KINDS[0].0, value_parser = kinds())]
    pub kind: String,
    /// Where to: kafka://host:port/topic or file://path.ndjson
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// Events a second; 0 means as fast as possible
    #[arg(long, value_name = "N")]
    pub rate: Option<String>,
    /// Number of events in all
    #[arg(long, value_name = "N")]
    pub events: Option<String>,
    /// Another seed gives other events
    #[arg(long, value_name = "N")]
    pub seed: Option<String>,
    /// Number of partitions of a topic that does not exist yet
    #[arg(long, value_name = "N")]
    pub partitions: Option<String>,
    /// Number of users, or of sensors
    #[arg(long, value_name = "N")]
    pub users: Option<String>,
    /// Number of pages, or of products
    #[arg(long, value_name = "N")]
    pub urls: Option<String>,
    /// Event time that the events cover, such as 15m; ends now unless --start is given
    #[arg(long, value_name = "DURATION")]
    pub span: Option<String>,
    /// Event time of the first event, such as 2026-01-29T09:30:00Z
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// Event time of a finalizer
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How much events lag behind their order in the mean, such as 2s
    #[arg(long, value_name = "DURATION")]
    pub disorder: Option<String>,
    /// Share of events that come minutes late, such as 0.003
    #[arg(long, value_name = "SHARE")]
    pub late: Option<String>,
    /// Share of records that repeat one of the last minute, such as 0.01
    #[arg(long, value_name = "SHARE")]
    pub repeated: Option<String>,
    /// Share of records that are no valid event, such as 0.0005
    #[arg(long, value_name = "SHARE")]
    pub malformed: Option<String>,
    /// Share of what goes wrong: visits of fraudsters, bad minutes of services, stretches of faulty readings
    #[arg(long, value_name = "SHARE")]
    pub incidents: Option<String>,
    /// How much busier the evenings of a span are than its nights, from 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub rhythm: Option<String>,
}

/// How much to log, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogOptions {
    /// The form of log lines
    #[arg(long, global = true, value_name = "FORM", default_value = "text", display_order = 100)]
    pub log_format: LogFormat,
    /// Log errors only, and show no live view
    #[arg(short, long, global = true, display_order = 101)]
    pub quiet: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet", display_order = 102)]
    pub verbose: u8,
}

/// The forms of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl GenerateOptions {
    /// Returns the options that were given, under the names that the generator knows.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, String)> {
        let options = [
            ("rate", &self.rate),
            ("events", &self.events),
            ("seed", &self.seed),
            ("partitions", &self.partitions),
            ("users", &self.users),
            ("urls", &self.urls),
            ("span", &self.span),
            ("start", &self.start),
            ("at", &self.at),
            ("disorder", &self.disorder),
            ("late", &self.late),
            ("repeated", &self.repeated),
            ("malformed", &self.malformed),
            ("incidents", &self.incidents),
            ("rhythm", &self.rhythm),
        ];
        options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))).collect()
    }
}

/// Puts `run` where no command was named.
///
/// The first word that is not an option for the log decides: an option of `run`, a path, or nothing at all mean `run`. A single
/// word that is no file stays, so that a mistyped command is told as such.
#[must_use]
pub fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(argument) = arguments.get(at).map(|argument| argument.to_string_lossy().into_owned()) {
        match argument.as_str() {
            "--log-format" => at += 2,
            "--quiet" | "--verbose" => at += 1,
            other if other.starts_with("--log-format=") || is_log_flags(other) => at += 1,
            "-h" | "--help" | "-V" | "--version" => return arguments,
            other if names_a_command(other) => return arguments,
            _ => break,
        }
    }
    arguments.insert(at.min(arguments.len()), "run".into());
    arguments
}

fn is_log_flags(argument: &str) -> bool {
    argument.strip_prefix('-').is_some_and(|flags| !flags.is_empty() && flags.chars().all(|flag| matches!(flag, 'q' | 'v')))
}

fn names_a_command(word: &str) -> bool {
    let looks_like_a_path = word.contains(['/', '.', '\\']) || std::path::Path::new(word).exists();
    let is_known = word == "help" || Cli::command().get_subcommands().any(|command| command.get_name() == word);
    is_known || !(word.starts_with('-') || looks_like_a_path)
}

fn profiles() -> PossibleValuesParser {
    PossibleValuesParser::new(PROFILES.iter().map(|(name, _, about)| PossibleValue::new(*name).help(*about)))
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(KINDS.iter().map(|(name, _, about)| PossibleValue::new(*name).help(*about)))
}

/// Reads `9464`, `127.0.0.1:9464`, `[::1]:9464` or `localhost:9464`.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let mut addresses = text.to_socket_addrs().map_err(|_| "write a port, or an address such as 127.0.0.1:9464".to_owned())?;
    addresses.next().ok_or_else(|| "the name has no address".to_owned())
}

#[cfg(test)]
mod tests;
