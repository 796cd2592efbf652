//! Network devices of the host that move into a container, and back if Create fails.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
};

use nix::errno::Errno;

use crate::{
    Error, Result,
    error::Context,
    namespace::{self, Visit},
    netlink::{Address, Link, Netlink},
    plan::netdev::NetDevice,
};

const FIELD: &str = "linux.netDevices";

/// A network namespace, and a socket of it.
struct Network {
    namespace: OwnedFd,
    netlink: Netlink,
}

/// A device that has been moved.
struct Moved<'a> {
    device: &'a NetDevice,
    /// On the host, as it was.
    before: Link,
    /// In the container.
    now: Link,
    addresses: Vec<Address>,
}

/// Moves devices into the network namespace of the process `pid`: with their addresses, under their new names, and up.
/// All, or none.
///
/// When the namespace ends the kernel gives hardware back to the host and removes virtual devices.
pub(super) fn move_all(devices: &[NetDevice], pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let host = Network::of("self")?;
    let inside = Network::of(&pid.to_string())?;
    if namespace::is_own(inside.namespace.as_fd(), "net", "of the container")? {
        return Err(Error::invalid(FIELD, "", "needs a network namespace that is not the host's"));
    }
    let mut moved = Vec::new();
    for device in devices {
        if let Err(error) = one(&host, &inside, device, &mut moved) {
            for moved in moved.iter().rev() {
                give_back(&host, &inside, moved);
            }
            return Err(error);
        }
    }
    Ok(())
}

fn one<'a>(host: &Network, inside: &Network, device: &'a NetDevice, all: &mut Vec<Moved<'a>>) -> Result<()> {
    let NetDevice { name, inside: new_name } = device;
    let failed = |step: &str| {
        let step = format!("{FIELD}: {step}");
        move |errno| {
            let error = Error::os(step, format!("{name} ({new_name} in the container)"), errno);
            match errno {
                Errno::ENODEV => error.hint("the host has no such device"),
                Errno::EEXIST => error.hint("is the name taken there?"),
                Errno::EINVAL | Errno::EOPNOTSUPP => error.hint("may a device of this kind leave its namespace?"),
                _ => error,
            }
        }
    };
    let before = host.netlink.link(name).map_err(failed("find device"))?;
    let addresses = host.netlink.addresses(before).map_err(failed("list the addresses of device"))?;
    let others = inside.netlink.links().map_err(failed("list the devices beside"))?;
    let answer = host.netlink.move_link(before, &inside.namespace, new_name);
    // Its number may be another one, and so may its name. It may be there in spite of an error: the kernel moves it
    // before it finds that the name is taken.
    let links = inside.netlink.links().map_err(failed("find again device"))?;
    let now = links.into_iter().find(|link| others.iter().all(|other| other.index != link.index));
    all.extend(now.map(|now| Moved { device, before, now, addresses: addresses.clone() }));
    answer.map_err(failed("move device"))?;
    let now = now.ok_or(Errno::ENODEV).map_err(failed("find again device"))?;
    for address in &addresses {
        inside.netlink.add_address(now, address).map_err(failed("give back its address to device"))?;
    }
    inside.netlink.bring_up(now).map_err(failed("bring up device"))
}

/// The error that brought us here is the one to be told.
fn give_back(host: &Network, inside: &Network, moved: &Moved<'_>) {
    if inside.netlink.move_link(moved.now, &host.namespace, &moved.device.name).is_err() {
        return;
    }
    let Ok(link) = host.netlink.link(&moved.device.name) else { return };
    for address in &moved.addresses {
        let _ = host.netlink.add_address(link, address);
    }
    if moved.before.is_up {
        let _ = host.netlink.bring_up(link);
    }
}

impl Network {
    /// Of a process, by its name in /proc.
    fn of(process: &str) -> Result<Self> {
        let path = format!("/proc/{process}/ns/net");
        let namespace = File::open(&path).map(OwnedFd::from).at("open network namespace", &path)?;
        let _visit = Visit::to_network(namespace.as_fd())?;
        let netlink = Netlink::open().at("open", "a netlink socket")?;
        Ok(Self { namespace, netlink })
    }
}
