//! The sinks for views against real databases: a throw-away PostgreSQL cluster, and SQLite files in a temporary folder.

mod cluster;
mod commits;
mod failures;
mod oracle;
mod postgres;
mod proxy;
mod sqlite;
