//! What the stories need: real servers, the program under test, and files for it to read.

pub(crate) mod freshet;
pub(crate) mod http;
pub(crate) mod job;
pub(crate) mod kafka;
pub(crate) mod postgres;
pub(crate) mod server;
