//! Getting to a server.

use std::{io, net::SocketAddr};

use tokio::net::{TcpStream, lookup_host};

/// `host:port` as it is written: an IPv6 address in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Connects; a failure says to where, in the words of Go's net package, which people look for.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = match lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(error) => return Err(format!("dial tcp: lookup {host}: {}", reason(&error))),
    };
    let mut refusal = format!("dial tcp: lookup {host}: no such host");
    for address in found {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusal = format!("dial tcp {address}: connect: {}", reason(&error)),
        }
    }
    Err(refusal)
}

/// Why, without Rust's number of it.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error().filter(|number| *number != 0) {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_is_written_in_brackets() {
        assert_eq!(authority("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(authority("fd00::1", 80), "[fd00::1]:80");
        assert_eq!(authority("[fd00::1]", 80), "[fd00::1]:80");
    }
}
