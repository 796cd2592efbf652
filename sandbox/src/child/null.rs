//! The null device, which everybody may write to and which changes for everybody when its owner changes it: a container
//! gets no host's one that it could change the mode or the owner of.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use loment_sys::mount::{self, FsContext, Propagation, attr};
use nix::{
    fcntl::{self, AT_FDCWD, OFlag, openat},
    sys::stat::{Mode, SFlag, fstat, major, makedev, minor, mknodat},
};

use super::root::{Links, Root};
use crate::{Error, Result, error::Context};

const NUMBER: (u64, u64) = (1, 3);

/// The host's /dev/null as a detached mount. What covers secrets must be what it seems: an image's "null" could be
/// anything (CVE-2025-31133). A device can be written on a read-only mount, and cannot be changed.
pub(super) fn mask() -> Result<OwnedFd> {
    let null = mount::clone_tree(AT_FDCWD, c"/dev/null", false).at("open", "/dev/null")?;
    if !is_null(&null).at("examine", "/dev/null")? {
        return Err(Error::invalid("/dev/null", "of the host", "is not the null device"));
    }
    // A copy of a shared mount is its peer: what a container mounted over its mask would cover the host's device.
    let attributes = attr::RDONLY | attr::NOSUID | attr::NOEXEC;
    mount::set_attributes(null.as_fd(), false, attributes, 0, Some(Propagation::Private))
        .at("set attributes of", "/dev/null")
        .map(|()| null)
}

/// The null device to read from and write to in a container: its own, or where it has none one that nobody else has.
pub(super) fn open(root: &Root) -> Result<OwnedFd> {
    // O_NOCTTY: it may be anything.
    match root.open(Path::new("dev/null"), Links::Follow, OFlag::O_RDWR | OFlag::O_NOCTTY) {
        Ok(own) if is_null(&own).at("examine", "/dev/null")? => Ok(own),
        _ => make().map_err(|errno| {
            Error::os("make a null device for", "standard streams", errno).hint("the container has none at /dev/null")
        }),
    }
}

/// The host's to read from and write to, and not to change: a mask that is open.
pub(crate) fn of_the_host() -> Result<OwnedFd> {
    let mask = mask()?;
    let path = format!("/proc/self/fd/{}", mask.as_raw_fd());
    fcntl::open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).at("open", "/dev/null")
}

/// A device in a file system of its own, which goes with it.
fn make() -> nix::Result<OwnedFd> {
    let context = FsContext::open(c"tmpfs")?;
    context.create()?;
    let directory = context.mount(attr::NOSUID | attr::NOEXEC)?;
    let everybody = Mode::from_bits_truncate(0o666);
    mknodat(&directory, "null", SFlag::S_IFCHR, everybody, makedev(NUMBER.0, NUMBER.1))?;
    openat(&directory, "null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

fn is_null(file: &OwnedFd) -> nix::Result<bool> {
    let status = fstat(file)?;
    let is_device = status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    Ok(is_device && (major(status.st_rdev), minor(status.st_rdev)) == NUMBER)
}
