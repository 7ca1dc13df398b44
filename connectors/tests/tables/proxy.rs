//! A connection that breaks when the test says so: after a COMMIT has reached the server, before its reply has come back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Listens on a port of its own and passes on what it gets.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Set by the test: the next COMMIT's reply is swallowed, with the connection.
    pub(crate) armed: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts a proxy to a local port; its threads end with the test.
    pub(crate) fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let flag = armed.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let swallow = Arc::new(AtomicBool::new(false));
                let (back, forth) = ((server.try_clone().unwrap(), client.try_clone().unwrap()), (client, server));
                let (armed, swallowed) = (flag.clone(), swallow.clone());
                std::thread::spawn(move || {
                    pass(forth, &|bytes| {
                        let commit = bytes.windows(6).any(|word| word == b"COMMIT") && armed.swap(false, Ordering::SeqCst);
                        swallowed.fetch_or(commit, Ordering::SeqCst);
                        true
                    });
                });
                std::thread::spawn(move || pass(back, &|_| !swallow.load(Ordering::SeqCst)));
            }
        });
        Proxy { port, armed }
    }
}

/// Passes bytes on while `go_on` likes them, then cuts both connections.
fn pass((mut from, mut to): (TcpStream, TcpStream), go_on: &dyn Fn(&[u8]) -> bool) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !go_on(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
