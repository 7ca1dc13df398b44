//! The sinks for views against real databases: a throw-away PostgreSQL cluster, and SQLite files in a temporary folder.

#![allow(clippy::unwrap_used)]

mod appended;
mod cluster;
mod commits;
mod failures;
mod letters;
mod oracle;
mod postgres;
mod proxy;
mod reading;
mod resume;
mod sqlite;
mod tls;
