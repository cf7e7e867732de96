//! Where a server is reached.

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 5055;

/// A server's address: a host name or IP address and a port.
///
/// Read from `host:port`, `host` (port 5055), `[::1]:5055` or `http://host:port`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// The host's name or address; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Endpoint, Error> {
        let problem = |what: &str| {
            Error::invalid("endpoints", format!("{text:?} is no endpoint: {what}; use HOST:PORT"))
        };
        let rest = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest.trim_end_matches('/'),
            Some(("https", _)) => return Err(problem("TLS is not supported by this version")),
            Some(_) => return Err(problem("the only scheme is http")),
        };
        let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, port))) => (host, port),
            Some(None) => return Err(problem("the bracket is not closed")),
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| problem("the port is not a number from 0 to 65535"))?,
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(problem("there is something after the host")),
        };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(problem("the host is missing, or has a character that no host has"));
        }
        Ok(Endpoint { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_all_their_forms() {
        for (text, shown) in [
            ("127.0.0.1:5055", "127.0.0.1:5055"),
            ("localhost", "localhost:5055"),
            ("http://lock-1.example:80/", "lock-1.example:80"),
            ("[::1]:7000", "[::1]:7000"),
            ("http://[::1]", "[::1]:5055"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_bad_endpoint_is_named_in_its_error() {
        for text in
            ["", ":5055", "a:b", "a:99999", "https://a:1", "tcp://a:1", "user@host:1", "a b:1", "host:"]
        {
            match text.parse::<Endpoint>() {
                Err(Error::InvalidArgument { field, message }) => {
                    assert!(field == "endpoints" && message.contains(text), "{message}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
