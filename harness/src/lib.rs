//! What Freshet's tests need around it: real servers, the program as a child, and the right answers.
//!
//! | module | what |
//! |---|---|
//! | [`kafka`], [`registry`], [`postgres`], [`s3`] | a real broker, schema registry, database and object store, which end with this process, however it ends |
//! | [`freshet`], [`job`] | the program under test, run as a person runs it, and the jobs that it runs |
//! | [`oracle`] | what the jobs have to show, computed the naive way |
//! | [`server`], [`http`], [`certificates`] | what these are made of |
//!
//! Everything here panics when it cannot go on: that is a failed test. Needs Java 17, Maven and the programs of a PostgreSQL server.
#![allow(clippy::missing_panics_doc)]

pub mod certificates;
pub mod freshet;
pub mod http;
pub mod job;
pub mod kafka;
pub mod oracle;
pub mod postgres;
pub mod registry;
pub mod s3;
pub mod server;
