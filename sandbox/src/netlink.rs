//! As much of rtnetlink(7) as moving a network device takes: links, addresses, and their attributes as bytes.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

// linux/netlink.h, linux/rtnetlink.h
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFF_UP: u32 = 1;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;

/// A socket of the network namespace that its maker was in.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

/// A network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) is_up: bool,
}

/// An address of a device, as the kernel writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// Type and value.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// The device's own end of it.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        let of = |wanted| self.attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| value.as_slice());
        let bytes = of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS))?;
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    }
}

impl Netlink {
    /// Opens one.
    pub(crate) fn open() -> nix::Result<Self> {
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute).map(Self)
    }

    /// The device with this name. ENODEV: there is none.
    pub(crate) fn link(&self, name: &str) -> nix::Result<Link> {
        let mut body = vec![0; IFINFOMSG];
        put(&mut body, IFLA_IFNAME, &c_bytes(name));
        let messages = self.request(RTM_GETLINK, ACK, &body)?;
        messages.iter().find_map(|message| link(message)).ok_or(Errno::ENODEV)
    }

    /// All devices.
    pub(crate) fn links(&self) -> nix::Result<Vec<Link>> {
        let messages = self.request(RTM_GETLINK, DUMP, &[0; IFINFOMSG])?;
        Ok(messages.iter().filter_map(|message| link(message)).collect())
    }

    /// The addresses of a device that somebody has given it for good and for everywhere: neither those that the kernel
    /// makes itself nor those that a router or server lends.
    pub(crate) fn addresses(&self, device: Link) -> nix::Result<Vec<Address>> {
        let messages = self.request(RTM_GETADDR, DUMP, &[0; IFADDRMSG])?;
        Ok(messages.iter().filter_map(|message| address(message, device.index)).collect())
    }

    /// Gives a device an address.
    pub(crate) fn add_address(&self, device: Link, address: &Address) -> nix::Result<()> {
        let Address { family, prefix, flags, attributes } = address;
        let mut body = vec![*family, *prefix, 0, 0];
        body.extend(device.index.to_ne_bytes());
        for (kind, value) in attributes {
            put(&mut body, *kind, value);
        }
        put(&mut body, IFA_FLAGS, &(flags & (IFA_F_NODAD | IFA_F_NOPREFIXROUTE)).to_ne_bytes());
        self.request(RTM_NEWADDR, ACK | CREATE | EXCLUSIVE, &body).map(drop)
    }

    /// Moves a device into another namespace, where it has this name. It is down there and has no addresses.
    pub(crate) fn move_link(&self, device: Link, namespace: &OwnedFd, name: &str) -> nix::Result<()> {
        let mut body = ifinfomsg(device.index, 0, 0);
        put(&mut body, IFLA_IFNAME, &c_bytes(name));
        put(&mut body, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.request(RTM_SETLINK, ACK, &body).map(drop)
    }

    /// Brings a device up.
    pub(crate) fn bring_up(&self, device: Link) -> nix::Result<()> {
        self.request(RTM_SETLINK, ACK, &ifinfomsg(device.index, IFF_UP, IFF_UP)).map(drop)
    }

    /// Sends a request and takes what comes back for it, up to its acknowledgement or end. The kernel has answered when
    /// it has taken the request, so this waits for nobody.
    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> nix::Result<Vec<Vec<u8>>> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(self.0.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                answer => answer?,
            };
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((kind, body, after)) = split_message(rest) {
                rest = after;
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => match number(body, 0).unwrap_or_default() as i32 {
                        0 => return Ok(answers),
                        errno => return Err(Errno::from_raw(errno.wrapping_neg())),
                    },
                    _ => answers.push(body.to_vec()),
                }
            }
        }
    }
}

fn ifinfomsg(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for number in [index, flags, change] {
        body.extend(number.to_ne_bytes());
    }
    body
}

fn c_bytes(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// Appends an attribute. Everything begins at a multiple of four.
fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Type and body of the first message, and what is behind it.
pub(crate) fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(number(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    Some((kind, bytes.get(HEADER..length)?, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let Some((length, kind)) = bytes.first_chunk().map(|[a, b, c, d]| ([*a, *b], [*c, *d])) {
        let length = usize::from(u16::from_ne_bytes(length));
        let Some(value) = bytes.get(4..length) else { break };
        all.push((u16::from_ne_bytes(kind), value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

pub(crate) fn link(message: &[u8]) -> Option<Link> {
    Some(Link { index: number(message, 4)?, is_up: number(message, 8)? & IFF_UP != 0 })
}

pub(crate) fn address(message: &[u8], of: u32) -> Option<Address> {
    let [family, prefix, flags, scope] = *message.first_chunk()?;
    let attributes = attributes(message.get(IFADDRMSG..)?);
    let all_flags = attributes.iter().find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, value)| number(value, 0));
    let flags = all_flags.unwrap_or(u32::from(flags));
    // RT_SCOPE_UNIVERSE
    if number(message, 4)? != of || scope != 0 || flags & IFA_F_PERMANENT == 0 {
        return None;
    }
    let kept = |(kind, value): (u16, &[u8])| {
        [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST].contains(&kind).then(|| (kind, value.to_vec()))
    };
    Some(Address { family, prefix, flags, attributes: attributes.into_iter().filter_map(kept).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let mut body = Vec::new();
        put(&mut body, 3, b"eth0\0");
        put(&mut body, 28, &7u32.to_ne_bytes());
        assert_eq!(attributes(&body), [(3, &b"eth0\0"[..]), (28, &7u32.to_ne_bytes()[..])]);
        for length in 0..body.len() {
            assert!(attributes(&body[..length]).len() < 2, "what is cut is left out");
        }
    }

    #[test]
    fn the_loopback_is_a_device() {
        let netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap();
        assert!(netlink.links().unwrap().contains(&lo));
        assert_eq!(netlink.link("no-such-device"), Err(Errno::ENODEV));
    }
}
