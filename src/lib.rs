//! Freshet's machine: command line, job file, wiring, live view and HTTP. Wires, does not compute.
//!
//! The way of a command, and the way of a job:
//!
//! ```text
//! main ─ commands ─ cli            the command line
//!            ├─ job                the job file, checked
//!            ├─ planning           SQL to a plan; which sink is a table, which takes rows
//!            ├─ run                the plan as a dataflow between sources and sinks
//!            │    └─ stats         what it does, as numbers
//!            │         ├─ live     … in the terminal
//!            │         ├─ http     … for Prometheus
//!            │         └─ summary  … at the end
//!            └─ exit               what went wrong, for a person and for a script
//! ```
//!
//! What is absent: SQL, operators and connectors, which are `freshet_dataflows` and `freshet_connectors`.

pub mod cli;
pub mod commands;
pub mod exit;
pub mod functions;
#[cfg(test)]
mod golden;
pub mod hosts;
pub mod http;
pub mod job;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod planning;
pub mod redact;
pub mod run;
pub mod screen;
pub mod stats;
pub mod summary;
pub mod text;
