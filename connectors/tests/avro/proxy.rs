//! A way to the registry that can be cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Passes connections on to a port, or hangs up on whoever comes.
pub(crate) struct Proxy {
    port: u16,
    open: Arc<AtomicBool>,
}

impl Proxy {
    /// Begins to listen; `open` says whether anybody gets through.
    pub(crate) fn start(to: u16, open: bool) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let open = Arc::new(AtomicBool::new(open));
        let is_open = Arc::clone(&open);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).expect("the registry listens");
                if is_open.load(Ordering::SeqCst) {
                    join(&client, &server, &is_open);
                    join(&server, &client, &is_open);
                }
            }
        });
        Proxy { port, open }
    }

    /// Cuts the way, or opens it again.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }

    /// Returns the registry's url through here.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }
}

/// Copies one direction until it ends, or until something comes while the way is cut.
fn join(from: &TcpStream, to: &TcpStream, is_open: &Arc<AtomicBool>) {
    let (mut from, mut to) = (from.try_clone().expect("a stream"), to.try_clone().expect("a stream"));
    let is_open = Arc::clone(is_open);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !is_open.load(Ordering::SeqCst) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // Whoever has gone already needs no farewell.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
