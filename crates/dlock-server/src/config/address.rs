//! Addresses to listen on, in today's form and in that of the first dlock.

use super::ConfigError;
use std::net::{SocketAddr, ToSocketAddrs};

/// Reads `HOST:PORT`, or `tcp://`, `tcp4://` or `tcp6://` before it. A host name is looked up.
pub fn parse_address(setting: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let (scheme, rest) = text.split_once("://").map_or(("tcp", text), |(scheme, rest)| (scheme, rest));
    let wanted: fn(&SocketAddr) -> bool = match scheme {
        "tcp" => |_| true,
        "tcp4" => SocketAddr::is_ipv4,
        "tcp6" => SocketAddr::is_ipv6,
        _ => return Err(ConfigError::value(setting, text, "write HOST:PORT, or tcp4://HOST:PORT")),
    };
    // `:5055` means every interface, as the first dlock had it.
    let rest = if rest.starts_with(':') { format!("0.0.0.0{rest}") } else { rest.to_owned() };
    let found = rest.to_socket_addrs().map_err(|error| {
        ConfigError::value(setting, text, format!("{error}: write HOST:PORT, such as 127.0.0.1:5055"))
    })?;
    let mut found = found.filter(wanted);
    found.next().ok_or_else(|| ConfigError::value(setting, text, format!("it has no address for {scheme}")))
}
