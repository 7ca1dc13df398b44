//! One control connection: whole frames out, and when the other side was last heard.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::codec::{read_with_length, with_length};
use crate::frame::{Frame, MAX_FRAME_BYTES};

/// A control connection.
pub(crate) struct Line {
    socket: Arc<TcpStream>,
    /// Keeps frames whole.
    writing: Mutex<()>,
    begun: Instant,
    /// Milliseconds from `begun` to the last byte that came.
    heard_ms: AtomicU64,
}

impl Line {
    /// Takes over a connection; writing to it fails after `patience`.
    pub(crate) fn new(socket: Arc<TcpStream>, patience: Duration) -> io::Result<Line> {
        socket.set_write_timeout(Some(patience))?;
        Ok(Line { socket, writing: Mutex::default(), begun: Instant::now(), heard_ms: AtomicU64::new(0) })
    }

    /// Writes a frame.
    pub(crate) fn write(&self, frame: &Frame) -> io::Result<()> {
        let bytes = with_length(&frame.encode());
        let _whole = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        (&*self.socket).write_all(&bytes)
    }

    /// Writes a frame unless another one is on its way: whoever writes shows already that this process lives.
    pub(crate) fn write_if_free(&self, frame: &Frame) -> io::Result<()> {
        let _whole = match self.writing.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Poisoned(lock)) => lock.into_inner(),
            Ok(lock) => lock,
        };
        (&*self.socket).write_all(&with_length(&frame.encode()))
    }

    /// Reads the next frame.
    pub(crate) fn read(&self) -> io::Result<Frame> {
        let bytes = read_with_length(&mut Heard(self), MAX_FRAME_BYTES)?;
        Frame::decode(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a frame"))
    }

    /// Returns for how long nothing has come.
    pub(crate) fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::SeqCst)))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = self.socket.shutdown(how);
    }

    /// Lets later writes fail after `patience`.
    pub(crate) fn hurry(&self, patience: Duration) {
        let _ = self.socket.set_write_timeout(Some(patience));
    }
}

/// Reads from a line and notes when something came: a long frame shows life while it is still under way.
struct Heard<'a>(&'a Line);

impl Read for Heard<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&*self.0.socket).read(buffer)?;
        let now = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.heard_ms.store(now, Ordering::SeqCst);
        Ok(read)
    }
}
