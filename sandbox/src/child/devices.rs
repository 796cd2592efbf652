//! /dev of a container.

use std::path::Path;

use nix::{
    errno::Errno,
    sys::stat::{FchmodatFlags, fchmodat, makedev, mknodat},
    unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat},
};

use super::root::{Links, Root};
use crate::{Result, error::Context, plan::devices::Device};

/// Names in /dev that lead to what a process has open, and the multiplexer of the container's own terminals.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

/// Makes the nodes and the links.
pub(crate) fn make(root: &Root, devices: &[Device]) -> Result<()> {
    for device in devices {
        node(root, device)?;
    }
    for (target, path) in LINKS {
        let (directory, name) = root.parent(Path::new(path), Links::Refuse)?;
        // An image that is its own /dev may have a ptmx, which would be the host's.
        let _ = unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir);
        symlinkat(*target, &directory, name).at("make link", path)?;
    }
    Ok(())
}

fn node(root: &Root, device: &Device) -> Result<()> {
    let path = device.path.display();
    let (directory, name) = root.parent(&device.path, Links::Refuse)?;
    match mknodat(&directory, name, device.kind, device.mode, makedev(device.major, device.minor)) {
        // The image's own; its mode and owner are the image's business too.
        Err(Errno::EEXIST) => return Ok(()),
        answer => answer.at("make device", path)?,
    }
    let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
    fchownat(&directory, name, owner.0, owner.1, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
        .at("set the owner of device", device.path.display())?;
    // mknod(2) takes no account of set-id bits of some file systems. In a volume that others write to, the fresh node
    // may be a link by now, and what it names would be a file of the host's.
    fchmodat(&directory, name, device.mode, FchmodatFlags::NoFollowSymlink)
        .at("set the mode of device", device.path.display())
}
