//! A pod's network, used from outside of it: which address it has, and connections made in it.
//!
//! A socket belongs to the network namespace that its maker is in at that moment. So a visit of a few microseconds is all
//! that it takes; what then takes time needs nobody to be there.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, socket},
};

use crate::{
    Result,
    error::Context,
    namespace::{self, Visit},
    netlink::Netlink,
};

/// The network that a pod lives in.
#[derive(Debug)]
pub struct Network {
    /// `None`: the caller's own.
    namespace: Option<OwnedFd>,
}

impl Network {
    /// That of the process `pid`. It is kept, also when the process ends.
    pub fn of(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        Self::at(namespace::open(path.as_ref())?)
    }

    /// That of a namespace.
    pub fn at(namespace: OwnedFd) -> Result<Self> {
        let is_own = namespace::is_own(namespace.as_fd(), "net", "of the pod's network")?;
        Ok(Self { namespace: (!is_own).then_some(namespace) })
    }

    /// The caller's own.
    pub fn own() -> Self {
        Self { namespace: None }
    }

    /// The namespace, unless it is the caller's own.
    pub fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.namespace.as_ref().map(AsFd::as_fd)
    }

    fn visit(&self) -> Result<Option<Visit>> {
        self.namespace().map(Visit::to_network).transpose()
    }

    /// The address by which others know it: what it would speak to the world with, else the first one that an interface
    /// has, else loopback.
    pub fn address(&self) -> Result<IpAddr> {
        let _visit = self.visit()?;
        Ok(from_the_route().or_else(of_an_interface).unwrap_or(Ipv4Addr::LOCALHOST.into()))
    }

    /// Begins to connect. The stream does not block: when it is writable it is connected, or has an error to take.
    ///
    /// # Errors
    /// What is known at once: no route, say.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = {
            let _visit = self.visit()?;
            socket(family, SockType::Stream, flags, None)
        };
        let socket = made.at("make a socket in", "the pod's network")?;
        let begun = match to {
            SocketAddr::V4(to) => connect(socket.as_raw_fd(), &SockaddrIn::from(to)),
            SocketAddr::V6(to) => connect(socket.as_raw_fd(), &SockaddrIn6::from(to)),
        };
        match begun {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket.into()),
            Err(errno) => Err(errno).at("connect to", to),
        }
    }
}

/// Asks the kernel for a route to an address of documentation (RFC 5737, RFC 3849). Nothing is sent.
fn from_the_route() -> Option<IpAddr> {
    let source = |bound: &str, to: &str| {
        let socket = UdpSocket::bind(bound).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    source("0.0.0.0:0", "192.0.2.1:9").or_else(|| source("[::]:0", "[2001:db8::1]:9"))
}

fn of_an_interface() -> Option<IpAddr> {
    let netlink = Netlink::open().ok()?;
    let mut links = netlink.links().ok()?.into_iter();
    links.find_map(|link| netlink.addresses(link).ok()?.iter().find_map(crate::netlink::Address::ip))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_network_of_this_process_is_its_own_and_has_an_address() {
        let network = Network::of(std::process::id() as i32).unwrap();
        assert!(network.namespace().is_none());
        assert!(!network.address().unwrap().is_unspecified());
    }

    #[test]
    fn a_connection_is_made_without_waiting() {
        let network = Network::of(std::process::id() as i32).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = network.connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
        assert!(stream.take_error().unwrap().is_none());
    }
}
