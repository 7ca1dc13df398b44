//! The lake's promise, from outside: each row in exactly one file that readers see, whatever is killed, delayed or started twice.
//!
//! With `--features failpoints` the program also fails at each step of a commit, and other generations run in the middle of it.

#![allow(clippy::unwrap_used)]

mod any_crash;
mod damage;
mod files;
mod reset;
mod support;
mod zombies;
