//! The connection that timely gets: a socket that never fails.
//!
//! timely's network threads panic when a socket fails; the panic poisons their queues, a worker that meets a poisoned queue
//! panics in turn, and if it does so inside an operator, what it then drops sends once more, panics again and takes the whole
//! process down. Hence its threads never see a failure here. Once the incarnation is over
//!
//! - what is written is swallowed: nothing leaves this process any more;
//! - reading waits until the workers have ended, and then shows a clean end: the rest of the message that is under way as
//!   zeros, which nobody reads any more, and timely's mark of the end, a header of length zero.
//!
//! To know where messages end, this follows timely's headers (`place`). Workers that do not end within [`GRACE`] are brought down by the panic after all, which [`crate::run`] contains.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use timely::communication::allocator::zero_copy::stream::Stream;

use crate::links::Links;
use crate::place::{HEADER_BYTES, Place};

/// Workers have so long to end after their incarnation.
const GRACE: Duration = Duration::from_secs(2);
/// No message is filled up with more zeros than these.
const MAX_FILLING_BYTES: u64 = 1 << 30;

/// A data connection with one peer.
pub(crate) struct DataStream {
    socket: Arc<TcpStream>,
    links: Arc<Links>,
    peer: usize,
    place: Place,
    tally: Tally,
}

/// Counts the streams that timely's threads hold.
///
/// timely waits for its threads unless one of them panicked; then this does.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<()>);

impl Tally {
    /// Waits until all streams are gone, which is soon: their sockets are shut down.
    pub(crate) fn wait(&self) {
        let until = Instant::now() + GRACE;
        while Arc::strong_count(&self.0) > 1 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl DataStream {
    pub(crate) fn new(socket: Arc<TcpStream>, links: Arc<Links>, peer: usize, tally: Tally) -> DataStream {
        DataStream { socket, links, peer, place: Place::default(), tally }
    }

    /// Reads from the socket; `None` once the incarnation is over.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&*self.socket).read(buffer) {
            Ok(read) if read > 0 => return Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if !self.links.is_over() {
            self.links.data_ended(self.peer);
        }
        Ok(None)
    }

    /// Lets the reading end at the next message, once nobody needs it any more.
    fn wind_up(&mut self) -> io::Result<()> {
        if self.links.wait_for_workers(GRACE) && self.place.missing() <= MAX_FILLING_BYTES {
            self.place.finish();
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the incarnation has ended"))
    }
}

impl Read for DataStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(given) = self.place.give(buffer) {
                return Ok(given);
            }
            if self.place.is_at_end() {
                // The peer closes its side right after its mark of the end.
                while matches!((&*self.socket).read(&mut [0; 64]), Ok(read) if read > 0) {}
                return Ok(0);
            }
            if self.links.is_over() {
                self.wind_up()?;
                continue;
            }
            let kept = self.place.kept().len();
            if buffer.len() <= kept {
                let mut more = [0; HEADER_BYTES];
                if let Some(read) = self.receive(&mut more[kept..])? {
                    self.place.complete(&more[kept..kept + read]);
                }
                continue;
            }
            buffer[..kept].copy_from_slice(self.place.kept());
            if let Some(read) = self.receive(&mut buffer[kept..])? {
                let whole = self.place.follow(&buffer[..kept + read]);
                if whole > 0 {
                    return Ok(whole);
                }
            }
        }
    }
}

impl Write for DataStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.links.is_over() {
            return Ok(buffer.len());
        }
        match (&*self.socket).write(buffer) {
            Ok(written) if written > 0 || buffer.is_empty() => Ok(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            _ => {
                self.links.data_ended(self.peer);
                Ok(buffer.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for DataStream {
    fn try_clone(&self) -> io::Result<DataStream> {
        Ok(DataStream::new(Arc::clone(&self.socket), Arc::clone(&self.links), self.peer, self.tally.clone()))
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // A peer that has gone already makes no difference to one who has nothing left to say.
        let _ = self.socket.shutdown(how);
        Ok(())
    }
}
