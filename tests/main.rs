//! Freshet through its binary, against real services: what a user would see.
//!
//! `stories` holds the tests, one file a story; the servers, the program under test and the oracle are those of `harness`.
//!
//! One binary, so that broker and database start once. Each test has topics, databases and folders of its own. Servers
//! need Java 17, Maven and the programs of a PostgreSQL server; they end with this process, however it ends.

mod stories;
