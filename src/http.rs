//! A small HTTP listener for probes and Prometheus: `/healthz`, `/readyz`, `/metrics`.
//!
//! It answers one request a connection and is bounded in every respect: so many connections at once, so many bytes of a request, so
//! much time for it. Nothing is read beyond the head of a request, and nothing that a client sends is ever shown.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::metrics;
use crate::stats::Stats;

const MAX_CONNECTIONS: usize = 16;
const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_REQUEST_TIME: Duration = Duration::from_secs(2);
/// Pause after the system has refused a connection, such as for lack of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener, which stops when it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What requests are answered from.
struct Shared {
    job: String,
    stats: Arc<Stats>,
    connections: AtomicUsize,
}

impl Listener {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The port is in use, or the address is not one of this machine.
    pub fn start(address: SocketAddr, job: &str, stats: Arc<Stats>) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared { job: job.to_owned(), stats, connections: AtomicUsize::new(0) });
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || accept(&socket, &shared, &stopped))?;
        Ok(Listener { address, stop, thread: Some(thread) })
    }

    /// Returns the address that it listens at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread waits for a connection: give it one.
        let mut own = self.address;
        if own.ip().is_unspecified() {
            own.set_ip(if own.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        if TcpStream::connect_timeout(&own, MAX_REQUEST_TIME).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn accept(socket: &TcpListener, shared: &Arc<Shared>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = socket.accept() else {
            std::thread::park_timeout(ACCEPT_PAUSE);
            continue;
        };
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let mine = Arc::clone(shared);
        let spawned = std::thread::Builder::new().name("http".into()).spawn(move || {
            let _ = serve(&stream, &mine);
            mine.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers one request; an error means that the client is gone, which concerns nobody.
fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_write_timeout(Some(MAX_REQUEST_TIME))?;
    let head = read_head(stream)?;
    let reply = match request(&head) {
        Some((method, path)) => answer(method, path, &shared.job, &shared.stats),
        None => Reply { status: "400 Bad Request", body: "not an HTTP request\n".into(), ..Reply::default() },
    };
    let is_head = head.starts_with(b"HEAD ");
    stream.write_all(&reply.bytes(is_head))?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Reads up to the empty line, the limit of bytes, the end, or the limit of time.
fn read_head(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let until = Instant::now() + MAX_REQUEST_TIME;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while head.len() < MAX_HEAD_BYTES && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(head)
}

/// Returns method and path of a complete head.
fn request(head: &[u8]) -> Option<(&str, &str)> {
    let end = head.windows(4).position(|end| end == b"\r\n\r\n")?;
    let line = std::str::from_utf8(&head[..end]).ok()?.lines().next()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_sound = !method.is_empty() && target.starts_with('/') && version.starts_with("HTTP/1.") && words.next().is_none();
    is_sound.then(|| (method, target.split('?').next().unwrap_or_default()))
}

/// An answer.
#[derive(Debug, Default)]
struct Reply {
    status: &'static str,
    content_type: Option<&'static str>,
    allow: bool,
    body: String,
}

impl Reply {
    fn bytes(&self, head_only: bool) -> Vec<u8> {
        let content_type = self.content_type.unwrap_or("text/plain; charset=utf-8");
        let allow = if self.allow { "Allow: GET, HEAD\r\n" } else { "" };
        let length = self.body.len();
        let body = if head_only { "" } else { &self.body };
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            self.status
        )
        .into_bytes()
    }
}

fn answer(method: &str, path: &str, job: &str, stats: &Stats) -> Reply {
    if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return Reply { status: "404 Not Found", body: "here are /healthz, /readyz and /metrics\n".into(), ..Reply::default() };
    }
    if !matches!(method, "GET" | "HEAD") {
        return Reply { status: "405 Method Not Allowed", allow: true, body: "use GET\n".into(), ..Reply::default() };
    }
    if path == "/metrics" {
        let body = metrics::text(job, stats);
        return Reply { status: "200 OK", content_type: Some(metrics::CONTENT_TYPE), allow: false, body };
    }
    let is_ready = path == "/healthz" || stats.ready.load(Ordering::Relaxed);
    let away = if path == "/readyz" { stats.away() } else { Vec::new() };
    let away: String = away.iter().map(|(thing, state)| format!("{thing} is away: circuit {state}\n")).collect();
    match stats.failure() {
        Some(reason) => Reply { status: "503 Service Unavailable", body: format!("failed: {reason}\n"), ..Reply::default() },
        None if is_ready => Reply { status: "200 OK", body: format!("ok\n{away}"), ..Reply::default() },
        None => Reply { status: "503 Service Unavailable", body: format!("starting\n{away}"), ..Reply::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (Listener, Arc<Stats>) {
        let stats = Stats::new(&["clicks".into()], &[], &[("warehouse".into(), "sqlite://x.db".into())]);
        let stats = Arc::new(stats.with_registries([true].into_iter()));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        (Listener::start(any, "activity", Arc::clone(&stats)).expect("a free port"), stats)
    }

    fn send(listener: &Listener, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(listener.address()).expect("it listens");
        stream.write_all(request).expect("it reads");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    }

    fn status(listener: &Listener, request: &str) -> String {
        let reply = send(listener, format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        reply.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[test]
    fn probes_follow_the_job() {
        let (listener, stats) = listener();
        assert_eq!((status(&listener, "GET /healthz"), status(&listener, "GET /readyz")), ("200".into(), "503".into()));
        stats.ready.store(true, Ordering::Relaxed);
        assert_eq!(status(&listener, "GET /readyz?x=1"), "200");
        stats.sinks[0].circuit.state.store(2, Ordering::Relaxed);
        let reply = send(&listener, b"GET /readyz HTTP/1.1\r\n\r\n");
        assert!(reply.ends_with("\r\n\r\nok\nsink 'warehouse' is away: circuit open\n"), "{reply}");
        stats.sources[0].registry.as_ref().expect("one").state.store(1, Ordering::Relaxed);
        stats.sinks[0].circuit.state.store(0, Ordering::Relaxed);
        let away = "registry of source 'clicks' is away: circuit half open\n";
        for (ready, head) in [(true, "ok"), (false, "starting")] {
            stats.ready.store(ready, Ordering::Relaxed);
            let reply = send(&listener, b"GET /readyz HTTP/1.1\r\n\r\n");
            assert!(reply.ends_with(&format!("\r\n\r\n{head}\n{away}")), "{reply}");
        }
        assert!(send(&listener, b"GET /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"), "who lives is well");
        stats.fail("the sink is gone");
        assert_eq!((status(&listener, "GET /healthz"), status(&listener, "GET /readyz")), ("503".into(), "503".into()));
    }

    #[test]
    fn metrics_are_served_and_their_length_told() {
        let (listener, _) = listener();
        let reply = send(&listener, b"GET /metrics HTTP/1.1\r\n\r\n");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        assert!(body.contains("freshet_records_total{job=\"activity\",source=\"clicks\"} 0\n"), "{body}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        let only_head = send(&listener, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(only_head.starts_with("HTTP/1.1 200 OK\r\n") && only_head.ends_with("\r\n\r\n"), "{only_head}");
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let (listener, _) = listener();
        assert_eq!(status(&listener, "GET /"), "404");
        assert_eq!(status(&listener, "POST /metrics"), "405");
        assert_eq!(status(&listener, "POST /other"), "404");
    }

    #[test]
    fn garbage_is_refused_and_the_next_request_served() {
        let (listener, _) = listener();
        let long = [b'a'; 3 * MAX_HEAD_BYTES];
        for garbage in
            [&b""[..], b"\r\n\r\n", b"\xff\xfe\x00 / HTTP/1.1\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1 x\r\n\r\n"]
        {
            assert!(send(&listener, garbage).starts_with("HTTP/1.1 400 "), "{garbage:?}");
        }
        let mut stream = TcpStream::connect(listener.address()).expect("it listens");
        let _ = stream.write_all(&long);
        assert_eq!(status(&listener, "GET /healthz"), "200");
    }

    #[test]
    fn idle_connections_do_not_lock_others_out() {
        let (listener, _) = listener();
        let idle: Vec<TcpStream> = (0..MAX_CONNECTIONS - 1).filter_map(|_| TcpStream::connect(listener.address()).ok()).collect();
        assert_eq!(status(&listener, "GET /healthz"), "200");
        drop(idle);
    }

    #[test]
    fn a_port_in_use_is_an_error_and_a_dropped_listener_frees_it() {
        let (listener, stats) = listener();
        let address = listener.address();
        let error = Listener::start(address, "activity", Arc::clone(&stats)).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        Listener::start(address, "activity", stats).expect("it is free again");
    }
}
