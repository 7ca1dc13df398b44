//! Breaks one thing after another while a job runs on a real broker and a real database, and counts what was lost, repeated or torn.
//!
//! ```text
//!   producer ──▶ Kafka ──▶ freshet (1 … n processes, restarted when they end) ──▶ PostgreSQL ◀── reader: sums that must be equal
//!                  ▲                                      │    └─────────────▶ lake                  at every instant
//!                  └──────────── enriched topic ◀─────────┘
//!                       faults: one after another, each waited for until the job commits again
//!   at the end: everything committed? then tables, lake and topic against the oracle of all that was produced
//! ```
//!
//! | file | what |
//! |---|---|
//! | `stage` | the servers, the topics, the job file |
//! | `producer` | user activity at a steady rate, some of it late or malformed |
//! | `supervisor` | the job's processes, started again when they end |
//! | `reader` | looks at the database all the time |
//! | `follower` | waits for the enriched events, as a program behind the job does |
//! | `faults` | what is broken, one file a kind |
//! | `isolation` | a network and a disk that can be broken without others noticing |
//! | `round` | one fault after another |
//! | `audit` | what was lost or repeated in the end |
//! | `report` | the table fault by fault |
//!
//! The seed decides which fault comes when; how the processes happen to run decides the rest. Exit code 1: something was lost,
//! repeated or torn, or a fault was not survived.

mod audit;
mod faults;
mod follower;
mod isolation;
mod options;
mod producer;
mod reader;
mod report;
mod round;
mod stage;
mod supervisor;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        faults::ALL.iter().for_each(|fault| println!("{:20} {}", fault.name, fault.about));
        return ExitCode::SUCCESS;
    }
    isolation::enter();
    if let Some(binary) = &options.binary {
        freshet_harness::freshet::use_binary(binary.clone());
    }
    let report = round::run(&options);
    print!("{report}");
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
