//! Reading from a socket up to a moment, however slowly the other side drips.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Instant;

/// Reads from a socket and fails at `until`.
pub(crate) struct Timed<'a> {
    pub(crate) socket: &'a TcpStream,
    pub(crate) until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut socket = self.socket;
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }
}
