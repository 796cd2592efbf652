//! Where this machine listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::bail;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use super::ports::{Port, Protocol};

/// Where to listen, and whether every one of its addresses must be free: one is enough for localhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    named: Vec<IpAddr>,
    localhost: bool,
}

/// Reads `--address`.
pub(crate) fn addresses(words: &[String]) -> anyhow::Result<Addresses> {
    let mut addresses = Addresses { named: Vec::new(), localhost: false };
    for word in words {
        match word.parse() {
            _ if word == "localhost" => addresses.localhost = true,
            Ok(address) if !addresses.named.contains(&address) => addresses.named.push(address),
            Ok(_) => {}
            Err(_) => bail!("{word} is not a valid IP"),
        }
    }
    if addresses.localhost {
        addresses.named.retain(|address| !address.is_loopback());
    }
    Ok(addresses)
}

/// One socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Listener {
    fn new(address: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let kind = if protocol == Protocol::Tcp { SockType::Stream } else { SockType::Datagram };
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        if address.is_ipv6() {
            // So that 0.0.0.0 and :: can be had beside each other.
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        if protocol == Protocol::Tcp {
            // A session that has just ended leaves connections behind that are only waited for.
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(match protocol {
            Protocol::Tcp => {
                listen(&fd, Backlog::MAXCONN)?;
                Listener::Tcp(fd.into())
            }
            Protocol::Udp => Listener::Udp(fd.into()),
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Listens for a port at all addresses. A local port of 0 becomes the one that was free at the first of them.
pub(crate) fn open(port: &mut Port, addresses: &Addresses) -> Result<Vec<Listener>, String> {
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    let of_localhost = loopback.into_iter().filter(|_| addresses.localhost).map(|address| (address, true));
    let named = addresses.named.iter().map(|address| (*address, false));
    let (mut open, mut refused, mut on_localhost, mut named_refused) = (Vec::new(), Vec::new(), 0, false);
    for (address, is_localhost) in of_localhost.chain(named) {
        match Listener::new((address, port.local).into(), port.protocol) {
            Ok(listener) => {
                if let Ok(address) = listener.address() {
                    port.local = address.port();
                }
                on_localhost += usize::from(is_localhost);
                open.push(listener);
            }
            Err(error) => {
                named_refused |= !is_localhost;
                refused.push(format!("unable to create listener on {}: {error}", SocketAddr::new(address, port.local)));
            }
        }
    }
    if named_refused || addresses.localhost && on_localhost == 0 {
        return Err(format!("Listeners failed to create with the following errors: [{}]", refused.join(" ")));
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Addresses {
        addresses(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn localhost_is_both_families_and_others_are_addresses() {
        assert_eq!(words(&["localhost", "127.0.0.1"]), Addresses { named: vec![], localhost: true });
        let two = words(&["0.0.0.0", "::", "::"]);
        assert_eq!(two.named.len(), 2);
        let refusal = addresses(&["example.org".to_owned()]).unwrap_err().to_string();
        assert_eq!(refusal, "example.org is not a valid IP");
    }

    #[test]
    fn a_free_port_is_the_same_for_all_addresses_and_a_taken_one_is_refused() {
        let mut port = Port { local: 0, remote: 80, protocol: Protocol::Tcp };
        let first = open(&mut port, &words(&["127.0.0.1"])).unwrap();
        assert_ne!(port.local, 0);
        assert_eq!(first[0].address().unwrap().port(), port.local);
        let refusal = open(&mut port.clone(), &words(&["127.0.0.1"])).unwrap_err();
        assert!(
            refusal.starts_with("Listeners failed to create with the following errors: [unable to create"),
            "{refusal}"
        );
    }
}
