//! Freshet through its binary, against real services: what a user would see.
//!
//! | folder | what |
//! |---|---|
//! | `support` | a Kafka broker, a PostgreSQL cluster, the program under test |
//! | `oracle` | the right answers, computed the naive way |
//! | `stories` | the tests, one file a story |
//!
//! One binary, so that broker and database start once. Each test has topics, databases and folders of its own. Servers
//! need Java 17, Maven and the programs of a PostgreSQL server; they end with this process, however it ends.

mod oracle;
mod stories;
mod support;
