//! Just enough HTTP to ask a store's server who leads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The answer's text; `None` if there is none within a second.
pub(crate) fn post(address: &str, path: &str, body: &str) -> Option<String> {
    request(address, &format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// The answer's text; `None` if there is none within a second.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    request(address, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

fn request(address: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
