//! HTTP requests, in as few lines as the tests need.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Returns status code and body of a GET; `None` if nobody answers.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    request(port, "GET", path)
}

/// Returns status code and body of a request that has none itself; `None` if nobody answers.
pub fn request(port: u16, verb: &str, path: &str) -> Option<(u16, String)> {
    send(port, verb, path, "")
}

/// Returns status code and body of a request with a body in JSON; `None` if nobody answers.
pub fn send(port: u16, verb: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let about = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    write!(stream, "{verb} {path} HTTP/1.0\r\nHost: localhost\r\n{about}\r\nConnection: close\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
