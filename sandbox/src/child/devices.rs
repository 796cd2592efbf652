//! /dev of a container.

use std::path::Path;

use nix::{
    errno::Errno,
    sys::stat::{FchmodatFlags, Mode, fchmodat, fstatat, makedev, mknodat},
    unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat},
};

use super::root::{Links, Root};
use crate::{
    Error, Result,
    error::Context,
    plan::{devices::Device, ids::IdMaps},
};

/// Names in /dev that lead to what a process has open, and the multiplexer of the container's own terminals.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

/// Makes the nodes and the links. `maps` are those of the container's user namespace, in which the owners are meant. The
/// nodes are real ones there too: the file system is the host's, and only the cgroup says what may be opened.
pub(crate) fn make(root: &Root, devices: &[Device], maps: Option<&IdMaps>) -> Result<()> {
    for device in devices {
        node(root, device, maps)?;
    }
    for (target, path) in LINKS {
        let (directory, name) = root.parent(Path::new(path), Links::Refuse)?;
        // An image that is its own /dev may have a ptmx, which would be the host's.
        let _ = unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir);
        root.as_owner(|| symlinkat(*target, &directory, name)).at("make link", path)?;
    }
    Ok(())
}

/// Whether a device has more to its mode than who may read and write it. Setting such a mode may take a procfs in sight
/// (fchmodat(3) before Linux 6.6).
pub(crate) fn is_special(device: &Device) -> bool {
    device.mode.intersects(Mode::S_ISUID | Mode::S_ISGID | Mode::S_ISVTX)
}

fn node(root: &Root, device: &Device, maps: Option<&IdMaps>) -> Result<()> {
    let path = device.path.display();
    let owner = maps.map_or(Some((device.uid, device.gid)), |maps| maps.outside(device.uid, device.gid));
    let (uid, gid) = owner.ok_or_else(|| {
        let owner = format!("{}:{}", device.uid, device.gid);
        Error::invalid(
            "linux.devices",
            path.to_string(),
            format!("has an owner ({owner}) outside of the user namespace"),
        )
    })?;
    let (directory, name) = root.parent(&device.path, Links::Refuse)?;
    match mknodat(&directory, name, device.kind, device.mode, makedev(device.major, device.minor)) {
        // The image's own; its mode and owner are the image's business too.
        Err(Errno::EEXIST) => return Ok(()),
        answer => answer.at("make device", path)?,
    }
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    fchownat(&directory, name, owner.0, owner.1, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
        .at("set the owner of device", device.path.display())?;
    // It has its mode already, for there is no umask, unless the directory has a default ACL (acl(5)) or the file system's
    // mknod(2) no eye for set-id bits, which chown(2) takes away too.
    let made = fstatat(&directory, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
        .at("examine device", device.path.display())?;
    if Mode::from_bits_truncate(made.st_mode) == device.mode {
        return Ok(());
    }
    // In a volume that others write to, the fresh node may be a link by now, and what it names would be a file of the
    // host's.
    fchmodat(&directory, name, device.mode, FchmodatFlags::NoFollowSymlink)
        .at("set the mode of device", device.path.display())
}
