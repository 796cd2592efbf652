//! The network of a pod, entered from outside.
//!
//! A socket belongs for ever to the namespace that its maker was in. So a thread goes there, makes a socket, and ends; the
//! socket is used here. Nothing of the image is needed, and nothing of this command can be seen in the pod.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::io::{Interest, unix::AsyncFd};
use tokio::net::{TcpSocket, UdpSocket};

use crate::pod;
use crate::session::{Found, Session};

#[derive(Debug)]
pub(crate) struct Network {
    namespace: File,
    /// The process by which it is found, which is there as long as the sandbox is: that of the sandbox, or the shim.
    holder: AsyncFd<OwnedFd>,
}

impl Network {
    /// That of the pod's sandbox.
    pub(crate) async fn of(session: &Session, found: &Found) -> anyhow::Result<Self> {
        let (keeper, path) = pod::network(session, found).await?;
        let holder =
            loment_sys::pidfd::open(keeper).with_context(|| format!("find process {keeper}, which keeps it"))?;
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        // The pid could have become another process's in between, and the namespace another one's with it.
        if pod::network(session, found).await? != (keeper, path) {
            bail!("the sandbox of pod {:?} has ended", found.name());
        }
        let holder = watched(holder).context("watch the process that keeps it")?;
        Ok(Self { namespace, holder })
    }

    /// Waits until the sandbox has ended.
    pub(crate) async fn ended(&self) {
        // A pidfd is readable from the end of its process on.
        let _ = self.holder.readable().await;
    }

    /// Connects to a port of the pod, as a program in it would to localhost. Errors: both families' reasons.
    pub(crate) async fn dial(&self, port: u16) -> Result<tokio::net::TcpStream, String> {
        let mut reasons = Vec::new();
        for (name, address) in loopback(port) {
            match self.dial_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => reasons.push(format!("{name}: {error}")),
            }
        }
        Err(format!("failed to connect to localhost:{port} inside the pod: {}", reasons.join(", ")))
    }

    async fn dial_to(&self, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let socket = TcpStream::from(self.socket(address, SockType::Stream)?);
        let stream = TcpSocket::from_std_stream(socket).connect(address).await?;
        // What arrives in one piece goes on in one piece; nothing is to be waited for.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A socket whose datagrams go to a port of the pod.
    pub(crate) async fn datagrams_to(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = std::net::UdpSocket::from(self.socket(address, SockType::Datagram)?);
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(address).await?;
        Ok(socket)
    }

    fn socket(&self, address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let make = || -> nix::Result<OwnedFd> {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
            socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
        };
        let made = thread::scope(|scope| scope.spawn(make).join());
        Ok(made.map_err(|_| io::Error::other("the thread in the pod's network has failed"))??)
    }
}

#[expect(
    deprecated,
    reason = "the safe constructor is deprecated for types whose descriptor may change; this one does not"
)]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// The addresses of localhost with a port, in the order in which they are tried.
pub(crate) fn loopback(port: u16) -> [(&'static str, SocketAddr); 2] {
    [("IPv4", (Ipv4Addr::LOCALHOST, port).into()), ("IPv6", (Ipv6Addr::LOCALHOST, port).into())]
}
