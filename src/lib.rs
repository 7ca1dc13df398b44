//! Freshet's machine: command line, job file, wiring, live view and HTTP. Wires, does not compute.

pub mod http;
pub mod job;
pub mod metrics;
pub mod redact;
pub mod stats;
